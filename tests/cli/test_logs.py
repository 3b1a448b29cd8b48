"""`mountd logs`: the last lines, and what comes."""

import pytest

from tests.kits import LocalFolder


@pytest.fixture
def log(host, tmp_path):
    """The log of a store that was mounted once, and has twelve lines now, two of them in the file before."""
    host.mount(LocalFolder(tmp_path / "store"), name="lab").unmount()
    (path,) = host.folder.glob("state/mountd/*/mountd.log")
    path.with_name("mountd.log.1").write_text("1\n2\n")
    path.write_text("".join(f"{number}\n" for number in range(3, 13)))
    return path


def test_the_last_lines_are_shown(host, log):
    """Older ones from the file that was full before."""
    assert host.run("logs", "lab", "-n", "3").stdout == "10\n11\n12\n"
    assert host.run("logs", "lab").stdout.split() == [str(number) for number in range(1, 13)]
    assert host.run("logs", "lab", "-n", "0").stdout == ""


def test_what_comes_is_followed_into_the_next_file(host, log):
    """As a log that is full is put aside."""
    process = host.start("logs", "lab", "-f", "-n", "1")
    assert process.stdout.readline() == "12\n"
    with log.open("a") as file:
        file.write("13\n")
    assert process.stdout.readline() == "13\n"
    log.rename(log.with_name("mountd.log.1"))
    log.write_text("14\n")
    assert process.stdout.readline() == "14\n"
    process.terminate()


def test_a_store_that_was_never_mounted_has_no_log(host):
    """One line says so."""
    done = host.run("logs", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "never mounted" in done.stderr
