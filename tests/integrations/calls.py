"""The same calls through ZenML's functions or ours, and what came of each: `python calls.py MODULES FOLDER`, as JSON.

MODULES is `zenml` or `mountd`; FOLDER, a path or URI, is empty.
"""

import importlib
import inspect
import json
import sys

import mountd.fileio
import mountd.io_utils

MODULES = {"zenml": ("zenml.io.fileio", "zenml.utils.io_utils"), "mountd": ("mountd.fileio", "mountd.io_utils")}


def plain(value):
    """Return a result in a form that can be compared."""
    if hasattr(value, "st_size"):
        return value.st_size
    if isinstance(value, str | int | bool) or value is None:
        return value
    if isinstance(value, bytes):
        return f"bytes {value.decode()}"
    items = [
        plain(item) if not isinstance(item, tuple) else [plain(item[0]), plain(item[1]), plain(item[2])]
        for item in value
    ]
    return sorted(items, key=str)


def parameters(function):
    """Return how a function is called: names, order and defaults."""
    found = inspect.signature(function).parameters.values()
    return " ".join(f"{each.name}={each.default}" if each.default is not each.empty else each.name for each in found)


def written(fileio, path, mode, content):
    """Write with a mode and return what is there afterwards."""
    with fileio.open(path, mode) as file:
        file.write(content)
    with fileio.open(path, "rb") as file:
        return file.read()


def without(name, walk):
    """Return what is walked when one directory is taken out on the way."""
    found = []
    for folder, directories, files in walk:
        directories[:] = [each for each in directories if each != name]
        found.append((folder, directories, files))
    return found


