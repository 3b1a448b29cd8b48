"""The limits: the same bytes by the same requests with no file system. Acts, see `benchmarks.workload`."""

import asyncio
import contextlib
import io

from benchmarks.workload import KiB, MiB

with contextlib.suppress(ImportError):  # tests do without limits
    import obstore
    from obstore.store import S3Store

PART = 8 * MiB
AT_ONCE = 8


def _store(job):
    store = S3Store(
        job.bucket,
        endpoint=job.endpoint,
        access_key_id=job.server.key,
        secret_access_key=job.server.secret,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "timeout": "120s"},
    )
    obstore.list(store, prefix="ready").collect()  # connects
    return store


def ranges(*names):
    """Fetch objects as ranges of 8 MiB, 8 at a time."""

    def act(job):
        store = _store(job)
        yield
        total = asyncio.run(_fetch(store, names))
        yield
        assert total == sum(obstore.head(store, name)["size"] for name in names)

    return act


async def _fetch(store, names):
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(name, begin, size):
        async with slots:
            return len(await obstore.get_range_async(store, name, start=begin, length=min(PART, size - begin)))

    async def whole(name):
        size = (await obstore.head_async(store, name))["size"]
        return sum(await asyncio.gather(*(one(name, begin, size) for begin in range(0, size, PART))))

    return sum(await asyncio.gather(*(whole(name) for name in names)))


def single_range(name, size):
    """Fetch the first bytes of an object with one request."""

    def act(job):
        store = _store(job)
        yield
        obstore.get_range(store, name, start=0, length=size)

    return act


def random_ranges(name, size, offsets):
    """Fetch the same ranges as random reads do, one after another."""

    def act(job):
        store = _store(job)
        yield
        for begin in offsets(job.sizes, size):
            obstore.get_range(store, name, start=begin, length=size)

    return act


def gets(folder, count_of):
    """Fetch small objects whole, one after another."""

    def act(job):
        store = _store(job)
        yield
        for number in range(count_of(job.sizes)):
            obstore.get(store, f"{job.sizes.where(folder)}/{number:05}").bytes()

    return act


def concurrent_gets(folder, count_of):
    """Fetch small objects whole, 4 at a time."""

    def act(job):
        store = _store(job)
        yield
        asyncio.run(_fetch_whole(store, job.sizes.where(folder), count_of(job.sizes)))

    return act


async def _fetch_whole(store, folder, count):
    slots = asyncio.Semaphore(4)

    async def one(number):
        async with slots:
            await (await obstore.get_async(store, f"{folder}/{number:05}")).bytes_async()

    await asyncio.gather(*(one(number) for number in range(count)))


def listing(folder):
    """List a folder, page by page."""

    def act(job):
        store = _store(job)
        yield
        for _ in obstore.list(store, prefix=f"{job.sizes.where(folder)}/", chunk_size=1000):
            pass

    return act


def puts(count_of, size=4 * KiB):
    """Put small objects, one after another."""

    def act(job):
        store, data = _store(job), bytes(size)
        yield
        for number in range(count_of(job.sizes)):
            obstore.put(store, f"{job.at}/{number:05}", data, use_multipart=False)

    return act


def uploads(size_of):
    """Upload one object in parts of 8 MiB, 8 at a time: by obstore, and by boto3; the faster one is the limit."""

    def by_obstore(job):
        store, data = _store(job), _Pieces(size_of(job.sizes))
        yield
        obstore.put(store, f"{job.at}/raw", data, chunk_size=PART, max_concurrency=AT_ONCE, use_multipart=True)

    def by_boto3(job):
        from boto3.s3.transfer import TransferConfig

        client = job.server.at(job.endpoint).client()
        client.list_objects_v2(Bucket=job.bucket, MaxKeys=1)
        config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=AT_ONCE)
        data = _Pieces(size_of(job.sizes))
        yield
        client.upload_fileobj(data, job.bucket, f"{job.at}/raw", Config=config)

    return by_obstore, by_boto3


class _Pieces(io.RawIOBase):
    """A file of the same bytes over and over, as what is written through the mounts."""

    def __init__(self, size):
        self._left = size
        self._piece = piece()

    def readable(self):
        return True

    def seekable(self):
        return False

    def read(self, count=-1):
        count = self._left if count is None or count < 0 else min(count, self._left)
        self._left -= count
        times, rest = divmod(count, len(self._piece))
        return self._piece * times + self._piece[:rest]


def piece():
    """Return 8 MiB to write."""
    import random

    return random.Random(0).randbytes(PART)
