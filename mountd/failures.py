"""What went wrong lately, for operators: logged, and kept for `mountd status`."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass

from mountd.redaction import without_secrets

log = logging.getLogger(__name__)

KEPT = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """Something an operator should know. `at`: seconds since the epoch."""

    at: float
    message: str


class FailureLog:
    """The last failures of one mount."""

    def __init__(self) -> None:
        self._kept: deque[Failure] = deque(maxlen=KEPT)

    def add(self, message: str) -> None:
        """Keep one line without secrets, and log it."""
        message = without_secrets(message)
        log.warning("%s", message)
        self._kept.append(Failure(time.time(), message))

    def recent(self) -> tuple[Failure, ...]:
        """Return what is kept, the oldest first."""
        return tuple(self._kept)
