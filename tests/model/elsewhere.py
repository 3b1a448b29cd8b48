"""What another client of the store may do between a program's calls, and what it means for the tree of the model."""

from tests.model.nodes import Directory, File

DEFAULT_FILE_MODE, DEFAULT_DIRECTORY_MODE = 0o644, 0o755


class Elsewhere:
    """Another client of the store as the model sees it: it knows plain objects, and neither handles nor links.

    It acts on closed files only, and leaves alone what carries attributes that an object of its own would not have.
    """

    def __init__(self, model):
        self._model = model

    def put(self, path, data):
        """Make `path` a new object; tell whether that may be done."""
        directory, left = self._down(path)
        replaced = directory.entries.get(left[0]) if directory else None
        if directory is None or not (replaced is None or self._closed(replaced)):
            return False
        for name in left[:-1]:
            made = Directory(DEFAULT_DIRECTORY_MODE, lasts=False)
            directory.entries[name] = made
            directory.mtime, directory = None, made
        # Whether an object that replaces another one has its mode is left open: modes stay with the name.
        known = replaced or left[-1] in directory.lost
        directory.entries[left[-1]] = File(None if known else DEFAULT_FILE_MODE, data=bytearray(data))
        directory.mtime = None
        if replaced:
            replaced.names = 0
        return True

    def delete(self, path):
        """Remove the object `path`; tell whether that may be done: a directory that would go with it must not."""
        directory, left = self._down(path)
        if directory is None or len(left) > 1 or not self._closed(directory.entries.get(left[0])):
            return False
        others = [node for name, node in directory.entries.items() if name != left[0]]
        if not (directory.lasts or any(map(self.is_stored, others))):
            return False
        directory.entries.pop(left[0]).names = 0
        directory.lost.add(left[0])
        directory.mtime = None
        return True

    def is_stored(self, node):
        """Tell whether the store has anything of a node."""
        if isinstance(node, Directory):
            return node.lasts or any(map(self.is_stored, node.entries.values()))
        return not self._is_open(node)

    def _down(self, path):
        """Return the last directory on the way to `path`, None when a file is on the way, and the names left."""
        at, left = self._model.root, path.split("/")
        while len(left) > 1 and left[0] in at.entries:
            at = at.entries[left.pop(0)]
            if not isinstance(at, Directory):
                return None, left
        return at, left

    def _closed(self, node):
        return isinstance(node, File) and node.names == 1 and not node.xattrs and not self._is_open(node)

    def _is_open(self, node):
        return any(handle.node is node for handle in self._model.handles.values())
