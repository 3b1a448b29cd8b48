"""Multipart uploads to S3."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from mountd.errors import MountdError, NotFound, VersionChanged
from mountd.objects import checksums
from mountd.objects import s3_values as values
from mountd.objects.interface import Buffer, Key, MiB, ObjectInfo, Version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mountd.objects.s3 import S3Store

FILE_PART = 16 * MiB
# Ranges that the service copies at a time for one object; it carries them out side by side.
PARALLEL_COPIES = 8


class _Part(NamedTuple):
    """A part that the service has. `checksum`: of its bytes, where they were sent or the service tells."""

    etag: str
    size: int
    checksum: str | None

    def named(self, told: bool) -> dict[str, str]:
        """Return what the service is told of the part; `told`: with its checksum."""
        return {"ETag": self.etag} | ({"ChecksumCRC32": self.checksum} if told and self.checksum else {})


def _require_whole(key: Key, parts: Sequence[_Part], reported: str | None) -> None:
    """Compare what the service reports of the object with its parts, where their checksums are known. Raises Corrupt.

    Of parts that were copied inside the store there is no checksum, unless the service tells.
    """
    known = [(part.checksum, part.size) for part in parts if part.checksum is not None]
    if reported is None or len(known) < len(parts):
        return
    whole = "-" not in reported
    ours = checksums.joint(known, checksums.CRC32) if whole else checksums.composite([text for text, _ in known])
    checksums.require_stored(key, ours, reported)


class S3Upload:
    """A multipart upload. Made by `begin`."""

    def __init__(self, store: S3Store, key: Key, begun: Mapping[str, Any]) -> None:
        self._store = store
        self._key = key
        self._id: str = begun["UploadId"]
        # Where the upload was begun with them, the service wants to be told the checksums of the parts at the end.
        self._told = begun.get("ChecksumAlgorithm") == "CRC32"
        self._parts: dict[int, _Part] = {}

    @classmethod
    async def begin(cls, store: S3Store, key: Key, described: dict[str, Any]) -> S3Upload:
        """Begin an object that will carry what `described` says."""
        upload = cls(store, key, await store.call("create_multipart_upload", key, **described))
        store.leftovers.note(key, upload._id)
        return upload

    async def put_part(self, number: int, offset: int, data: Buffer) -> None:
        checksum = await checksums.crc32_of(data)
        answer = await self._call("upload_part", PartNumber=number, Body=data, ChecksumCRC32=checksum)
        checksums.require_stored(f"{self._key}, part {number}", checksum, answer.get("ChecksumCRC32"))
        self._parts[number] = _Part(answer["ETag"], len(data), checksum)

    async def copy_part(self, number: int, offset: int, source: ObjectInfo, start: int, length: int) -> None:
        answer = await self._call(
            "upload_part_copy",
            PartNumber=number,
            CopySourceRange=f"bytes={start}-{start + length - 1}",
            **self._store.source(source, match=True),
        )
        copied = answer["CopyPartResult"]
        self._parts[number] = _Part(copied["ETag"], length, copied.get("ChecksumCRC32"))

    async def complete(self, numbers: Sequence[int], *, expect: Version | None = None) -> ObjectInfo:
        made_of = [self._parts[number] for number in numbers]
        etags = [part.etag for part in made_of]
        parts = [{"PartNumber": number} | part.named(self._told) for number, part in zip(numbers, made_of, strict=True)]
        size = sum(part.size for part in made_of)
        condition = values.condition(expect)
        try:
            answer = await self._call("complete_multipart_upload", MultipartUpload={"Parts": parts}, **condition)
            _require_whole(self._key, made_of, answer.get("ChecksumCRC32"))
            made = values.made(self._key, answer, size=size)
        except (NotFound, VersionChanged):
            # The answer to an earlier attempt may have been lost: then the object is there, made of exactly these
            # parts.
            made = await self._completed_before(etags, size)
        self._store.leftovers.forget(self._id)
        return made

    async def _completed_before(self, etags: Sequence[str], size: int) -> ObjectInfo:
        try:
            found = await self._store.stat(self._key)
        except NotFound:
            found = None
        if found is None or found.size != size or found.version != values.joint_etag(etags):
            raise VersionChanged(f"{self._key} was changed by somebody else")
        return found

    async def abort(self) -> None:
        with contextlib.suppress(NotFound):
            await self._call("abort_multipart_upload")
        self._store.leftovers.forget(self._id)

    async def _call(self, method: str, **arguments: Any) -> Any:
        return await self._store.call(method, self._key, UploadId=self._id, **arguments)


async def copy_in_parts(upload: S3Upload, source: ObjectInfo, part: int, *, expect: Version | None) -> ObjectInfo:
    """Make the object out of ranges of another one, of `part` bytes each, several at a time."""
    starts = range(0, source.size, part)
    todo = iter(enumerate(starts, 1))
    failures: list[MountdError] = []

    async def copy() -> None:
        for number, start in todo:
            if failures:
                return
            try:
                await upload.copy_part(number, start, source, start, min(part, source.size - start))
            except MountdError as exc:
                failures.append(exc)

    async def make() -> ObjectInfo:
        async with trio.open_nursery() as nursery:
            for _ in range(PARALLEL_COPIES):
                nursery.start_soon(copy)
        if failures:
            raise failures[0]
        return await upload.complete(range(1, len(starts) + 1), expect=expect)

    return await _or_abort(upload, make)


async def send_file(upload: S3Upload, path: str, size: int, *, max_parts: int) -> None:
    """Make the object out of a local file, its parts sent one after the other."""
    part = max(FILE_PART, -(-size // max_parts))
    offsets = range(0, max(size, 1), part)

    async def make() -> ObjectInfo:
        async with await trio.open_file(path, "rb") as file:
            for number, offset in enumerate(offsets, 1):
                await upload.put_part(number, offset, await file.read(part))
        return await upload.complete(range(1, len(offsets) + 1))

    await _or_abort(upload, make)


async def _or_abort(upload: S3Upload, make: Any) -> ObjectInfo:
    try:
        made: ObjectInfo = await make()
    except BaseException:
        with trio.CancelScope(shield=True), trio.move_on_after(5):
            await upload.abort()
        raise
    return made