def calls(fileio, io, at):
    """Yield name and function of each call, in an order in which they build on each other."""
    for module, ours in ((fileio, mountd.fileio), (io, mountd.io_utils)):
        for name in ours.__all__:
            yield f"parameters of {name}", lambda module=module, name=name: parameters(getattr(module, name))
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
    yield "copy onto itself", lambda: fileio.copy(f"{at}/a", f"{at}/a")
    yield "copy over itself", lambda: fileio.copy(f"{at}/a", f"{at}/a", overwrite=True)
    yield "still there", lambda: io.read_file_contents_as_string(f"{at}/a")
    yield "copy a directory", lambda: fileio.copy(f"{at}/d/e", f"{at}/d/other")
    yield "copy nothing", lambda: fileio.copy(f"{at}/missing", f"{at}/d/other")
    yield "nothing came of it", lambda: fileio.exists(f"{at}/d/other")
    yield "rename onto", lambda: fileio.rename(f"{at}/a", f"{at}/d/copy.txt")
    yield "rename", lambda: fileio.rename(f"{at}/a", f"{at}/d/moved.txt")
    yield "move over", lambda: io.move(f"{at}/d/moved.txt", f"{at}/d/copy.txt", overwrite=True)
    yield "moved", lambda: io.read_file_contents_as_string(f"{at}/d/copy.txt")
    yield "rename nothing", lambda: fileio.rename(f"{at}/missing", f"{at}/d/other")
    yield "rename nothing to nowhere", lambda: fileio.rename(f"{at}/missing", f"{at}/nowhere/other")
    yield "nothing was made", lambda: fileio.exists(f"{at}/nowhere")
    yield "rename a directory", lambda: fileio.rename(f"{at}/d/h", f"{at}/d/j")
    yield "rename a directory onto another", lambda: fileio.rename(f"{at}/d/j", f"{at}/d/e")
    yield "rename a directory over a full one", lambda: fileio.rename(f"{at}/d/j", f"{at}/d/e", overwrite=True)
    yield "rename a directory over a file", lambda: fileio.rename(f"{at}/d/j", f"{at}/d/copy.txt", overwrite=True)
    yield "write text", lambda: written(fileio, f"{at}/text", "w", "a\n")
    yield "append text", lambda: written(fileio, f"{at}/text", "a", "ü\n")
    yield "write in place", lambda: written(fileio, f"{at}/text", "r+", "b")
    yield "write bytes", lambda: written(fileio, f"{at}/text", "wb", bytes(range(7)))
    yield "write text as bytes", lambda: written(fileio, f"{at}/text", "wb", "text")
    yield "write what is there", lambda: written(fileio, f"{at}/text", "x", "text")
    yield "open a directory", lambda: fileio.open(f"{at}/d")
    yield "open in no mode", lambda: fileio.open(f"{at}/text", "q")
    yield "mkdir over a file", lambda: fileio.mkdir(f"{at}/text")
    yield "makedirs over a file", lambda: fileio.makedirs(f"{at}/text")
    yield "makedirs below a file", lambda: fileio.makedirs(f"{at}/text/x")
    yield "exists below a file", lambda: fileio.exists(f"{at}/text/x")
    yield "size below a file", lambda: fileio.size(f"{at}/text/x")
    yield "listdir of a file", lambda: fileio.listdir(f"{at}/text")
    yield "remove a directory", lambda: fileio.remove(f"{at}/d")
    yield "rmtree of nothing", lambda: fileio.rmtree(f"{at}/missing")
    yield "clear away", lambda: fileio.remove(f"{at}/text")
    yield "listdir", lambda: fileio.listdir(f"{at}/d")
    yield "listdir whole", lambda: fileio.listdir(f"{at}/d", only_file_names=False)
    yield "listdir nothing", lambda: fileio.listdir(f"{at}/missing")
    yield "glob", lambda: fileio.glob(f"{at}/d/*.txt")
    yield "glob everything", lambda: fileio.glob(f"{at}/d/*")
    yield "glob nothing", lambda: fileio.glob(f"{at}/d/*.nothing")
    yield "find", lambda: io.find_files(at, "*.json")
    yield "walk", lambda: fileio.walk(f"{at}/d")
    yield "walk from below", lambda: fileio.walk(f"{at}/d", topdown=False)
    yield "walk past", lambda: without("e", fileio.walk(f"{at}/d"))
    yield "walk nothing", lambda: fileio.walk(f"{at}/missing")
    yield "bytes walked", lambda: fileio.walk(f"{at}/d".encode())
    yield "bytes globbed", lambda: fileio.glob(f"{at}/d/*".encode())
    yield "bytes listed", lambda: fileio.listdir(f"{at}/d".encode())
    yield "bytes found", lambda: io.find_files(f"{at}/d".encode(), "*.json")
    yield "bytes read", lambda: fileio.open(f"{at}/d/copy.txt".encode()).read()
    yield "size of all", lambda: fileio.size(f"{at}/d")
    yield "copy dir", lambda: io.copy_dir(f"{at}/d", f"{at}/k")
    yield "copy dir onto", lambda: io.copy_dir(f"{at}/d", f"{at}/k")
    yield "copy dir over", lambda: io.copy_dir(f"{at}/d", f"{at}/k", overwrite=True)
    yield "copied dir", lambda: fileio.walk(f"{at}/k")
    yield "append", lambda: [fileio.open(f"{at}/log", "a").close(), fileio.exists(f"{at}/log")][1]
    yield "remove", lambda: fileio.remove(f"{at}/log")
    yield "remove again", lambda: fileio.remove(f"{at}/log")
    yield "parent of nothing", lambda: io.get_parent(f"{at}/missing")
    yield "grandparent of nothing", lambda: io.get_grandparent(f"{at}/missing")
    yield "rmtree of a file", lambda: fileio.rmtree(f"{at}/d/copy.txt")
    yield "rmtree", lambda: fileio.rmtree(f"{at}/d")
    yield "gone", lambda: fileio.exists(f"{at}/d")
    yield "bytes as path", lambda: fileio.exists(f"{at}/k/copy.txt".encode())
    for path in ("s3://b/x", "gs://b/x", "az://b", "abfs://c/x", "hdfs://h/x", "/tmp/x", "relative"):
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
