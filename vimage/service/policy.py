"""When a vimage that failed is started again."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds before the first restart; each further one takes twice as long, up to LONGEST.
FIRST = 1.0
LONGEST = 300.0

#: After more than LIMIT failures, with less than STABLE seconds between any two, it is left
#: alone.
LIMIT = 10
STABLE = 600.0


@dataclass(slots=True)
class Backoff:
    """Counts the failures of one vimage, and delays its restarts accordingly."""

    failures: int = 0
    last: float = float("-inf")

    def failed(self, now: float) -> float | None:
        """Seconds until the next try, None when there is none.  ``now`` is monotonic."""
        if now - self.last > STABLE:
            self.failures = 0
        self.last = now
        self.failures += 1
        if self.failures > LIMIT:
            return None
        return min(FIRST * 2.0 ** (self.failures - 1), LONGEST)
