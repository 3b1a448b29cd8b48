"""The flavors that come with mountd: a folder, the object stores of three clouds, and whatever else fsspec speaks."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from mountd.config import environment_variable
from mountd.errors import EXIT_CONFIG, UserError
from mountd.stores.credentials import is_reference
from mountd.stores.flavor import Flavor, Option, Package, split_scheme
from mountd.stores.signatures import declared_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class LocalFlavor(Flavor):
    """A folder of this machine, or one that it has mounted from elsewhere (NFS, another mountd)."""

    name = "local"
    description = "a folder on this machine"
    schemes = ("file",)
    kind = "local"

    def accepts(self, scheme: str) -> bool:
        return scheme in ("", "file")

    def normalise(self, path: str) -> str:
        """Return the absolute path of the folder; links in it are kept as they are."""
        scheme, rest = split_scheme(path)
        if not self.accepts(scheme):
            raise UserError(f"flavor local takes a folder like ~/artifacts or file:///srv/artifacts, not {scheme}://")
        if scheme and not rest.startswith("/"):
            raise UserError(f"{path!r} names a host; a local folder is written file:///folder or /folder")
        if not rest or "\0" in rest:
            raise UserError("the path is empty; write a folder like ~/artifacts")
        if scheme and ".." in rest.split("/"):
            raise UserError(f"{path!r} holds a '..' component, which a URI must not")
        absolute = os.path.abspath(rest if scheme else os.path.expanduser(rest))
        return "/" + absolute.lstrip("/")  # abspath keeps two slashes in front, which POSIX allows to mean something


_S3 = (
    Option("key", "access key id; without it the default chain of AWS: variables, profile, instance role"),
    Option("secret", "secret access key", secret=True, variable="AWS_SECRET_ACCESS_KEY"),
    Option("token", "session token of temporary credentials", secret=True, variable="AWS_SESSION_TOKEN"),
    Option("profile", "profile of ~/.aws/config and ~/.aws/credentials"),
    Option("anon", "send unsigned requests, for public buckets", type="bool"),
    Option("endpoint_url", "address of an S3 service other than AWS, such as https://minio.example:9000"),
    Option("region", "region of the bucket"),
    Option("use_ssl", "speak HTTPS (default: true)", type="bool"),
    Option("requester_pays", "pay for the requests to somebody else's bucket", type="bool"),
    Option("client_kwargs", 'arguments of the botocore client, such as {"verify": "/ca.pem"}', type="json"),
    Option(
        "config_kwargs", 'arguments of botocore\'s Config, such as {"s3": {"addressing_style": "path"}}', type="json"
    ),
    Option("s3_additional_kwargs", 'added to each request, such as {"ServerSideEncryption": "aws:kms"}', type="json"),
    Option("username", "another name of key"),
    Option("password", "another name of secret", secret=True),
)


class S3Flavor(Flavor):
    """Amazon S3 and the services that speak its protocol."""

    name = "s3"
    description = "Amazon S3 and compatible services (MinIO, Ceph, SeaweedFS, R2)"
    schemes = ("s3", "s3a")
    kind = "s3"
    package = Package("s3fs", "s3fs")
    known = _S3

    def options(self, root: str | None = None) -> Sequence[Option]:
        return declared_options("s3fs", "S3FileSystem", known=self.known)

    def arguments(self, root: str, options: Mapping[str, Any]) -> dict[str, Any]:
        arguments = dict(options)
        region = arguments.pop("region", None)
        if region is not None:  # s3fs hands it to botocore's client only this way
            arguments["client_kwargs"] = {"region_name": region, **arguments.get("client_kwargs", {})}
        return arguments


_GCS = (
    Option("project", "project that is billed and asked for buckets"),
    Option(
        "token",
        "credentials: google_default, cloud, anon, the path of a key file, or a reference to its JSON text",
        secret=True,
        harmless=r"google_default|cloud|anon|browser|cache|[~/].*",
    ),
    Option("access", "read_only, read_write or full_control"),
    Option("consistency", "check of uploads: none, size, md5 or crc32c"),
    Option("endpoint_url", "address of another service that speaks the protocol"),
    Option("requester_pays", "pay for the requests to somebody else's bucket", type="bool"),
    Option("session_kwargs", "arguments of the HTTP session", type="json"),
)


class GcsFlavor(Flavor):
    """Google Cloud Storage."""

    name = "gcs"
    description = "Google Cloud Storage"
    schemes = ("gs", "gcs")
    kind = "gcs"
    package = Package("mountd[gcs]", "gcsfs")
    known = _GCS

    def options(self, root: str | None = None) -> Sequence[Option]:
        return declared_options("gcsfs.core", "GCSFileSystem", known=self.known)

    def arguments(self, root: str, options: Mapping[str, Any]) -> dict[str, Any]:
        import json  # only here

        arguments = dict(options)
        token = arguments.get("token")
        if isinstance(token, str) and token.lstrip().startswith("{"):  # the text of a key file, through a reference
            arguments["token"] = json.loads(token)
        elif isinstance(token, str) and token.startswith(("/", "~")):
            arguments["token"] = os.path.expanduser(token)
            if not os.path.exists(arguments["token"]):  # gcsfs would take the path for a token
                raise UserError(f"option token: there is no file {token}", EXIT_CONFIG)
        return arguments


_AZURE = (
    Option("account_name", "storage account"),
    Option("account_key", "key of the account", secret=True, variable="AZURE_STORAGE_KEY"),
    Option(
        "connection_string", "connection string of the account", secret=True, variable="AZURE_STORAGE_CONNECTION_STRING"
    ),
    Option("sas_token", "shared access signature", secret=True, variable="AZURE_STORAGE_SAS_TOKEN"),
    Option("credential", "any other credential", secret=True),
    Option("client_id", "application (service principal)"),
    Option("client_secret", "secret of the application", secret=True, variable="AZURE_CLIENT_SECRET"),
    Option("tenant_id", "directory of the application"),
    Option("anon", "true: no credentials; false: azure-identity's default chain", type="bool"),
    Option("account_host", "host of the service, for sovereign clouds and emulators"),
)

# What names the account, and the variables that adlfs reads instead.
_ACCOUNT = {"account_name": "AZURE_STORAGE_ACCOUNT_NAME", "connection_string": "AZURE_STORAGE_CONNECTION_STRING"}


def account_in(root: str) -> str | None:
    """Return the storage account that a root like `abfs://container@account.dfs.core.windows.net` names, if it does."""
    host = split_scheme(root)[1].partition("/")[0].rpartition("@")[2]
    match = re.fullmatch(r"(.+)\.(?:dfs|blob)\.core\.windows\.net", host)
    return match[1] if match else None


class AzureFlavor(Flavor):
    """Azure Blob Storage and Data Lake Storage."""

    name = "azure"
    description = "Azure Blob Storage and Data Lake Storage"
    schemes = ("abfs", "az", "abfss")
    kind = "azure"
    package = Package("mountd[azure]", "adlfs")
    known = _AZURE

    def options(self, root: str | None = None) -> Sequence[Option]:
        return declared_options("adlfs", "AzureBlobFileSystem", known=self.known)

    def misfit(self, root: str, options: Mapping[str, Any]) -> str | None:
        named, given = account_in(root), options.get("account_name")
        if not named or given in (None, named) or is_reference(given):
            return None
        return (
            f"{root} is in the account {named!r}, but the option account_name is {given!r}: leave it out, or change "
            "the path"
        )

    def arguments(self, root: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options, the account once only: adlfs reads it in the root as well, and refuses it twice.

        Raises UserError where there is none, or there are two.
        """
        if complaint := self.misfit(root, options):
            raise UserError(complaint, EXIT_CONFIG)
        arguments = dict(options)
        if account_in(root):
            arguments.pop("account_name", None)
        elif not any(arguments.get(name) or environment_variable(_ACCOUNT[name]) for name in _ACCOUNT):
            raise UserError(
                f"{root} does not say in which storage account it is: give the store the option account_name or "
                f"connection_string, or set {' or '.join(_ACCOUNT.values())}",
                EXIT_CONFIG,
            )
        return arguments


