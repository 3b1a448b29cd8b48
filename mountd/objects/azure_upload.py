"""Uploads to Azure: blocks are staged and then committed as the blob's list of blocks.

Blocks of the blob's present state that do not change are named again instead of sent.
https://learn.microsoft.com/rest/api/storageservices/put-block-list
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

from azure.storage.blob import BlobBlock

from mountd.errors import NotFound, Unsupported, VersionChanged
from mountd.objects import azure_values as values
from mountd.objects import checksums
from mountd.objects.azure_source import source_of
from mountd.objects.interface import MiB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mountd.objects.azure import AzureStore
    from mountd.objects.described import Description
    from mountd.objects.interface import Buffer, Key, ObjectInfo, Version

MAX_BLOCK = 4000 * MiB
# A blob may have 50,000 blocks. Appending keeps adding short ones, so that some day they are joined again.
MANY_BLOCKS = 40_000


class BlockUpload:
    """Staged blocks; what is not committed the service removes after a week."""

    def __init__(self, store: AzureStore, key: Key, described: Description) -> None:
        self._store = store
        self._key = key
        self._described = described
        scope = described.get("encryption_scope")
        self._scope = {"encryption_scope": scope} if scope else {}  # blocks have to be in that of their blob
        self._id = secrets.token_hex(8)
        self._blocks: dict[int, list[str]] = {}
        self._sizes: dict[int, int] = {}
        self._committed: list[tuple[int, int, str]] | None = None  # offset, size, id

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        block = self._block(number)
        options = {"headers": {"Content-MD5": await checksums.md5_of(data)}} | self._scope
        await self._store.call(
            self._key, lambda blob: blob.stage_block(block, bytes(data), length=len(data), **options)
        )
        self._blocks[number], self._sizes[number] = [block], len(data)

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        blocks = await self._kept(source, start, length)
        if not blocks:
            if length > MAX_BLOCK:
                raise Unsupported("the range does not consist of whole blocks")
            blocks = [self._block(number)]

            async def stage(blob: Any) -> None:
                url, options = await source_of(self._store.blob(source.key), source.version)
                await blob.stage_block_from_url(blocks[0], url, start, length, **options, **self._scope)

            await self._store.call(self._key, stage)
        self._blocks[number], self._sizes[number] = blocks, length

    def _block(self, number: int) -> str:
        return base64.b64encode(f"{self._id}{number:08}".encode()).decode()  # all ids of a blob have one length

    async def _kept(self, source: ObjectInfo, start: int, length: int) -> list[str]:
        """Return the ids of the committed blocks that are exactly this range, none where there are none."""
        if source.key != self._key:
            return []
        if self._committed is None:
            committed, _ = await self._store.call(self._key, lambda blob: blob.get_block_list("committed"))
            offset, self._committed = 0, []
            for block in committed:
                self._committed.append((offset, block.size, block.id))
                offset += block.size
        inside = [(o, size, block) for o, size, block in self._committed if start <= o and o + size <= start + length]
        if sum(size for _, size, _ in inside) != length or len(inside) > MANY_BLOCKS:
            return []
        return [block for _, _, block in inside]

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        blocks = [BlobBlock(block_id=block) for number in numbers for block in self._blocks[number]]
        size = sum(self._sizes[number] for number in numbers)
        options = values.condition(expect) | self._described
        try:
            answer = await self._store.call(self._key, lambda blob: blob.commit_block_list(blocks, **options))
        except VersionChanged:
            return await self._committed_before([block.id for block in blocks])
        return self._store.made(self._key, size, answer, self._described)

    async def _committed_before(self, blocks: Sequence[str]) -> ObjectInfo:
        """Return the blob where it consists of these very blocks: then an earlier attempt has succeeded unheard."""
        try:
            found = await self._store.stat(self._key)
            committed, _ = await self._store.call(
                self._key, lambda blob: blob.get_block_list("committed", **values.condition(found.version))
            )
        except NotFound:
            committed = []
        if not blocks or [block.id for block in committed] != list(blocks):
            raise VersionChanged(f"{self._key} was changed by somebody else")
        return found

    async def abort(self) -> None:
        self._blocks.clear()


async def copy_in_blocks(upload: BlockUpload, source: ObjectInfo, *, expect: Version | None) -> ObjectInfo:
    """Make the blob out of blocks that the service takes from another one."""
    starts = range(0, source.size, MAX_BLOCK)
    for number, start in enumerate(starts, 1):
        await upload.copy_part(number, start, source, start, min(MAX_BLOCK, source.size - start))
    return await upload.complete(range(1, len(starts) + 1), expect=expect)
