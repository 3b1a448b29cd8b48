"""Stores for tests on mounts, each with an independent client: `put`, `get`, `delete`, `keys`.

`root`, `options` and `environment` are what a user registers it with; `kind` is what the tests call it; `lasts` tells
whether its objects are there when the daemon is gone.
"""

import contextlib
import datetime
import json
import os
import sqlite3
import time
import urllib.parse

from azure.storage.blob import ContentSettings, StandardBlobTier

from tests.harness import CHECKOUT


class LocalFolder:
    """A store in a folder, and an independent client of it: plain files."""

    kind = "local"
    lasts = True
    environment = {}

    def __init__(self, folder):
        self.folder = folder
        self.root = str(folder)
        self.options = {}
        folder.mkdir()

    def put(self, key, data):
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".new")
        partial.write_bytes(data)
        partial.rename(path)

    def get(self, key):
        path = self.folder / key
        return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()

    def delete(self, key):
        (self.folder / key).unlink()

    def keys(self):
        found = (path for path in self.folder.rglob("*") if path.is_symlink() or path.is_file())
        return sorted(str(path.relative_to(self.folder)) for path in found)


class GcsBucket:
    """A bucket of a server of Google Cloud Storage's API, and an independent client of it: plain HTTP."""

    kind = "gcs"
    lasts = True
    # What the server that stands for Google's drops when it copies or composes, whatever the request says.
    forgets = frozenset({"customTime", "storageClass"})
    environment = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}  # its look for such buckets takes a minute here

    def __init__(self, server):
        self.server = server
        self.bucket = server.make_bucket()
        self.root = f"gs://{self.bucket}"
        self.options = server.options()

    def put(self, key, data):
        name = urllib.parse.quote(key, safe="")
        self.server.request("POST", f"/upload/storage/v1/b/{self.bucket}/o?uploadType=media&name={name}", data)

    def get(self, key):
        return self.server.request("GET", f"/storage/v1/b/{self.bucket}/o/{urllib.parse.quote(key, safe='')}?alt=media")

    def delete(self, key):
        self.server.request("DELETE", f"/storage/v1/b/{self.bucket}/o/{urllib.parse.quote(key, safe='')}")

    def keep_versions(self):
        """Have the bucket keep the versions of its objects."""
        body = json.dumps({"versioning": {"enabled": True}}).encode()
        self.server.request("PATCH", f"/storage/v1/b/{self.bucket}", body, {"Content-Type": "application/json"})

    def put_described(self, key, data):
        """Put an object with everything that the service keeps beside its bytes, and return what `described` says."""
        resource = {
            "name": key,
            "contentType": "text/x-special",
            "cacheControl": "max-age=77",
            "contentDisposition": "attachment",
            "contentEncoding": "special",
            "contentLanguage": "de",
            "customTime": "2030-01-01T00:00:00Z",
            "metadata": {"Run": "1", "note": "zwei w\u00f6rter"},
            "storageClass": "NEARLINE",
        }
        kind = b"--x\r\nContent-Type: "
        parts = (kind, b"application/json\r\n\r\n", json.dumps(resource).encode(), b"\r\n")
        body = b"".join((*parts, kind, b"text/x-special\r\n\r\n", data, b"\r\n--x--\r\n"))
        url = f"/upload/storage/v1/b/{self.bucket}/o?uploadType=multipart"
        self.server.request("POST", url, body, {"Content-Type": "multipart/related; boundary=x"})
        return self.described(key)

    def described(self, key):
        """Return what the service keeps beside an object's bytes."""
        url = f"/storage/v1/b/{self.bucket}/o/{urllib.parse.quote(key, safe='')}"
        found = json.loads(self.server.request("GET", url))
        names = "contentType cacheControl contentDisposition contentEncoding contentLanguage customTime metadata"
        return {name: found[name] for name in (*names.split(), "storageClass") if found.get(name)}

    def keys(self):
        found = json.loads(self.server.request("GET", f"/storage/v1/b/{self.bucket}/o")).get("items", ())
        return sorted(each["name"] for each in found if not each["name"].endswith("/"))


