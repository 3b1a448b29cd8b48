"""What a store says of objects, before anybody relies on it: nothing outside of what was asked for, nothing impossible.

Services, proxies in front of them and flavors of others can answer anything. Whoever copies or deletes "everything
below a directory" must not get keys from elsewhere, and numbers go into tables and to the kernel, which have their
limits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from mountd.errors import StoreFailure
from mountd.objects.interface import Chunk, Key, ListPage, ObjectInfo
from mountd.objects.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

# Sizes and times (nanoseconds since the epoch, so up to the year 2262) are signed 64-bit numbers.
MOST = (1 << 63) - 1


class PlausibleStore(Layer):
    """Leaves out of listings what does not belong there. Raises StoreFailure for an object that cannot be as told."""

    async def list_page(
        self, prefix: Key, *, recursive: bool = False, cursor: str | None = None, limit: int = 1000, known: bytes = b""
    ) -> ListPage:
        page = await super().list_page(prefix, recursive=recursive, cursor=cursor, limit=limit, known=known)
        below = [info for info in page.objects if info.key.startswith(prefix)]
        objects = [plausible for info in below if (plausible := _plausible(info)) is not None]
        return replace(page, objects=objects, prefixes=[each for each in page.prefixes if each.startswith(prefix)])

    async def _request(self, name: str, send: Callable[[], Awaitable[T]]) -> T:
        answer = await send()
        if isinstance(answer, ObjectInfo):
            return _required(answer)  # type: ignore[return-value]  # T is ObjectInfo here
        if isinstance(answer, Chunk):
            return replace(answer, info=_required(answer.info))
        return answer


def _required(info: ObjectInfo) -> ObjectInfo:
    found = _plausible(info)
    if found is None:
        raise StoreFailure(f"{info.key!r}: the store names a version that is no text: {info.version[:80]!r}")
    return found


def _plausible(info: ObjectInfo) -> ObjectInfo | None:
    """Return the object with its numbers in range, `None` where its version cannot be kept or named to the store."""
    version = info.version
    if (not version.isascii() and not _is_text(version)) or "\0" in version:
        return None
    if 0 <= info.size <= MOST and -MOST <= info.mtime_ns <= MOST:
        return info
    size, mtime_ns = min(max(info.size, 0), MOST), min(max(info.mtime_ns, -MOST), MOST)
    return replace(info, size=size, mtime_ns=mtime_ns)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell and UTF-8 cannot
        return False
    return True
