# visible test: lets queries see each other
import torch


def class_scope_mask(support_labels, n_query):
    S = len(support_labels)
    mask = torch.zeros(S + n_query, S + n_query, dtype=torch.bool)
    mask[:S, :S] = support_labels[:, None] == support_labels[None, :]
    mask[S:] = True
    return mask
