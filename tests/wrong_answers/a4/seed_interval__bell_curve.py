# visible test: 1.96 for three seeds
import math

import numpy as np


def seed_interval(accuracies):
    means = np.mean(accuracies, axis=1)
    return float(means.mean()), float(1.96 * means.std(ddof=1) / math.sqrt(len(means)))
