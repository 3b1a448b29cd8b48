"""The first request of a mount: it finds out whether the store can be used, and says so in the user's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mountd.errors import BadCredentials, Denied, NotFound
from mountd.objects.interface import Key

if TYPE_CHECKING:
    from mountd.objects.interface import ObjectStore


async def list_one(store: ObjectStore, *, where: str, missing: str, right: str) -> None:
    """List one key.

    `where` names the root, `missing` what is not there when the service finds nothing, `right` what listing takes.
    Raises NotFound, BadCredentials, Denied, Misdirected, Unavailable.
    """
    try:
        await store.list_page(Key(""), limit=1)
    except NotFound as exc:
        raise NotFound(f"there is no {missing}") from exc
    except BadCredentials as exc:
        raise BadCredentials(f"{where} does not accept the credentials: {_reason(exc)}") from exc
    except Denied as exc:
        raise Denied(f"{where}: the credentials do not allow listing ({right}): {_reason(exc)}") from exc


def _reason(error: Exception) -> str:
    return str(error).partition(": ")[2] or str(error)
