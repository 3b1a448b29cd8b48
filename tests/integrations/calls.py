"""The same calls through ZenML's functions or ours, and what came of each: `python calls.py MODULES FOLDER`, as JSON.

MODULES is `zenml` or `mountd`; FOLDER, a path or URI, is empty.
"""

import importlib
import json
import sys

MODULES = {"zenml": ("zenml.io.fileio", "zenml.utils.io_utils"), "mountd": ("mountd.fileio", "mountd.io_utils")}


def plain(value):
    """Return a result in a form that can be compared."""
    if hasattr(value, "st_size"):
        return value.st_size
    if isinstance(value, str | int | bool) or value is None:
        return value
    items = [
        plain(item) if not isinstance(item, tuple) else [item[0], sorted(item[1]), sorted(item[2])] for item in value
    ]
    return sorted(items, key=str)


def calls(fileio, io, at):
    """Yield name and function of each call, in an order in which they build on each other."""
    yield "exists nothing", lambda: fileio.exists(f"{at}/a")
    yield "write string", lambda: io.write_file_contents_as_string(f"{at}/a", "grüße\n")
    yield "write bytes as string", lambda: io.write_file_contents_as_string(f"{at}/b", b"x")
    yield "read string", lambda: io.read_file_contents_as_string(f"{at}/a")
    yield "read missing", lambda: io.read_file_contents_as_string(f"{at}/missing")
    yield "open missing", lambda: fileio.open(f"{at}/missing").close()
    yield "size", lambda: fileio.size(f"{at}/a")
    yield "size of nothing", lambda: fileio.size(f"{at}/missing")
    yield "stat", lambda: fileio.stat(f"{at}/a")
    yield "stat missing", lambda: fileio.stat(f"{at}/missing")
    yield "exists", lambda: fileio.exists(f"{at}/a")
    yield "isdir of a file", lambda: fileio.isdir(f"{at}/a")
    yield "mkdir", lambda: fileio.mkdir(f"{at}/d")
    yield "mkdir again", lambda: fileio.mkdir(f"{at}/d")
    yield "mkdir below nothing", lambda: fileio.mkdir(f"{at}/x/y")
    yield "makedirs", lambda: fileio.makedirs(f"{at}/d/e/f")
    yield "makedirs again", lambda: fileio.makedirs(f"{at}/d/e/f")
    yield "isdir", lambda: fileio.isdir(f"{at}/d/e")
    yield "create if missing", lambda: io.create_file_if_not_exists(f"{at}/d/e/made.json")
    yield "create again", lambda: io.create_file_if_not_exists(f"{at}/d/e/made.json", "other")
    yield "created", lambda: io.read_file_contents_as_string(f"{at}/d/e/made.json")
    yield "create dir", lambda: io.create_dir_if_not_exists(f"{at}/d/g")
    yield "create dirs", lambda: io.create_dir_recursive_if_not_exists(f"{at}/d/h/i")
    yield "copy", lambda: fileio.copy(f"{at}/a", f"{at}/d/copy.txt")
    yield "copy onto", lambda: fileio.copy(f"{at}/d/e/made.json", f"{at}/d/copy.txt")
    yield "not copied", lambda: io.read_file_contents_as_string(f"{at}/d/copy.txt")
    yield "copy over", lambda: fileio.copy(f"{at}/d/e/made.json", f"{at}/d/copy.txt", overwrite=True)
    yield "copied", lambda: io.read_file_contents_as_string(f"{at}/d/copy.txt")
    yield "copy nothing", lambda: fileio.copy(f"{at}/missing", f"{at}/d/other")
    yield "nothing came of it", lambda: fileio.exists(f"{at}/d/other")
    yield "rename onto", lambda: fileio.rename(f"{at}/a", f"{at}/d/copy.txt")
    yield "rename", lambda: fileio.rename(f"{at}/a", f"{at}/d/moved.txt")
    yield "move over", lambda: io.move(f"{at}/d/moved.txt", f"{at}/d/copy.txt", overwrite=True)
    yield "moved", lambda: io.read_file_contents_as_string(f"{at}/d/copy.txt")
    yield "rename nothing", lambda: fileio.rename(f"{at}/missing", f"{at}/d/other")
    yield "listdir", lambda: fileio.listdir(f"{at}/d")
    yield "listdir whole", lambda: fileio.listdir(f"{at}/d", only_file_names=False)
    yield "listdir nothing", lambda: fileio.listdir(f"{at}/missing")
    yield "glob", lambda: fileio.glob(f"{at}/d/*.txt")
    yield "glob everything", lambda: fileio.glob(f"{at}/d/*")
    yield "glob nothing", lambda: fileio.glob(f"{at}/d/*.nothing")
    yield "find", lambda: io.find_files(at, "*.json")
    yield "walk", lambda: fileio.walk(f"{at}/d")
    yield "size of all", lambda: fileio.size(f"{at}/d")
    yield "copy dir", lambda: io.copy_dir(f"{at}/d", f"{at}/k")
    yield "copy dir onto", lambda: io.copy_dir(f"{at}/d", f"{at}/k")
    yield "copy dir over", lambda: io.copy_dir(f"{at}/d", f"{at}/k", overwrite=True)
    yield "copied dir", lambda: fileio.walk(f"{at}/k")
    yield "append", lambda: [fileio.open(f"{at}/log", "a").close(), fileio.exists(f"{at}/log")][1]
    yield "remove", lambda: fileio.remove(f"{at}/log")
    yield "remove again", lambda: fileio.remove(f"{at}/log")
    yield "rmtree of a file", lambda: fileio.rmtree(f"{at}/d/copy.txt")
    yield "rmtree", lambda: fileio.rmtree(f"{at}/d")
    yield "gone", lambda: fileio.exists(f"{at}/d")
    yield "bytes as path", lambda: fileio.exists(f"{at}/k/copy.txt".encode())
    for path in ("s3://b/x", "gs://b/x", "/tmp/x", "relative"):
        yield f"remote {path}", lambda path=path: io.is_remote(path)
    for path in ("/", "/tmp", "x"):
        yield f"root {path}", lambda path=path: io.is_root(path)
    for path in ("/a/b/c", "s3://b/x"):
        yield f"resolve {path}", lambda path=path: io.resolve_relative_path(path)
    for path, folder in (("/a/b", "/a"), ("/ab", "/a"), ("../x", "/a"), ("b/../c", "/a"), ("/a", "/a")):
        yield f"{path} within {folder}", lambda path=path, folder=folder: io.is_path_within_directory(path, folder)


def outcome(call):
    """Return the result of a call, or the name of its error."""
    try:
        return plain(call())
    except Exception as exc:
        return type(exc).__name__


def main():
    """Print what came of each call, with the folder's own name left out."""
    modules, at = sys.argv[1:]
    fileio, io = (importlib.import_module(name) for name in MODULES[modules])
    found = {name: outcome(call) for name, call in calls(fileio, io, at)}
    print(json.dumps(found).replace(json.dumps(at)[1:-1], "AT"))


if __name__ == "__main__":
    main()
