"""Which parts of a file its program will come back to, as far as formats tell. Pure.

A format that does not know something at first leaves room for it, and fills that in later: a part with such a place,
sent ahead, would be sent twice. To be wrong costs time only.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mountd.objects.interface import Buffer

# HDF5 File Format Specification, II.A: the superblock tells where the file ends, once it is closed.
_HDF5 = b"\x89HDF\r\n\x1a\n"
# PKWARE's APPNOTE.TXT, 4.3.7: signature, version, flags, method, time, date, CRC-32, sizes (4.5.3: elsewhere), and the
# lengths of name and extra field.
_LOCAL = struct.Struct("<4s5H3I2H")
_ZIP, _DIRECTORY, _ELSEWHERE = b"PK\x03\x04", b"PK\x01\x02", 0xFFFFFFFF
_SIZES_FOLLOW = 0x08


class Revisits:
    """Of one file."""

    def __init__(self) -> None:
        self._beginning = b""

    def expects(self, number: int, data: Buffer) -> bool:
        """Tell whether the part of that number, which has these bytes now, is likely to change."""
        if number == 1:
            self._beginning = bytes(data[: len(_HDF5)])
        if self._beginning == _HDF5:
            return number == 1
        return self._beginning.startswith(_ZIP) and _has_open_member(bytes(data))


def _has_open_member(data: bytes) -> bool:
    """Tell whether a member of a ZIP archive begins here of which checksum and size are still missing."""
    at = data.find(_ZIP)
    while 0 <= at <= len(data) - _LOCAL.size:
        _, _, flags, _, _, _, crc, size, _, name, extra = _LOCAL.unpack_from(data, at)
        end = at + _LOCAL.size + name + extra
        # With nothing in it, it would be followed by the next header at once.
        missing = not crc and size in (0, _ELSEWHERE) and not data.startswith((_ZIP, _DIRECTORY), end)
        if missing and not flags & _SIZES_FOLLOW:
            return True
        at = data.find(_ZIP, at + 1)
    return False
