"""Whether a page of a listing has the entries that it had before, without reading them.

A directory that programs work in is listed again and again, and mostly nothing has changed. Reading a thousand entries
of XML takes about forty times as long as hashing them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def divided(body: bytes, first: Sequence[bytes], last: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return a page without its entries, as valid XML, and a digest of those; that is empty where there are none.

    What is said about the page, such as the token that continues the listing, may differ each time and is not in the
    digest. `first`, `last`: what entries begin and end with, of each kind.
    """
    starts = [at for tag in first if (at := body.find(tag)) >= 0]
    if not starts:
        return body, b""
    start, end = min(starts), max(body.rfind(tag) + len(tag) for tag in last)
    frame, entries = body[:start] + body[end:], memoryview(body)[start:end]
    return frame, hashlib.blake2b(entries, digest_size=16).digest()
