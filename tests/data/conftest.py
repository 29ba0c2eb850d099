"""Fixtures of the tests of `data`."""

import pytest


@pytest.fixture
def files(tmp_path):
    """Creates empty files: finding does not open them."""

    def create(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return create
