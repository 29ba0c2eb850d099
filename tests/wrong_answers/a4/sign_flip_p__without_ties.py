# visible test: counts patterns that are larger, not those as large
import itertools

import numpy as np


def sign_flip_p(differences):
    values = np.asarray(differences, dtype=np.float64)
    signs = np.array(list(itertools.product([-1, 1], repeat=len(values))))
    return float((np.abs(signs @ values) > abs(values.sum())).mean())
