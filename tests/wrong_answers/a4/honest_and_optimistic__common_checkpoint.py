# visible test: one checkpoint for all runs
import numpy as np


def honest_and_optimistic(validation, test):
    test = np.asarray(test)
    return float(test[:, np.mean(validation, axis=0).argmax()].mean()), float(test.max(1).mean())
