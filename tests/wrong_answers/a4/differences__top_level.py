# visible test: compares the top level alone
def differences(one, other):
    return {key for key in one | other if one.get(key) != other.get(key)}
