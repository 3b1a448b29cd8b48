"""A file system on which random operations do what a small model says: the local disk, and mounts."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model import places
from tests.model.machine import TreeMachine

# Reproducible; `python -m tests.model` looks for more.
SETTINGS = settings(
    derandomize=True,
    deadline=None,
    print_blob=True,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def compare(place, **limits):
    """Run the machine on a place."""
    machine = type("Machine", (TreeMachine,), {"place": place})
    run_state_machine_as_test(machine, settings=settings(SETTINGS, **limits))


def test_a_folder_of_the_local_disk_behaves_as_the_model_says():
    """This tests the model: whatever it claims, ext4 does."""
    with places.disk() as disk:
        compare(disk, max_examples=300)


def test_a_mounted_folder_behaves_as_the_model_says():
    """A mount of a local store, with another client of it among the actors, and remounts."""
    with places.local() as mounted:
        compare(mounted, max_examples=40)


def test_a_mounted_bucket_behaves_as_the_model_says(s3_server):
    """A mount of an S3 bucket, with another client of it among the actors, and remounts."""
    with places.s3(s3_server) as mounted:
        compare(mounted, max_examples=12)


def test_a_bucket_in_write_back_mode_behaves_as_the_model_says(s3_server):
    """What is acknowledged is seen here at once, and in the store when `mountd sync` has returned."""
    with places.s3(s3_server, places.WriteBack) as mounted:
        compare(mounted, max_examples=12)
