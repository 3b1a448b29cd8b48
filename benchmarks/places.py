"""Where data is put before a measurement, past the mounts: a bucket; a folder for those with a format of their own."""

import contextlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

MiB = 1024 * 1024


def stored_files(folder):
    """Return the files of a folder that go to a store, relative to it: all but those in `local`."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if path.parts[0] != "local")


class BucketPlace:
    """A bucket."""

    def __init__(self, server, bucket):
        self._client, self._bucket = server.client(), bucket

    def put(self, keys, data):
        """Put the same bytes under many keys."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda key: self._client.put_object(Bucket=self._bucket, Key=key, Body=data), keys))

    def copy(self, source, key):
        """Copy an object inside the store."""
        self._client.copy_object(Bucket=self._bucket, Key=key, CopySource={"Bucket": self._bucket, "Key": source})

    def remove(self, folder):
        """Delete all objects below a folder, if the server still lives: Ctrl-C in a terminal ends it, too."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{folder}/")
        with contextlib.suppress(ClientError, BotoCoreError):
            for page in pages:
                if keys := [{"Key": each["Key"]} for each in page.get("Contents", ())]:
                    self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})

    def load(self, folder):
        """Put all files of a folder."""
        parts = TransferConfig(multipart_threshold=8 * MiB, multipart_chunksize=8 * MiB, use_threads=False)

        def put(path):
            if (folder / path).stat().st_size > 8 * MiB:
                self._client.upload_file(folder / path, self._bucket, str(path), Config=parts)
            else:
                self._client.put_object(Bucket=self._bucket, Key=str(path), Body=(folder / path).read_bytes())

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(put, stored_files(folder)))


class FolderPlace:
    """A folder of a mount."""

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
            list(threads.map(lambda path: shutil.copyfile(folder / path, self._made(path)), stored_files(folder)))

    def _made(self, key):
        path = self._folder / key
        os.makedirs(path.parent, exist_ok=True)
        return path
