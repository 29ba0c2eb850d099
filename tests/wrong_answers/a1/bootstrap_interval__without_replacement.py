# visible test: shuffles instead of drawing with replacement, so that all means agree
import numpy as np


def bootstrap_interval(accuracies, n_draws, seed):
    rng = np.random.default_rng(seed)
    means = [rng.permutation(accuracies).mean() for _ in range(n_draws)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
