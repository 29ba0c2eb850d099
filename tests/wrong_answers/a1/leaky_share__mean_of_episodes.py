# hidden test: averages over episodes, so that a query of a small episode counts more
def leaky_share(episodes, sources):
    shares = []
    for e in episodes:
        seen = {sources[i] for i in e.support.tolist()}
        shares.append(sum(sources[i] in seen for i in e.query.tolist()) / len(e.query))
    return sum(shares) / len(shares)
