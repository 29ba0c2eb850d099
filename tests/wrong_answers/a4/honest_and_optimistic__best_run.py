# visible test: reports the best run as well as the best checkpoint
import numpy as np


def honest_and_optimistic(validation, test):
    validation, test = np.asarray(validation), np.asarray(test)
    return float(test[np.arange(len(test)), validation.argmax(1)].mean()), float(test.max())
