"""WebDAV: fsspec's `WebdavFileSystem`, put right where it would store under another name or not at all."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from webdav4.client import Client, HTTPError, ResourceConflict, ResourceNotFound
from webdav4.fsspec import WebdavFileSystem

from mountd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Seconds without a byte; a server may take its time to copy a large file. The deadline of a request is ours.
TIMEOUT = 60


class LiteralClient(Client):  # type: ignore[misc]
    """Takes paths literally, where `Client` reads `%20`, `?` and `#` as parts of a URL; copies over what is there."""

    def join_url(self, path: str, add_trailing_slash: bool = False) -> Any:
        """Return the URL of a path below the base."""
        return super().join_url(quote(path), add_trailing_slash=add_trailing_slash)

    def copy(self, from_path: str, to_path: str, depth: int | str = "infinity", overwrite: bool = True) -> None:
        """Copy a resource; a folder that is missing is reported as what it is."""
        try:
            super().copy(from_path, to_path, depth=depth, overwrite=overwrite)
        except ResourceConflict as exc:
            raise ResourceNotFound(to_path) from exc

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


class WebdavFolders(WebdavFileSystem):  # type: ignore[misc]
    """Sends a file with one request, where its base class first makes the folder, every time and against locks."""

    def upload_fileobj(self, fobj: Any, rpath: str, *args: Any, **kwargs: Any) -> None:
        """Store what `fobj` holds. Raises FileNotFoundError where the folder is missing."""
        try:
            self.client.upload_fileobj(fobj, self._strip_protocol(rpath), overwrite=True)
        except ResourceNotFound as exc:
            raise FileNotFoundError(rpath) from exc
        except HTTPError as exc:
            if exc.status_code == HTTPStatus.CONFLICT:  # how RFC 4918 has it
                raise FileNotFoundError(rpath) from exc
            raise


def filesystem(options: Mapping[str, Any]) -> WebdavFolders:
    """Return the file system for the options of a store. Raises UserError without an address."""
    options = dict(options)
    base_url = options.pop("base_url", None)
    if not base_url:
        raise UserError(
            "webdav needs the server's address, below which the root lies: --option base_url=https://HOST/X"
        )
    auth = options.pop("auth", None)
    if isinstance(auth, list):  # as JSON has it: ["user", "env:PASSWORD"]
        auth = tuple(auth)
    client = LiteralClient(base_url, auth=auth, retry=False, **{"timeout": TIMEOUT, **options})
    return WebdavFolders(base_url, client=client, skip_instance_cache=True)