class AzureContainer:
    """A container of a server of Azure's API, and an independent client of it: azure-storage-blob."""

    kind = "azure"
    lasts = True

    def __init__(self, server):
        self.server = server
        self.container = server.make_container()
        self.root = f"abfs://{self.container}"
        self.options = server.options()
        self.environment = {"TEST_AZURE_CONNECTION": server.connection_string}
        self.client = server.client().get_container_client(self.container)

    def put(self, key, data):
        self.client.upload_blob(key, data, overwrite=True)

    def get(self, key):
        return self.client.download_blob(key).readall()

    def delete(self, key):
        self.client.delete_blob(key)

    def put_described(self, key, data):
        """Put a blob with everything that the service keeps beside its bytes, and return what `described` says."""
        settings = ContentSettings("text/x-special", "special", "de", "attachment", "max-age=77")
        metadata, tags = {"Run": "1", "note": "zwei"}, {"team": "a b", "k": "v+1"}
        self.client.upload_blob(
            key, data, content_settings=settings, metadata=metadata, tags=tags, standard_blob_tier=StandardBlobTier.COOL
        )
        return self.described(key)

    def described(self, key):
        """Return what the service keeps beside a blob's bytes."""
        blob = self.client.get_blob_client(key)
        found = blob.get_blob_properties()
        settings = {name: value for name, value in found.content_settings.items() if name != "content_md5" and value}
        tier = None if found.blob_tier_inferred else found.blob_tier
        return settings | {"metadata": found.metadata, "tags": blob.get_blob_tags(), "tier": tier}

    def keys(self):
        found = self.client.list_blobs(include=["metadata"])
        files = (each.name for each in found if "hdi_isfolder" not in (each.metadata or {}))
        return sorted(name for name in files if not name.endswith("/"))


class Bucket:
    """A bucket of an S3 server, and an independent client of it: boto3."""

    lasts = True

    def __init__(self, server, kind="s3"):
        self.kind = kind
        self.server = server
        self.bucket = server.make_bucket()
        self.root = f"s3://{self.bucket}"
        self.options = server.options()
        self.environment = {"TEST_S3_SECRET": server.secret}
        self.client = server.client()

    def put(self, key, data):
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def get(self, key):
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def delete(self, key):
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def keep_versions(self):
        """Have the bucket keep the versions of its objects."""
        self.client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})

    def put_described(self, key, data):
        """Put an object with everything that the service keeps beside its bytes, and return what `described` says."""
        self.client.put_object(
            Bucket=self.bucket,
            Key=key,
            Body=data,
            ContentType="text/x-special",
            CacheControl="max-age=77",
            ContentDisposition="attachment",
            ContentEncoding="special",
            ContentLanguage="de",
            Expires=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
            Metadata={"run": "1", "note": "zwei"},
            Tagging="team=a%20b&k=v%2B1",
            StorageClass="STANDARD_IA",
            ServerSideEncryption="AES256",
        )
        return self.described(key)

    def described(self, key):
        """Return what the service keeps beside an object's bytes."""
        found = self.client.head_object(Bucket=self.bucket, Key=key)
        names = "ContentType CacheControl ContentDisposition ContentEncoding ContentLanguage Expires Metadata"
        kept = {name: found.get(name) for name in (*names.split(), "StorageClass", "ServerSideEncryption")}
        tags = self.client.get_object_tagging(Bucket=self.bucket, Key=key)["TagSet"]
        return kept | {"tags": {each["Key"]: each["Value"] for each in tags}}

    def keys(self):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        found = (each["Key"] for page in pages for each in page.get("Contents", ()))
        # How a directory is marked, where keys that end in a slash are not kept.
        return sorted(key for key in found if not key.endswith(("/", "/.mountd-directory")))


