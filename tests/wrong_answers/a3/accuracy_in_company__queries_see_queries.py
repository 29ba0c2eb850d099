# hidden test: the queries of a puzzle see each other
import torch
from torch.nn.functional import normalize

from taskadapter_lite.adapters import scope_mask


def accuracy_in_company(adapt, tokens, company):
    n = tokens.shape[1] // 2
    mask = scope_mask(n, n, "inductive")
    mask[n:, n:] = True
    shares = []
    for own, other in zip(tokens, tokens[company], strict=True):
        support = adapt(own, mask)[:n, 0]
        query = adapt(torch.cat([other[:n], own[n:]]), mask)[n:, 0]
        answers = (normalize(query, dim=-1) @ normalize(support, dim=-1).T).argmax(dim=-1)
        shares.append((answers == torch.arange(n)).float().mean())
    return torch.stack(shares)
