"""Sizes, durations and the like as people write them, and back.

Pure; every parser raises ValueError with a full sentence.
"""

from __future__ import annotations

import math
import re
import sys

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?\s*", re.IGNORECASE)
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
# More than any disk has; what is larger means the same: no limit.
SIZE_MAX = (1 << 63) - 1
_ID_MAX = (1 << 32) - 2  # the largest number of 32 bits means "nobody" to Linux
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

ON_CONFLICT = ("keep-both", "fail", "overwrite")
EXCLUSIVE = ("store", "machine")


def parse_size(value: object) -> int:
    """Return the bytes meant by `10GiB`, `500M`, `1.5 TB` or `4096`.

    A prefix alone counts in 1024, as in `dd` and `docker`; so does one with `i`. `kB`, `MB`, `GB` count in 1000.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return min(value, SIZE_MAX)
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a size; write it like 500M, 20GiB or a number of bytes")
    number, prefix, binary = match.groups()
    decimal = prefix and not binary and match.group().rstrip().lower().endswith("b")
    return int(min(float(number) * (1000 if decimal else 1024) ** _POWERS[prefix.lower()], SIZE_MAX))


def format_size(size: int) -> str:
    """Return `size` bytes for people, in binary units: `1.5 GiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if amount == int(amount) else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} PiB"


def parse_duration(value: object) -> float:
    """Return the seconds meant by `1.5`, `30s`, `200ms`, `5m`, `2h`, `1d` or `inf`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return math.inf if value > sys.float_info.max else float(value)
    if isinstance(value, str):
        if value.strip().lower() == "inf":
            return math.inf
        if match := _DURATION.fullmatch(value):
            return float(match[1]) * _SECONDS[match[2] or "s"]
    raise ValueError(f"{value!r} is not a duration; write it in seconds like 1.5, with a unit like 30s or 5m, or inf")


def parse_time_limit(value: object) -> float:
    """As `parse_duration`, but more than zero: no time at all would make every request fail."""
    if (seconds := parse_duration(value)) > 0:
        return seconds
    raise ValueError(f"{value!r} leaves no time; write more than 0, or inf for no limit")


def parse_bool(value: object) -> bool:
    """Return the truth meant by `true`, `yes`, `on`, `1` and their opposites."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _WORDS:
        raise ValueError(f"{value!r} is neither true nor false")
    return _WORDS[word]


def parse_on_conflict(value: object) -> str:
    """Return one of the ways to deal with an object that somebody else has changed."""
    return _one_of(ON_CONFLICT, value)


def parse_exclusive(value: object) -> str:
    """Return who decides which of several programs creates a file exclusively."""
    return _one_of(EXCLUSIVE, value)


def _one_of(known: tuple[str, ...], value: object) -> str:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return str(value)


def parse_count(value: object) -> int:
    """Return a whole number of at least one."""
    number = _whole(value)
    if number < 1:
        raise ValueError(f"{value!r} is too small; write a whole number from 1 on")
    return number


def parse_id(value: object) -> int:
    """Return the number of a user or group."""
    number = _whole(value)
    if number > _ID_MAX:
        raise ValueError(f"{value!r} is too large for the number of a user or group")
    return number


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    raise ValueError(f"{value!r} is not a whole number from 0 on")


def parse_umask(value: object) -> int:
    """Return permission bits from octal digits in a string (`022`, `0o022`), or from a TOML integer (`0o022`)."""
    digits = re.fullmatch(r"(?:0o)?([0-7]{1,4})", value.strip()) if isinstance(value, str) else None
    bits = int(digits[1], 8) if digits else value
    if not isinstance(bits, int) or isinstance(bits, bool) or not 0 <= bits <= 0o777:
        raise ValueError(f"{value!r} is not a umask; write octal digits like 022")
    return bits
