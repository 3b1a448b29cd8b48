"""Where data is put before a measurement, past the mounts: a bucket; a folder for those with a format of their own."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import obstore
from obstore.store import S3Store


def open_bucket(server, bucket, endpoint=None):
    """Return obstore's view of a bucket of an `S3Server`."""
    return S3Store(
        bucket,
        endpoint=endpoint or server.endpoint,
        access_key_id=server.key,
        secret_access_key=server.secret,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "timeout": "120s"},
    )


def stored_files(folder):
    """Return the files of a folder that go to a store, relative to it: all but those in `local`."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if path.parts[0] != "local")


class BucketPlace:
    """A bucket."""

    def __init__(self, server, bucket):
        self._store = open_bucket(server, bucket)

    def put(self, keys, data):
        """Put the same bytes under many keys."""
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda key: obstore.put(self._store, key, data), keys))

    def copy(self, source, key):
        """Copy an object inside the store."""
        obstore.copy(self._store, source, key)

    def load(self, folder):
        """Put all files of a folder."""
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda path: obstore.put(self._store, str(path), folder / path), stored_files(folder)))


class FolderPlace:
    """A folder: of a mount, or of the local disk."""

    def __init__(self, folder):
        self._folder = folder

    def put(self, keys, data):
        """Write the same bytes to many files."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda key: self._made(key).write_bytes(data), keys))

    def copy(self, source, key):
        """Copy a file."""
        shutil.copyfile(self._folder / source, self._made(key))

    def load(self, folder):
        """Copy all files of a folder."""
        with ThreadPoolExecutor(8) as threads:
            files = stored_files(folder)
            list(threads.map(lambda path: shutil.copyfile(folder / path, self._made(path)), files))

    def _made(self, key):
        path = self._folder / key
        os.makedirs(path.parent, exist_ok=True)
        return path
