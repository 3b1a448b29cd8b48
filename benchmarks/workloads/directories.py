"""Directories and trees."""

import importlib
import os
import shutil
import subprocess
import sys

from benchmarks import raw
from benchmarks.client import Failed
from benchmarks.workload import Workload


def list_many(job):
    """What `ls -l` does: it asks for extended attributes, too."""
    yield
    done = subprocess.run(["ls", "-l", job.root / "many"], capture_output=True, text=True, check=True)
    yield
    sizes = [int(line.split()[4]) for line in done.stdout.splitlines()[1:]]
    if len(sizes) != job.sizes.many or set(sizes) != {100}:
        raise Failed(f"sees {len(sizes)} of {job.sizes.many} files")


def import_package(job):
    """Import a package that lies in the store."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(job.root / "package"))
    yield
    module = importlib.import_module("weighed")
    yield
    assert len([name for name in sys.modules if name.startswith("weighed.part") and "module" in name]) > 1, module


def put_to_move(place, at, sizes):
    """Put the file that `rename_file` renames."""
    place.put([f"{at}/moved/old"], os.urandom(sizes.moved))


def rename_file(job):
    """Rename a file, until it is so in the bucket."""
    job.prepare()
    os.listdir(job.mine / "moved")
    yield
    os.rename(job.mine / "moved/old", job.mine / "moved/new")
    job.wait_for_all("moved", {"new": job.sizes.moved})
    job.wait_until_gone("moved", ["old"])


def put_to_move_all(place, at, sizes):
    """Put the directory that `rename_directory` renames."""
    place.put([f"{at}/from/{number:03}" for number in range(sizes.moves)], b"x" * 4096)


def rename_directory(job):
    """Rename a directory, until it is so in the bucket."""
    job.prepare()
    names = os.listdir(job.mine / "from")
    yield
    os.rename(job.mine / "from", job.mine / "to")
    job.wait_for_all("to", dict.fromkeys(names, 4096))
    job.wait_until_gone("from", names)


def _tree(folder):
    """Return the sizes of the files of a tree, by name."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(folder)): path.stat().st_size for path in found}


def copy_tree(job):
    """`cp -r` a tree into the mount, until it is in the bucket."""
    job.prepare()
    wanted = _tree(job.part("local/tree"))
    yield
    subprocess.run(["cp", "-r", job.part("local/tree"), job.mine / "copied"], check=True)
    job.wait_for_all("copied", wanted)


def clone(job):
    """`git clone` into the mount, until the files are in the bucket."""
    job.prepare()
    source = job.part("local/repository")
    wanted = _tree(source)
    yield
    done = subprocess.run(
        ["git", "clone", "-q", f"file://{source}", job.mine / "cloned"], capture_output=True, text=True
    )
    if done.returncode:
        raise Failed(done.stderr.strip())
    job.wait_for_all("cloned", wanted)
    yield
    shutil.rmtree(job.mine / "cloned", ignore_errors=True)


MANY = {"amount": lambda sizes: 1, "unit": "s", "data": ("many",)}
PACKAGE = {"unit": "ms each", "data": ("package",)}

READING = (
    Workload("list-cold", "`ls -l` of {many} objects, cold", list_many, limit=(raw.listing("many"),), **MANY),
    Workload("list-again", "`ls -l` of {many} objects, again", list_many, after="list-cold", **MANY),
    Workload("import-cold", "import of a package of {modules} modules, cold", import_package, **PACKAGE),
    Workload(
        "import-warm",
        "import of a package of {modules} modules, warm",
        import_package,
        after="import-cold",
        drop=True,
        limit="disk",
        **PACKAGE,
    ),
)

WRITING = (
    Workload(
        "rename-file",
        "rename of a file of {moved_mib} MiB",
        rename_file,
        unit="ms each",
        group="writing",
        setup=put_to_move,
    ),
    Workload(
        "rename-directory",
        "rename of a directory of {moves} files",
        rename_directory,
        group="writing",
        setup=put_to_move_all,
    ),
    Workload(
        "copy-tree",
        "`cp -r` of {tree} files in {directories} directories",
        copy_tree,
        group="writing",
        data=("local/tree",),
    ),
    Workload("git-clone", "`git clone` of {cloned} files", clone, group="writing", data=("local/repository",)),
)
