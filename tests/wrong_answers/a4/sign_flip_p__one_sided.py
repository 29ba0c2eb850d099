# visible test: counts one side alone
import itertools

import numpy as np


def sign_flip_p(differences):
    values = np.asarray(differences, dtype=np.float64)
    signs = np.array(list(itertools.product([-1, 1], repeat=len(values))))
    return float((signs @ values >= values.sum() - 1e-9).mean())
