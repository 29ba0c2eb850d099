# hidden test: compares floating-point sums without a tolerance
import itertools

import numpy as np


def sign_flip_p(differences):
    values = np.asarray(differences, dtype=np.float64)
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product([1, -1], repeat=len(values))
    ]
    return float(np.mean([total >= sums[0] for total in sums]))
