"""Where botocore sends requests about a bucket, how it signs them, and whether others may send them in its stead.

botocore's client resolves endpoints, regions, styles of addressing and credentials out of a hundred settings. That is
not done again here: what it does is read off the first listing that it sends.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore import UNSIGNED
from botocore.utils import get_environ_proxies

from mountd.config import environment_names, names_proxies

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/ ]+/\d{8}/(?P<region>[^/ ]+)/s3/aws4_request,")
_SESSION = "x-amz-s3session-token"  # of S3 Express, which signs in a way of its own

# What changes nothing about single requests, or is seen in where they go.
_CLIENT_OPTIONS = frozenset(
    {"region_name", "endpoint_url", "use_ssl", "verify", "api_version"}
    | {"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
)
_CONFIG_OPTIONS = frozenset(
    {"http_session_cls", "retries", "max_pool_connections", "connect_timeout", "read_timeout", "region_name", "s3"}
    | {"signature_version", "response_checksum_validation", "proxies", "proxies_config", "client_cert"}
)
_S3_OPTIONS = frozenset({"addressing_style", "us_east_1_regional_endpoint", "use_dualstack_endpoint"})
_SIGNATURES = (None, "s3v4", UNSIGNED)
# obstore takes these from the environment, for requests that botocore sends without them.
_OBSTORE_VARIABLES = ("AWS_SSE_", "AWS_SERVER_SIDE_ENCRYPTION", "AWS_S3_EXPRESS", "AWS_PROXY")


@dataclass(frozen=True, slots=True)
class Route:
    """What a bucket's requests have in common.

    Attributes:
        base: the address of the bucket, without a slash at its end.
        region: which signatures name, empty where requests are not signed.
        user_agent: what botocore calls itself.
        client: aiobotocore's, whose credentials and connections these are.
    """

    base: str
    region: str
    user_agent: str
    client: Any

    @property
    def signed(self) -> bool:
        return bool(self.region)

    @property
    def authorities(self) -> str | None:
        """The file of authorities that certificates are checked with, `None` for those that a library brings."""
        verify = self.client._endpoint.http_session._verify
        return verify if self.secure and isinstance(verify, str) else None

    @property
    def secure(self) -> bool:
        return self.base.startswith("https:")


def route_of(request: Any, client: Any) -> Route | None:
    """Return the route that a listing of the bucket, about to be sent, takes; `None` where it is no common one."""
    base = request.url.partition("?")[0].rstrip("/")
    said = _text(request.headers.get("Authorization", ""))
    if _SESSION in request.headers or "X-Amz-Signature=" in request.url:
        return None
    agent = _text(request.headers.get("User-Agent", ""))
    if not said:
        return Route(base, "", agent, client) if client.meta.config.signature_version is UNSIGNED else None
    found = _SIGNED.match(said)
    return Route(base, found["region"], agent, client) if found else None


def _text(header: str | bytes) -> str:
    return header.decode() if isinstance(header, bytes) else header


def obstacle(filesystem: Any, client: Any) -> str | None:
    """Return what keeps requests from being sent past botocore's layers, `None` where nothing does.

    Whatever is not known to be harmless is an obstacle. `filesystem` is s3fs', `client` the one that it uses.
    """
    config = client.meta.config
    for what, found in (
        ("a session of its own", not filesystem._session_is_owned),
        ("a client for each region", filesystem.cache_regions),
        ("client_kwargs", _others(filesystem.client_kwargs, _CLIENT_OPTIONS)),
        ("config_kwargs", _others(filesystem.config_kwargs, _CONFIG_OPTIONS)),
        ("settings of S3", _others(config.s3 or {}, _S3_OPTIONS)),
        ("a way to sign", config.signature_version not in _SIGNATURES),
        ("less checksums", config.request_checksum_calculation != "when_supported"),
        ("checks of answers", config.response_checksum_validation != "when_required"),
    ):
        if found:
            return what
    return None


def obstacle_to_obstore(filesystem: Any, route: Route) -> str | None:
    """Return what keeps ranges from being read through obstore, `None` where nothing does."""
    client = route.client
    for what, found in (
        ("arguments of each request", adds_arguments(filesystem, client.get_object)),
        ("a certificate of the client", client.meta.config.client_cert),
        # Also where the proxy is not meant for this address: obstore may see that otherwise.
        ("a proxy", client.meta.config.proxies or get_environ_proxies(route.base) or names_proxies()),
        ("authorities to trust", route.secure and not _trusts_as_usual(client._endpoint.http_session._verify)),
        ("variables", environment_names(*_OBSTORE_VARIABLES)),
    ):
        if found:
            return what
    return None


def adds_arguments(filesystem: Any, method: Any) -> set[str]:
    """Return the arguments that options add to each request that a method of the client sends."""
    return _others(filesystem._get_s3_method_kwargs(method, Bucket="", Key=""), ("Bucket", "Key"))


def _trusts_as_usual(verify: Any) -> bool:
    """Tell whether what a client checks certificates with is what this machine trusts anyway.

    obstore adds authorities to those: whoever names one to be trusted alone would get less than that.
    """
    usual = ssl.get_default_verify_paths().cafile
    return verify is True or bool(
        isinstance(verify, str) and usual and os.path.realpath(verify) == os.path.realpath(usual)
    )


def _others(given: Iterable[str], known: Iterable[str]) -> set[str]:
    return set(given) - set(known)
