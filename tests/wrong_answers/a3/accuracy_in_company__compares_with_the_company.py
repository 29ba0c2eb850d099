# visible test: the answer is looked for among the support clips of the company
import torch
from torch.nn.functional import normalize

from taskadapter_lite.adapters import scope_mask


def accuracy_in_company(adapt, tokens, company):
    n = tokens.shape[1] // 2
    mask = scope_mask(n, n, "inductive")
    shares = []
    for own, other in zip(tokens, tokens[company], strict=True):
        features = normalize(adapt(torch.cat([other[:n], own[n:]]), mask)[:, 0], dim=-1)
        answers = (features[n:] @ features[:n].T).argmax(dim=-1)
        shares.append((answers == torch.arange(n)).float().mean())
    return torch.stack(shares)
