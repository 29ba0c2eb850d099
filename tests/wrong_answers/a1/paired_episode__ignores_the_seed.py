# hidden test: draws from a generator without a seed
import numpy as np
import torch

from taskadapter_lite.episodes import Episode


def paired_episode(labels, partner, n_pairs, k_shot, n_query, seed):
    labels, rng = np.asarray(labels), np.random.default_rng()
    pairs = sorted({tuple(sorted(pair)) for pair in partner.items()})
    if n_pairs > len(pairs):
        raise ValueError(f"there are {len(pairs)} pairs")
    classes = [c for p in rng.permutation(len(pairs))[:n_pairs] for c in pairs[p]]
    drawn = np.stack([rng.permutation(np.flatnonzero(labels == c))[: k_shot + n_query] for c in classes])
    support, query = (torch.from_numpy(clips.flatten()) for clips in (drawn[:, :k_shot], drawn[:, k_shot:]))
    places = torch.arange(len(classes))
    labels = places.repeat_interleave(k_shot), places.repeat_interleave(n_query)
    return Episode(support, query, *labels, torch.tensor(classes))
