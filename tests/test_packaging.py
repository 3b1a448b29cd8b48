"""What is installed: the command `mountd` and the package, and nothing else.

Builds and environments are isolated, as for users, so these tests need the package index that `make test` needs.
"""

import configparser
import importlib
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
NOT_COPIED = shutil.ignore_patterns(".venv", ".git", ".*_cache", ".hypothesis", "__pycache__", "build", "dist")


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the project: builds must not meet what other tests or engineers leave in the real one."""
    copy = tmp_path_factory.mktemp("project") / "checkout"
    shutil.copytree(CHECKOUT, copy, ignore=NOT_COPIED)
    return copy


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory):
    """The folder with an sdist and the wheel that is built from it, as an installer would."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, checkout, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_brings_one_package_and_no_other_module(wheel):
    """`cli` and `tests` are names that other projects use, too."""
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"mountd"}


def test_the_wheel_holds_every_module_and_the_marker_of_its_types(wheel, checkout):
    """Whatever is imported in the checkout is there when installed."""
    modules = {str(path.relative_to(checkout)) for path in (checkout / "mountd").rglob("*.py")}
    assert modules | {"mountd/py.typed"} <= set(wheel.namelist())


def test_the_wheel_gives_the_commands(wheel):
    """`mountd`, and what mount(8) and umount(8) call."""
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(name).decode())
    assert set(entries["console_scripts"]) == {"mountd", "mount.mountd", "umount.fuse.mountd"}
    for target in entries["console_scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_the_sdist_holds_what_is_needed_to_test_it(built):
    """Distributions build and test from it."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"Makefile", "README.md", "LICENSE", "CHANGELOG.md", "cli.py", "pyproject.toml"}
    wanted |= {"docs/semantics.md", "docs/exit-codes.md", "systemd/user/mountd@.service", "tests/test_packaging.py"}
    assert wanted - names == set()


@pytest.fixture(scope="module")
def editable(checkout, tmp_path_factory):
    """The interpreter of a fresh environment with the checkout installed as editable; the folder is outside of it."""
    folder = tmp_path_factory.mktemp("editable")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--editable", checkout, cwd=folder)
    return python


def import_in(python, module):
    return subprocess.run(
        [python, "-c", f"import {module}; print({module}.__file__)"],
        cwd=python.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_editable_install_imports_the_checkout(editable, checkout):
    """And gives the command."""
    assert import_in(editable, "mountd").stdout.strip() == str(checkout / "mountd" / "__init__.py")
    assert (editable.parent / "mountd").exists()


def test_an_editable_install_costs_no_import(editable):
    """A line in a `.pth` file that is code runs at each start of Python: hatchling's exact mode takes 25 to 60 ms."""
    (path,) = editable.parent.parent.glob("lib/python3*/site-packages/*mountd*.pth")
    assert not path.read_text().startswith("import")
