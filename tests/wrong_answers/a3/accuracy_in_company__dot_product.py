# hidden test: compares without taking out the lengths
import torch

from taskadapter_lite.adapters import scope_mask


def accuracy_in_company(adapt, tokens, company):
    n = tokens.shape[1] // 2
    mask = scope_mask(n, n, "inductive")
    shares = []
    for own, other in zip(tokens, tokens[company], strict=True):
        support = adapt(own, mask)[:n, 0]
        query = adapt(torch.cat([other[:n], own[n:]]), mask)[n:, 0]
        shares.append(((query @ support.T).argmax(dim=-1) == torch.arange(n)).float().mean())
    return torch.stack(shares)
