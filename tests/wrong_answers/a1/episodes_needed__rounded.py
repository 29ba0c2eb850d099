# visible test: rounds to the nearest whole number, so that the interval may be too wide
def episodes_needed(accuracy, n_queries, half_width):
    return round(1.96**2 * accuracy * (1 - accuracy) / n_queries / half_width**2)
