# visible test: forgets that an episode holds several queries
import math


def episodes_needed(accuracy, n_queries, half_width):
    return math.ceil(1.96**2 * accuracy * (1 - accuracy) / half_width**2)