class FsspecFlavor(Flavor):
    """Any protocol that fsspec knows, with the options of its file system class."""

    name = "fsspec"
    description = "any other protocol of fsspec, such as sftp://, webdav://, hf://, memory://"
    needs_bucket = False
    any_option = True  # most classes pass on what they do not declare: sftp to paramiko, webdav to httpx

    def accepts(self, scheme: str) -> bool:
        return scheme in self.all_schemes()

    def all_schemes(self) -> Sequence[str]:
        from fsspec import available_protocols  # here, so that nothing imports fsspec for the other flavors

        return sorted(available_protocols())

    def options(self, root: str | None = None) -> Sequence[Option]:
        if root is None:
            return ()
        from fsspec.registry import known_implementations

        entry = known_implementations.get(split_scheme(root)[0])
        module, _, name = entry["class"].rpartition(".") if entry else ("", "", "")
        return declared_options(module, name, known=()) if module else ()

    def filesystem(self, root: str, options: Mapping[str, Any], **more: Any) -> Any:
        scheme = split_scheme(root)[0]
        if scheme in ("http", "https"):
            from mountd.stores.http_folder import HttpFolder  # here, as the library below takes its time

            return HttpFolder(**options, use_listings_cache=False, skip_instance_cache=True, **more)
        if scheme in ("webdav", "dav") and Package("webdav4", "webdav4").installed:
            from mountd.stores import webdav

            return webdav.filesystem(options)
        return super().filesystem(root, options, **more)

    def _wrong_scheme(self, path: str) -> str:
        scheme = split_scheme(path)[0]
        given = f"{scheme}:// is none of them" if scheme else f"{path!r} has none"
        known = ", ".join(self.all_schemes())
        return f"flavor fsspec takes paths with a protocol of fsspec ({known}); {given}"


BUILT_IN: tuple[type[Flavor], ...] = (LocalFlavor, S3Flavor, GcsFlavor, AzureFlavor, FsspecFlavor)
