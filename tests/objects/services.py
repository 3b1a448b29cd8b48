"""A store of each cloud's kind behind a proxy, and the words in which each cloud says that something is wrong."""

import contextlib
import datetime

from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from mountd.objects.opening import open_store
from mountd.stores.store import StoreConfig
from tests.proxy import azure_error, gcs_error, s3_error
from tests.servers import AZURITE_ACCOUNT, AZURITE_KEY

WORDS = {
    "s3": {
        "throttled": s3_error(503, "SlowDown", "Please reduce your request rate."),
        "internal": s3_error(500, "InternalError", "We encountered an internal error. Please try again."),
        "denied": s3_error(403, "AccessDenied", "Access Denied"),
        "unknown": s3_error(403, "InvalidAccessKeyId", "The AWS Access Key Id does not exist in our records."),
        "expired": s3_error(400, "ExpiredToken", "The provided token has expired."),
    },
    "gcs": {
        "throttled": gcs_error(429, "rateLimitExceeded", "The rate limit for object mutation was exceeded."),
        "internal": gcs_error(500, "internalError", "Backend error"),
        "denied": gcs_error(403, "forbidden", "me@example.com does not have storage.objects.list access."),
        "unknown": gcs_error(401, "required", "Anonymous caller does not have storage.objects.list access."),
        "expired": gcs_error(401, "authError", "Invalid Credentials"),
    },
    "azure": {
        "throttled": azure_error(503, "ServerBusy", "The server is busy."),
        "internal": azure_error(500, "InternalError", "The server encountered an internal error. Please retry."),
        "denied": azure_error(403, "AuthorizationPermissionMismatch", "Not authorized with this permission."),
        "unknown": azure_error(403, "AuthenticationFailed", "Server failed to authenticate the request."),
        "expired": azure_error(403, "AuthenticationFailed", "Signature not valid in the specified time frame."),
    },
}


class Service:
    """An empty store behind a proxy. Attributes: `kind`; `server`; `proxy`; `words`, its errors; `config`."""

    def __init__(self, kind, server, proxy, environment):
        self.kind, self.server, self.proxy, self.words = kind, server, proxy, WORDS[kind]
        reached = server.at(proxy.endpoint)
        options = reached.options()
        if kind == "s3":
            self.bucket = server.make_bucket()
            environment.setenv("TEST_S3_SECRET", server.secret)
            self.config = StoreConfig("test", "s3", f"s3://{self.bucket}", options)
        elif kind == "gcs":
            self.bucket = server.make_bucket()
            self.config = StoreConfig("test", "gcs", f"gs://{self.bucket}", options)
        else:
            self.bucket = server.make_container()
            environment.setenv("TEST_AZURE_CONNECTION", reached.connection_string)
            self.config = StoreConfig("test", "azure", f"abfs://{self.bucket}", options)

    def open(self, settings):
        """Open the store for a block, as the daemon does."""
        return open_store(self.config, settings)

    @contextlib.asynccontextmanager
    async def holding(self, key, settings):
        """Open the store, have it find out where its requests go, and put `key` there; yield it and what that is."""
        async with self.open(settings) as found:
            await found.store.check()
            await found.store.put(key, b"some bytes")
            made = await found.store.stat(key)  # with the service's time: S3 does not tell it of what was put
            self.proxy.clear()
            yield found.store, made


class Container:
    """A container with one blob, and shared access signatures for it."""

    def __init__(self, server):
        self.server = server
        self.name = server.make_container()
        with server.client() as client:
            client.get_blob_client(self.name, "a").upload_blob(b"bytes")

    def signature(self, permissions, *, hours=1):
        """Return a SAS with permissions like `rl`, which expires after so many hours."""
        return generate_container_sas(
            AZURITE_ACCOUNT,
            self.name,
            account_key=AZURITE_KEY,
            permission=ContainerSasPermissions.from_string(permissions),
            expiry=datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours),
        )
