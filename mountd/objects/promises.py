"""What a store cannot promise, in the words of its users; docs/stores.md says more about each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mountd.objects.interface import Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mountd.stores.flavor import Kind

_DENIED = "read-only: the credentials do not allow writing"
_FOR_READING = "read-only: the service takes no changes"
_INEXACT = "two changes of equal size within one second may be taken for one: the service gives no better version"

# What has to be missing, and what that means for those who write.
_WEAKNESSES: tuple[tuple[Callable[[Capabilities], bool], str], ...] = (
    (
        lambda can: not can.deletes,
        "the credentials do not allow deleting: files can be made and changed, not removed or renamed",
    ),
    (
        lambda can: not can.conditional_create,
        "lock files and O_EXCL are not safe between machines: the service does not decide who is first",
    ),
    (
        lambda can: not (can.conditional_put or can.mounts_exclude),
        "two machines that write one file in the same instant: the last one wins, unnoticed",
    ),
    (
        lambda can: not ((can.conditional_copy and can.conditional_delete) or can.mounts_exclude),
        "a rename or removal can meet a change made in the same instant elsewhere, and undo it",
    ),
    (
        lambda can: can.mounts_exclude,
        "a program that changes a file without mountd in the same instant: the last one wins, unnoticed",
    ),
    (
        lambda can: not can.versioned_read,
        "an object that is replaced while it is read: the read fails, and only then is it noticed",
    ),
    (lambda can: not can.exact_versions, _INEXACT),
    (
        lambda can: not can.part_copy,
        "a small change to a large file sends the whole file again",
    ),
    (
        lambda can: can.part_copy and not can.range_copy,
        "a small change to a large file that this mount did not write a moment ago sends the whole file again, "
        "unless it is appended to",
    ),
)


def weaknesses(can: Capabilities) -> list[str]:
    """Return a line about each promise that the store behind these capabilities does not keep."""
    if can.denied_writing:
        return [_DENIED]
    if can.takes_no_changes:
        return [_FOR_READING] + ([] if can.exact_versions else [_INEXACT])
    if can.read_only:
        return []
    return [line for missing, line in _WEAKNESSES if missing(can)]


_CONDITIONS = dict.fromkeys(("conditional_create", "conditional_put", "conditional_copy", "conditional_delete"), True)
_KEPT: dict[Kind, Capabilities] = {
    "local": Capabilities(
        conditional_create=True, mounts_exclude=True, versioned_read=True, part_copy=True, range_copy=True
    ),
    "gcs": Capabilities(**_CONDITIONS, versioned_read=True, part_copy=True),
    "azure": Capabilities(**_CONDITIONS, versioned_read=True, part_copy=True, range_copy=True),
    "fsspec": Capabilities(exact_versions=False),
}


def foreseen(kind: Kind, options: Mapping[str, Any]) -> list[str] | None:
    """Return what `weaknesses` will say of a store whose credentials allow everything, without asking it.

    `None` where only a mount finds it out.
    """
    if kind == "s3" or (kind == "gcs" and "endpoint_url" in options):
        return None  # there are many services that speak these protocols more or less
    return weaknesses(_KEPT[kind])
