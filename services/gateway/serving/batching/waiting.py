"""When a batch waits for callers who were just answered: most of them send their next request at once.

A call costs something however many rows it has. Two calls that become one save that once, so half of it is the longest
wait that pays, whoever comes or does not (decision 0053). A lone caller is never waited for.
"""

import math
from dataclasses import dataclass, field

WAIT_FOR = 0.9
"""Share of the requests just answered that are waited for."""
MAX_SHARE_OF_CALL = 0.6
"""The longest wait as a share of the last call's time."""
SHARE_OF_SAVING = 0.5
"""And of what one call less would save."""
MAX_WAIT_S = 0.05
MEMORY = 0.95
"""Weight of a call beside the next one."""
MIN_CALLS = 4.0
"""Weight of the calls from which a cost is told."""
FEW = 4
"""Calls of one request each, one after the other, from which there is one caller."""


@dataclass
class CallCost:
    """What a call takes before its first row: weighted least squares of seconds over rows, the newest calls first."""

    weight: float = 0.0
    rows: float = 0.0
    seconds: float = 0.0
    rows_squared: float = 0.0
    rows_by_seconds: float = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        self.weight = MEMORY * self.weight + 1
        self.rows = MEMORY * self.rows + rows
        self.seconds = MEMORY * self.seconds + seconds
        self.rows_squared = MEMORY * self.rows_squared + rows * rows
        self.rows_by_seconds = MEMORY * self.rows_by_seconds + rows * seconds

    def find_fixed_s(self) -> float:
        """Seconds at no rows; 0 while too little is known, half of a call where all have the same number of rows."""
        if self.weight < MIN_CALLS:
            return 0.0
        mean_s = self.seconds / self.weight
        spread = self.weight * self.rows_squared - self.rows * self.rows
        if spread < 1e-6 * self.weight * self.rows_squared:
            return mean_s / 2
        per_row = max(0.0, (self.weight * self.rows_by_seconds - self.rows * self.seconds) / spread)
        return max(0.0, mean_s - per_row * self.rows / self.weight)


@dataclass
class ReturningCallers:
    """Of one queue."""

    cost: CallCost = field(default_factory=CallCost)
    expected: int = 0
    """Requests that are waited for."""
    until: float = 0.0
    """When no more, by the event loop's clock, in s."""
    alone: int = 0
    """Calls of one request each since the last one of several."""

    @property
    def is_one(self) -> bool:
        """Whether there seems to be one caller, of whose next request nothing is gained by waiting."""
        return self.alone >= FEW

    def note_answer(self, requests: int, rows: int, took_s: float, now: float) -> None:
        """A call was answered at ``now``."""
        self.cost.learn(rows, took_s)
        self.alone = self.alone + 1 if requests == 1 else 0
        self.expected = math.ceil(WAIT_FOR * requests) if requests > 1 else 0
        self.until = now + min(MAX_SHARE_OF_CALL * took_s, SHARE_OF_SAVING * self.cost.find_fixed_s(), MAX_WAIT_S)

    def is_waited_for(self, waiting: int, now: float) -> bool:
        """Whether a batch of those that wait is to stay for others."""
        return waiting < self.expected and now < self.until
