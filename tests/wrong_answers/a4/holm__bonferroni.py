# visible test: multiplies all by m
def holm(p_values):
    return [min(1, len(p_values) * p) for p in p_values]
