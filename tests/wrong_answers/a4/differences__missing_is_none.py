# hidden test: takes a missing setting for None
def differences(one, other):
    def flatten(config, prefix=""):
        flat = {}
        for key, value in config.items():
            flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return flat

    left, right = flatten(one), flatten(other)
    return {key for key in left | right if left.get(key) != right.get(key)}
