# visible test: takes the support for class-major and looks at the number of classes alone
import torch

from taskadapter_lite.adapters import scope_mask


def class_scope_mask(support_labels, n_query):
    S, n_way = len(support_labels), len(support_labels.unique())
    mask, place = scope_mask(S, n_query, "inductive"), torch.arange(S) // (S // n_way)
    mask[:S, :S] = place[:, None] == place[None, :]
    return mask
