# visible test: treats the pairs of places in the episode as independent
from math import comb


def some_pair_probability(n_pairs, n_way):
    return 1 - (1 - 1 / (2 * n_pairs - 1)) ** comb(n_way, 2)
