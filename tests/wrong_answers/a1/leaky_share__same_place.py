# visible test: compares each query with the support clip at the same place alone
def leaky_share(episodes, sources):
    pairs = [pair for e in episodes for pair in zip(e.query.tolist(), e.support.tolist(), strict=False)]
    return sum(sources[i] == sources[j] for i, j in pairs) / len(pairs)
