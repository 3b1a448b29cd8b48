"""The named places in mountd where a daemon kills itself when `MOUNTD_CRASH_AT` says so, and how each is reached."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A place in the code.

    Attributes:
        name: as in `MOUNTD_CRASH_AT`.
        scenario: of `tests.crash.scenarios`, during which it is reached.
        kind: of store; `options`: of `mountd mount`.
    """

    name: str
    scenario: str
    kind: str = "s3"
    options: tuple[str, ...] = ()


POINTS: tuple[Point, ...] = ()
