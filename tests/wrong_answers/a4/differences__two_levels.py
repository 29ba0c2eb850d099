# hidden test: looks into dicts once, not all the way down
def differences(one, other):
    def flatten(config):
        flat = {}
        for key, value in config.items():
            flat |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        return flat

    left, right = flatten(one), flatten(other)
    return {key for key in left | right if key not in left or key not in right or left[key] != right[key]}
