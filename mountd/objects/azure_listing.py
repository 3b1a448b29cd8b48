"""Pages of listings: as Azure sends them, read in a tenth of the time that its client takes, and as its client does.

Source: https://learn.microsoft.com/rest/api/storageservices/list-blobs
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.etree import ElementTree

from azure.storage.blob.aio import BlobPrefix

from mountd.errors import Unavailable
from mountd.objects import azure_values as values
from mountd.objects.interface import Key, ListPage, ObjectInfo
from mountd.objects.same_page import divided

if TYPE_CHECKING:
    from collections.abc import Mapping


def query(prefix: str, *, recursive: bool, cursor: str | None, limit: int) -> Mapping[str, str]:
    """Return what asks for a page of at most `limit` names that begin with `prefix`."""
    asked = {"restype": "container", "comp": "list", "maxresults": str(limit)}
    asked |= {} if recursive else {"delimiter": "/"}
    asked |= {"prefix": prefix} if prefix else {}
    return asked | ({"marker": cursor} if cursor else {})


def parse(body: bytes, skip: int, known: bytes = b"") -> ListPage:
    """Return a page, without the first `skip` characters of each name. Raises Unavailable where it is none.

    `known`: the digest of a page that is told without its entries where it comes again.
    """
    frame, digest = divided(body, (b"<Blobs>",), (b"</Blobs>",))
    unchanged = bool(digest) and digest == known
    try:
        root = ElementTree.fromstring(frame if unchanged else body)
        blobs = root if unchanged else root.find("Blobs")
        if blobs is None:
            raise Unavailable("the answer does not come from Azure Blob Storage: it is no listing")
        prefixes = [Key(_name(each)[skip:]) for each in blobs.iterfind("BlobPrefix")]
        objects = [_object(each, skip) for each in blobs.iterfind("Blob")]
    except (ElementTree.ParseError, ValueError, TypeError) as exc:
        raise Unavailable(f"the answer does not come from Azure Blob Storage: {exc}") from exc
    cursor = root.findtext("NextMarker") or None
    return ListPage([each for each in objects if each.key], prefixes, cursor, digest=digest, unchanged=unchanged)


async def by_client(
    container: Any, prefix: str, skip: int, *, recursive: bool, cursor: str | None, limit: int, folders: bool
) -> ListPage:
    """Return the page that `query` asks for, with the client of the container. Runs on asyncio.

    `folders`: blobs that stand for directories, as in accounts with a hierarchical namespace, are shown as such.
    """
    find = container.list_blobs if recursive else container.walk_blobs
    # Only the metadata tells directories of a hierarchical namespace from files.
    options = {"include": ["metadata"]} if folders else {}
    pages = find(name_starts_with=prefix, results_per_page=limit, **options).by_page(cursor)
    objects: list[ObjectInfo] = []
    prefixes: list[Key] = []
    async for item in await anext(pages):
        name = item.name[skip:]
        if isinstance(item, BlobPrefix):
            prefixes.append(Key(name))
        elif folders and values.is_folder(item.metadata):
            if recursive:
                objects.append(values.info(Key(name + "/"), 0, item))
            else:
                prefixes.append(Key(name + "/"))
        elif name:
            objects.append(values.info(Key(name), item.size, item))
    return ListPage(objects, prefixes, pages.continuation_token or None)


def _object(blob: ElementTree.Element, skip: int) -> ObjectInfo:
    properties = {each.tag: each.text or "" for each in blob.find("Properties") or ()}
    size, modified = int(properties.get("Content-Length", "")), values.moment(properties.get("Last-Modified", ""))
    return values.told(Key(_name(blob)[skip:]), size, properties.get("Etag"), modified)


def _name(element: ElementTree.Element) -> str:
    found = element.find("Name")
    if found is None:
        raise ValueError("an entry without a name")
    name = found.text or ""
    return unquote(name) if found.get("Encoded") == "true" else name  # what XML cannot hold
