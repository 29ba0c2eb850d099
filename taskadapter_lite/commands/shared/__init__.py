"""What several verbs share: options of their own and of a dataclass, what is made of them, the tasks of `ladder`."""
