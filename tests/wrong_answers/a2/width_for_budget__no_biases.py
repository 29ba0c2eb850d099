# visible test: forgets the biases
def width_for_budget(dim, n_adapters, budget):
    width = budget // n_adapters // (2 * dim)
    if width < 1:
        raise ValueError("too few")
    return width
