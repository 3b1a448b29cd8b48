"""What some of S3's errors mean for the user: the clock, the region, the credentials; and what to do about them."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ELSEWHERE = frozenset(
    {"PermanentRedirect", "TemporaryRedirect", "Redirect", "IllegalLocationConstraintException", "301", "302", "307"}
)
NO_CREDENTIALS = (
    "no credentials were found: name a profile, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the options key and "
    "secret, or set the option anon=true for a public bucket"
)
_EXPIRED = "the credentials have expired; renew them, or have them renewed by a credential_process or an instance role"


def advice(error: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """Return what to say instead of the service's message; `error` is what its answer holds. `None`: nothing better."""
    code = str(error.get("Code", ""))
    if code == "RequestTimeTooSkewed":
        return _clock(str(error.get("ServerTime", "")), datetime.datetime.now(datetime.UTC))
    if code in ELSEWHERE or (code == "AuthorizationHeaderMalformed" and "Region" in error):
        return _elsewhere(error, headers)
    if code in ("ExpiredToken", "TokenRefreshRequired"):
        return _EXPIRED
    return None


def _clock(server_time: str, now: datetime.datetime) -> str:
    to_do = "set it right, for example with: timedatectl set-ntp true"
    try:
        there = datetime.datetime.fromisoformat(server_time)
        minutes = round((now - there).total_seconds() / 60)
    except (ValueError, TypeError):  # no time, or one without a zone
        return f"the clock of this machine differs too much from the service's; {to_do}"
    side = "ahead of" if minutes > 0 else "behind"
    return f"the clock of this machine is {abs(minutes)} minutes {side} the service's; {to_do}"


def _elsewhere(error: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    region = error.get("Region") or headers.get("x-amz-bucket-region")
    if region:
        return f"the bucket is in region {region}: set the option region={region}, and an endpoint_url of that region"
    place = error.get("Endpoint")
    there = f" at {place}" if place else " elsewhere"
    return f"the bucket is{there}: check the options endpoint_url and region"
