"""A web server's folders for reading: fsspec's `HTTPFileSystem` with folders told from files, and names from URLs."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, unquote, urljoin

from fsspec.implementations.http import HTTPFileSystem
from yarl import URL


class HttpFolder(HTTPFileSystem):  # type: ignore[misc]
    """Paths are URLs whose names are written literally: `?`, `#` and `%` are characters like others."""

    read_only = True  # what some servers take by POST is no file system

    def encode_url(self, url: str) -> URL:
        """Return what is sent for a path."""
        scheme, separator, rest = url.partition("://")
        return URL(scheme + separator + quote(rest, safe="/:[]"), encoded=True)

    async def _info(self, url: str, **kwargs: Any) -> dict[str, Any]:
        info: dict[str, Any] = await super()._info(url, **kwargs)
        # Servers send whoever asks for a folder on to its page, whose address ends in a slash.
        if info.get("url", "").endswith("/"):
            return {"name": url, "size": 0, "type": "directory"}
        return info

    async def _ls(self, url: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        session = await self.set_session()
        async with session.get(self.encode_url(url.rstrip("/") + "/"), **self.kwargs) as answer:
            self._raise_not_found_for_status(answer, url)
            page = _Links()
            if answer.content_type == "text/html":
                page.feed(await answer.text(errors="replace"))
            names = sorted(page.names_below(str(answer.url)))
        entries = [
            {
                "name": f"{url.rstrip('/')}/{name.rstrip('/')}",
                "size": None,
                "type": "directory" if name.endswith("/") else "file",
            }
            for name in names
        ]
        return entries if detail else [entry["name"] for entry in entries]


class _Links(HTMLParser):
    """Gathers what a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self._targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._targets += [target for name, target in attrs if tag == "a" and name == "href" and target]

    def names_below(self, page: str) -> set[str]:
        """Return the names directly below the page, folders with a slash; what is sorted or found elsewhere is none."""
        found = set()
        for target in self._targets:
            address = urljoin(page, target)
            rest = address.removeprefix(page)
            if rest not in ("", address) and not set(rest) & set("?#") and "/" not in rest[:-1]:
                found.add(unquote(rest))
        return found
