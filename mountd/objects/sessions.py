"""HTTP sessions that send every request once.

aiohttp sends a PUT or DELETE again by itself when a connection that it had kept breaks. If the first one was carried
out, the second fails on its condition, and nobody can tell that from a change by somebody else. Repeating is the
business of `retry`, which knows what a repeat may meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiobotocore.httpsession import AIOHTTPSession

if TYPE_CHECKING:
    import aiohttp


def send_once(session: aiohttp.ClientSession) -> None:
    """Have the session send nothing again by itself."""
    session._retry_connection = False  # aiohttp has no public way; its own test client does the same


class BotocoreSession(AIOHTTPSession):  # type: ignore[misc]
    """What botocore's clients send their requests through."""

    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        send_once(session)
        return session
