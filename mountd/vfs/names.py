"""File names to keys and back. Pure. How bytes become text is in `mountd.objects.octets`."""

from __future__ import annotations

from mountd.errors import NameTooLong
from mountd.objects import octets
from mountd.objects.interface import Key

NAME_MAX = 255

# A store can have an object `a` and keys below `a/`; a directory can hold one name once. There, the object is the file
# `a`, and what is below is the directory `a` with this code point (the octet of a slash) at its end.
TWIN = "\uef2f"
_TWIN = TWIN.encode()


def component(name: bytes) -> str:
    """Return the key component for a file name. Raises NameTooLong beyond 255 bytes."""
    if len(name) > NAME_MAX:
        raise NameTooLong(f"a name may have at most {NAME_MAX} bytes, not {len(name)}")
    return octets.text_of(name)


def name_of(text: str) -> bytes | None:
    """Return the file name for a key component, or `None` where a file system has no place for it."""
    if text in ("", ".", "..") or "\0" in text or "/" in text or text.endswith(TWIN):
        return None
    try:
        name = octets.name_of(text)
    except UnicodeEncodeError:  # half of a surrogate pair: no name can spell it
        return None
    # Another spelling of a name's bytes is another key: the name would lead to the one that is spelled as usual.
    return name if len(name) <= NAME_MAX and (text.isascii() or octets.text_of(name) == text) else None


def child_key(directory: Key, name: bytes) -> Key:
    """Return the key of the file `name` in a directory whose key is empty or ends in a slash."""
    return Key(directory + component(plain(name)))


def plain(name: bytes) -> bytes:
    """Return the name without the mark of a directory beside a file."""
    return name.removesuffix(_TWIN)


def twin(name: bytes) -> bytes:
    """Return what a directory is called beside a file of its name."""
    return name + _TWIN


def is_twin(name: bytes) -> bool:
    """Tell whether a name is that of a directory beside a file of its name."""
    return name.endswith(_TWIN)
