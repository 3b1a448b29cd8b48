"""HTTP sessions that send what changes something once.

aiohttp sends a PUT or DELETE again by itself when the connection breaks that it was sent on. If the first one was
carried out, the second fails on its condition, and nobody can tell that from a change by somebody else. Repeating is
the business of `retry`, which knows what a repeat may meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse


class ConnectionBroke(aiohttp.ClientError):
    """The connection broke before there was an answer."""


async def changes_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """A middleware of aiohttp: keep it from sending a change again."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:  # nothing was sent
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
        if request.method in ("GET", "HEAD"):
            raise
        raise ConnectionBroke(str(exc)) from exc


def send_changes_once(session: aiohttp.ClientSession) -> None:
    """Have a session that was made by somebody else send changes once."""
    session._middlewares = (changes_once,)


class BotocoreSession(AIOHTTPSession):  # type: ignore[misc]
    """What botocore's clients send their requests through."""

    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        send_changes_once(session)
        return session
