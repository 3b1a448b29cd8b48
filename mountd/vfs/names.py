"""File names are bytes, keys are text: the mapping between the two. Pure.

UTF-8 names map to themselves. Bytes that are not UTF-8 become code points U+EF80 to U+EFFF, one each (the private-use
octets of the MirOS OPTU encodings), so that every name has a key and every name listed leads back to its key.
"""

from __future__ import annotations

import codecs

from mountd.errors import NameTooLong
from mountd.objects.interface import Key

NAME_MAX = 255
_PRIVATE = 0xEF00


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    raw = error.object[error.start : error.end]
    return "".join(chr(_PRIVATE + byte) for byte in raw), error.end


codecs.register_error("mountd-octets", _escape)


def component(name: bytes) -> str:
    """Return the key component for a file name. Raises NameTooLong beyond 255 bytes."""
    if len(name) > NAME_MAX:
        raise NameTooLong(f"a name may have at most {NAME_MAX} bytes, not {len(name)}")
    text = name.decode("utf-8", "mountd-octets")
    if text.isascii() or not any(_is_private(c) for c in text):
        return text
    # A name that really contains such a code point: spell its bytes, or it would come back as one raw byte.
    kept = name.decode("utf-8", "surrogateescape")
    octets = (byte for c in kept for byte in _octets(c))
    return "".join(octets)


def _octets(char: str) -> list[str]:
    if "\udc80" <= char <= "\udcff":
        return [chr(_PRIVATE + ord(char) - 0xDC00)]
    return [chr(_PRIVATE + byte) for byte in char.encode()] if _is_private(char) else [char]


def _is_private(char: str) -> bool:
    return _PRIVATE + 0x80 <= ord(char) <= _PRIVATE + 0xFF


def name_of(text: str) -> bytes | None:
    """Return the file name for a key component, or `None` where a file system has no place for it."""
    if text in ("", ".", "..") or "\0" in text:
        return None
    if text.isascii():
        name = text.encode("ascii")
    else:
        name = b"".join(bytes([ord(c) - _PRIVATE]) if _is_private(c) else c.encode() for c in text)
    return name if len(name) <= NAME_MAX and b"/" not in name else None


def child_key(directory: Key, name: bytes) -> Key:
    """Return the key of the file `name` in a directory whose key is empty or ends in a slash."""
    return Key(directory + component(name))


def last_component(key: str) -> str:
    """Return what follows the last slash but a closing one."""
    return key.rstrip("/").rpartition("/")[2]
