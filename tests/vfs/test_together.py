"""What several programs do at the same time."""

import pytest

from tests.vfs.together import try_seed


@pytest.mark.parametrize("seed", range(4))
def test_nobody_waits_for_ever_and_a_new_mount_shows_the_same(seed):
    """`python -m tests.vfs.together` tries as many seeds as you like."""
    try_seed(seed)
