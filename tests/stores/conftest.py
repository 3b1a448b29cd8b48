"""A user of their own for each test: folders, and the registry over them."""

import pytest

from mountd.config import Folders
from mountd.stores.registry import Registry


@pytest.fixture
def folders(tmp_path):
    return Folders(
        config=tmp_path / "config",
        state=tmp_path / "state",
        data=tmp_path / "data",
        runtime=tmp_path / "run",
        home=tmp_path / "home",
    )


@pytest.fixture
def registry(folders):
    return Registry(folders)
