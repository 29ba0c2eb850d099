# visible test: decides by the middle of the interval
def verdict(low, high, practical):
    middle = (low + high) / 2
    if abs(middle) < practical:
        return "no difference that matters"
    return "better" if middle > 0 else "worse"
