"""File names are bytes, keys are text: the encoding between the two. Pure.

UTF-8 names map to themselves. Bytes that are not UTF-8 become code points U+EF80 to U+EFFF, one each (the private-use
octets of the MirOS OPTU encodings), so that every name has a key and every key that was made from a name leads back to
it.
"""

from __future__ import annotations

import codecs

_PRIVATE = 0xEF00


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    raw = error.object[error.start : error.end]
    return "".join(chr(_PRIVATE + byte) for byte in raw), error.end


codecs.register_error("mountd-octets", _escape)


def text_of(name: bytes) -> str:
    """Return the text for a name."""
    text = name.decode("utf-8", "mountd-octets")
    if text.isascii() or not any(_is_private(c) for c in text):
        return text
    # A name that really contains such a code point: spell its bytes, or it would come back as one raw byte.
    kept = name.decode("utf-8", "surrogateescape")
    return "".join(octet for c in kept for octet in _octets(c))


def _octets(char: str) -> list[str]:
    if "\udc80" <= char <= "\udcff":
        return [chr(_PRIVATE + ord(char) - 0xDC00)]
    return [chr(_PRIVATE + byte) for byte in char.encode()] if _is_private(char) else [char]


def _is_private(char: str) -> bool:
    return _PRIVATE + 0x80 <= ord(char) <= _PRIVATE + 0xFF


def name_of(text: str) -> bytes:
    """Return the name for a text."""
    if text.isascii():
        return text.encode("ascii")
    return b"".join(bytes([ord(c) - _PRIVATE]) if _is_private(c) else c.encode() for c in text)
