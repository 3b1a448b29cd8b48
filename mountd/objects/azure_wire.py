"""Requests to Azure Blob Storage that are sent past the layers of Azure's client, which take most of their time.

The client's connections, credentials and their renewal are used, and its way to sign; not its pipeline of policies,
nor its models of what the service answers. What does not go as usual is left to the client.
"""

from __future__ import annotations

import email.utils
import inspect
import io
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import aiohttp
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.rest import HttpRequest

from mountd.config import names_proxies
from mountd.objects.azure_errors import failure
from mountd.objects.sessions import send_changes_once

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mountd.errors import MountdError
    from mountd.objects.interface import Buffer

# The client follows the service elsewhere, answers its challenges, and says what is wrong with a range. Nothing has
# been done for who gets one of these.
_FOR_THE_CLIENT = (301, 302, 307, 308, 401, 416)


class Answer(NamedTuple):
    """What the service has said to a request that it has carried out."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """The connections of one client.

    Args:
        client: the account's, azure-storage-blob's for asyncio.
    """

    def __init__(self, client: Any) -> None:
        self._transport: Any = client._pipeline._transport
        self._credentials = client._credential_policy  # `None` where the address holds a signature, or nobody signs
        self._usual = {
            "x-ms-version": client.api_version,
            "User-Agent": client._config.user_agent_policy.user_agent,
        }
        config = self._transport.connection_config
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=config.timeout, sock_read=config.read_timeout)
        # Whoever trusts other authorities, or has a proxy that is not the environment's, has the client do it.
        self._common = config.verify is True and config.cert is None and not client._config.proxy_policy.proxies

    async def connect(self) -> None:
        """Open the session that all clients share, should it not be open yet. Runs on asyncio."""
        if self._transport.session is None:
            # Each request would otherwise look for proxies and passwords in the environment and ~/.netrc, in a thread.
            self._transport._use_env_settings = names_proxies()
            await self._transport.open()
            session: Any = self._transport.session
            send_changes_once(session)

    async def send(
        self,
        method: str,
        url: str,
        what: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: Buffer = b"",
    ) -> Answer | None:
        """Send one request, without repeating it; `None` where the client has to be asked. Runs on asyncio.

        `what` is the key or container that refusals name. To be called within `domain_errors`: raises what the service
        means by refusing, and what the session and the credentials raise.
        """
        await self.connect()
        if not self._common:
            return None
        if params:
            url += ("&" if "?" in url else "?") + urlencode(params, quote_via=quote)
        said = self._usual | {"x-ms-date": email.utils.formatdate(usegmt=True)} | dict(headers or {})
        if data:
            said |= {"Content-Length": str(len(data)), "Content-Type": "application/octet-stream"}
        request = HttpRequest(method, url, headers=said)
        await self._sign(request)
        async with self._transport.session.request(
            method,
            request.url,
            headers=request.headers,
            data=io.BytesIO(data) if data else None,
            timeout=self._timeout,
            allow_redirects=False,
            skip_auto_headers=("Content-Type", "User-Agent"),  # they would not be signed
        ) as answer:
            found = Answer(answer.status, answer.headers, await answer.read())
        if found.status in _FOR_THE_CLIENT:
            return None
        if found.status >= 300:
            raise _refusal(found, what)
        return found

    async def _sign(self, request: HttpRequest) -> None:
        if self._credentials is not None:
            signed = self._credentials.on_request(PipelineRequest(request, PipelineContext(self._transport)))
            if inspect.isawaitable(signed):
                await signed


def _refusal(answer: Answer, what: str) -> MountdError:
    code, said = answer.headers.get("x-ms-error-code", ""), ""
    try:
        error = ElementTree.fromstring(answer.body)
    except ElementTree.ParseError:  # an answer to HEAD, which has no body, or not the service's
        pass
    else:
        code, said = code or error.findtext("Code", ""), error.findtext("Message", "")
    return failure(what, answer.status, code, said, answer.headers)
