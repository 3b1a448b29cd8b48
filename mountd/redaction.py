"""Secrets taken out of text that is going to be shown: log lines, errors, status. Pure.

A net below the rule that nothing secret is put into a message: what libraries and services say comes with addresses
that are signed, and sometimes with what they were given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "********"

# Shorter values would take letters out of every other word.
_SHORTEST = 6

_PARAMETERS = (
    "sig",  # Azure
    *("X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "AWSAccessKeyId", "Signature"),
    *("X-Goog-Signature", "X-Goog-Credential", "GoogleAccessId", "access_token", "refresh_token", "id_token"),
    *("client_secret", "password", "AccountKey", "SharedAccessSignature", "upload_id"),
)
_PARAMETER = re.compile(rf"(?<![\w-])({'|'.join(_PARAMETERS)})(=|%3D)[^&\s;'\"<>)]+", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"\b(Bearer|Basic|SharedKey|SharedKeyLite|AWS4-HMAC-SHA256)\s+(?=\S*[\d=:/.])[^\s'\",}]+")
_PASSWORD = re.compile(r"(://[^/@:\s]*:)[^/@\s]+@")


def without_secrets(text: str, values: Iterable[str] = ()) -> str:
    """Return `text` with signatures, tokens, passwords in addresses, and `values` replaced by a mask."""
    for value in values:
        if len(value) >= _SHORTEST:
            text = text.replace(value, MASK)
    text = _PARAMETER.sub(rf"\1\2{MASK}", text)
    text = _AUTHORIZATION.sub(rf"\1 {MASK}", text)
    return _PASSWORD.sub(rf"\1{MASK}@", text)
