"""What a tree of the model is made of."""

import stat
from dataclasses import dataclass, field


@dataclass(eq=False)
class Node:
    """What a name leads to. `None` as mode, mtime or xattrs: not known, another client made it or time has passed.

    Attributes:
        names: how many directory entries lead here.
    """

    mode: int | None
    mtime: int | None = field(default=None, kw_only=True)
    xattrs: dict[str, bytes] | None = field(default_factory=dict, kw_only=True)
    names: int = field(default=1, kw_only=True)


@dataclass(eq=False)
class File(Node):
    """A plain file."""

    data: bytearray = field(default_factory=bytearray, kw_only=True)
    kind = stat.S_IFREG

    @property
    def nlink(self):
        return self.names


@dataclass(eq=False)
class Symlink(Node):
    """A symbolic link; its mode means nothing."""

    target: str = field(kw_only=True)
    kind = stat.S_IFLNK

    @property
    def nlink(self):
        return self.names


@dataclass(eq=False)
class Directory(Node):
    """A directory.

    Attributes:
        lasts: it was made here, or emptied here: it stays when another client removes the last file in it.
        lost: names of files that another client has removed.
    """

    entries: dict[str, Node] = field(default_factory=dict, kw_only=True)
    lasts: bool = field(default=True, kw_only=True)
    lost: set[str] = field(default_factory=set, kw_only=True)
    kind = stat.S_IFDIR

    @property
    def nlink(self):
        return 2 + sum(isinstance(node, Directory) for node in self.entries.values()) if self.names else 0

    def holds(self, node):
        """Tell whether `node` is this directory or anywhere below it."""
        return node is self or any(each.holds(node) for each in self.entries.values() if isinstance(each, Directory))
