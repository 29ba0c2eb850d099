# hidden test: sees improvements alone
def verdict(low, high, practical):
    if -practical < low and high < practical:
        return "no difference that matters"
    return "better" if low > 0 else "undecided"
