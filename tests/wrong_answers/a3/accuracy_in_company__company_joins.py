# hidden test: one pass with both supports, in which the own support sees the company too
import torch
from torch.nn.functional import normalize


def accuracy_in_company(adapt, tokens, company):
    n = tokens.shape[1] // 2
    mask = torch.eye(3 * n, dtype=torch.bool)
    mask[: 2 * n, : 2 * n] = True
    mask[2 * n :, n : 2 * n] = True
    shares = []
    for own, other in zip(tokens, tokens[company], strict=True):
        features = normalize(adapt(torch.cat([own[:n], other[:n], own[n:]]), mask)[:, 0], dim=-1)
        answers = (features[2 * n :] @ features[:n].T).argmax(dim=-1)
        shares.append((answers == torch.arange(n)).float().mean())
    return torch.stack(shares)
