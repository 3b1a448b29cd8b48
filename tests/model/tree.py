"""Whole trees, of the model and of a real directory, in a form that can be compared and printed."""

import os
import stat

from tests.model.nodes import Directory, File, Symlink
from tests.model.system import listxattr

# Without the feature, what the field says is not compared.
FEATURE_OF_FIELD = {"mode": "modes", "mtime": "times", "xattrs": "xattrs"}


def of_model(directory, path=""):
    """Return {path: {field: value}} for everything below a directory of the model; a value that is open is None."""
    found = {}
    for name, node in sorted(directory.entries.items()):
        at = f"{path}{name}"
        found[at] = {
            "kind": node.kind,
            "nlink": node.nlink,
            "mode": None if isinstance(node, Symlink) else node.mode,
            "mtime": node.mtime,
            "xattrs": None if isinstance(node, Symlink) else node.xattrs,
            "inode": node,
            "data": bytes(node.data) if isinstance(node, File) else None,
            "size": len(node.data) if isinstance(node, File) else None,
            "target": node.target if isinstance(node, Symlink) else None,
        }
        if isinstance(node, Directory):
            found |= of_model(node, f"{at}/")
    return found


def of_folder(folder, *, xattrs):
    """Return the same for a real directory; xattrs only when asked."""
    found = {}
    for here, directories, files in os.walk(folder, onerror=_raise):
        for name in directories + files:
            path = os.path.join(here, name)
            found[os.path.relpath(path, folder)] = _describe(path, xattrs)
    return found


def _raise(error):
    raise error


def _describe(path, xattrs):
    state = os.lstat(path)
    is_file, is_link = stat.S_ISREG(state.st_mode), stat.S_ISLNK(state.st_mode)
    return {
        "kind": stat.S_IFMT(state.st_mode),
        "nlink": state.st_nlink,
        "mode": stat.S_IMODE(state.st_mode),
        "mtime": state.st_mtime_ns,
        "xattrs": _xattrs(path) if xattrs and not is_link else None,
        "inode": state.st_ino,
        "data": _read(path) if is_file else None,
        "size": state.st_size if is_file else None,
        "target": os.readlink(path) if is_link else None,
    }


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _xattrs(path):
    return {name: os.getxattr(path, name) for name in listxattr(path)}


def differences(expected, got, features):
    """Return lines about what two trees do not have in common, as far as the features allow to compare them."""
    lines = [f"{path}: missing" for path in expected.keys() - got.keys()]
    lines += [f"{path}: should not be there" for path in got.keys() - expected.keys()]
    for path in expected.keys() & got.keys():
        for field, wanted in expected[path].items():
            if field != "inode" and _counts(field, expected[path], features) and wanted != got[path][field]:
                lines.append(f"{path}: {field}: expected {wanted!r:.80}, got {got[path][field]!r:.80}")
    if not lines and _names_by_inode(expected) != _names_by_inode(got):
        lines.append(f"inode numbers: expected {_names_by_inode(expected)}, got {_names_by_inode(got)}")
    return sorted(lines)


def _counts(field, fields, features):
    if fields[field] is None:
        return field == "target"
    if field == "nlink" and fields["kind"] == stat.S_IFDIR:
        return "directory links" in features
    return FEATURE_OF_FIELD.get(field) in {None, *features}


def _names_by_inode(tree):
    """Return the sets of paths that are one file."""
    names = {}
    for path, fields in sorted(tree.items()):
        names.setdefault(fields["inode"], []).append(path)
    return sorted(names.values())
