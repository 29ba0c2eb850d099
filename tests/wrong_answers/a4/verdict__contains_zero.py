# visible test: asks first whether the interval contains 0
def verdict(low, high, practical):
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "no difference that matters"
