"""The shape of the episode that the tests of figures draw: five support videos, two queries."""

import numpy as np

B, T, SIDE, HEADS, S = 7, 4, 2, 3, 5
LABELS = np.array([0, 1, 2, 3, 4, 2, 0])
NAMES = ["left", "right", "up", "down", "turn"]