class WebdavFolder(LocalFolder):
    """A folder of a WebDAV server, and an independent client of it: plain HTTP, and the files on the server's disk."""

    kind = "webdav"

    def __init__(self, server):
        self.server, self.name = server, server.make_folder()
        self.folder = server.folder / self.name
        self.root = f"webdav://{self.name}"
        self.options = server.options()

    def put(self, key, data):
        for end in [i for i, character in enumerate(key) if character == "/"]:
            if not (self.folder / key[:end]).is_dir():
                self.server.request("MKCOL", f"{self.name}/{key[:end]}/")
        self.server.request("PUT", f"{self.name}/{key}", data)

    def delete(self, key):
        self.server.request("DELETE", f"{self.name}/{key}")


class Memory:
    """fsspec's `memory://`: the objects are in the daemon's own memory, where no other client can look.

    What passes for one here is the mount itself: files are written through it, and read back after the kernel has
    dropped what it had of them. That shows what the daemon says, not what an independent reader would find.
    """

    kind = "memory"
    lasts = False
    environment = {}
    options = {}

    def __init__(self, name):
        self.root = f"memory://{name}"
        self.seen_at = None  # where it is mounted

    def put(self, key, data):
        path = self.seen_at / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, key):
        with open(self.seen_at / key, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return file.read()

    def delete(self, key):
        (self.seen_at / key).unlink()

    def keys(self):
        found = (path for path in self.seen_at.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.seen_at)) for path in found)


class Shelf:
    """A store of the flavor that tests/flavor_package brings, and an independent client of it: SQLite."""

    kind = "custom"
    lasts = True

    def __init__(self, folder, site):
        self.file = folder / "shelf.db"
        self.root = "shelf://team/runs"
        self.options = {"file": str(self.file)}
        self.environment = {"PYTHONPATH": os.pathsep.join([str(site), str(CHECKOUT)])}

    def put(self, key, data):
        self._query(
            "insert or replace into files (path, data, mtime) values (?, ?, ?)", f"team/runs/{key}", data, time.time()
        )

    def get(self, key):
        ((data,),) = self._query("select data from files where path = ?", f"team/runs/{key}")
        return data

    def delete(self, key):
        self._query("delete from files where path = ?", f"team/runs/{key}")

    def keys(self):
        paths = self._query("select path from files where data is not null order by path")
        return [path.removeprefix("team/runs/") for (path,) in paths]

    def _query(self, statement, *values):
        with contextlib.closing(sqlite3.connect(self.file, timeout=20)) as connection, connection:
            return connection.execute(statement, values).fetchall()


class Below:
    """What is below a prefix of a store, used like a store of its own."""

    def __init__(self, store, prefix):
        self._store, self._prefix = store, f"{prefix}/"
        self.kind, self.lasts, self.root = store.kind, store.lasts, f"{store.root}/{prefix}"
        self.options, self.environment = store.options, store.environment

    def put(self, key, data):
        self._store.put(self._prefix + key, data)

    def get(self, key):
        return self._store.get(self._prefix + key)

    def delete(self, key):
        self._store.delete(self._prefix + key)

    def keys(self):
        whole = self._store.keys()
        return [key.removeprefix(self._prefix) for key in whole if key.startswith(self._prefix)]


ALL = ("local", "s3", "s3-poor", "gcs", "azure", "azure-folders", "webdav", "memory", "custom")


@contextlib.contextmanager
def open_store(kind, folder, fixture):
    """Make an empty store of a kind for the length of the block. `fixture` returns the servers of tests/conftest.py."""
    if kind in ("s3", "s3-poor"):
        yield Bucket(fixture("s3_server" if kind == "s3" else "poor_s3_server"), kind)
    elif kind in ("azure", "azure-folders"):
        store = AzureContainer(fixture("azure_server" if kind == "azure" else "folders_server"))
        with store.client:
            yield store
    else:
        yield {
            "local": lambda: LocalFolder(folder / "store"),
            "gcs": lambda: GcsBucket(fixture("gcs_server")),
            "webdav": lambda: WebdavFolder(fixture("webdav_server")),
            "memory": lambda: Memory(folder.name),
            "custom": lambda: Shelf(folder, fixture("installed_flavor")),
        }[kind]()
