"""What was measured with the library: the ladder of claims, the leak, speed, and the backbone's pre-training.

Each study is one module and one verb of the command line; its results lie in `notebooks/results`.
"""
