"""Estimates how long fitting still takes, from the steps that it has done. No Keras in here."""

import time
from collections.abc import Callable

UNSTEADY_STEPS = 10
"""Before so many steps nothing is estimated: the first one compiles, and caches are cold."""
RECENT_STEPS = 500
"""Older steps count less and less, so that the estimate follows a machine that becomes slower."""
FORWARD_SHARE = 1 / 3
"""Of a training step: a validation step goes forward only. Until one validation was measured."""


class FitEstimate:
    """Told of each step and epoch; times are in seconds of ``now``."""

    def __init__(
        self, epochs: int, steps: int, validation_steps: int = 0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._epochs, self._steps, self._validation_steps, self._now = epochs, steps, validation_steps, now
        self._epoch, self._step, self._done = 0, 0, 0
        self._epoch_ended = False
        self._last = now()
        self._steady_s, self._steady_steps = 0.0, 0.0
        self._ends_s: list[float] = []

    def begin_epoch(self, epoch: int) -> None:
        """``epoch`` is counted from 1."""
        self._epoch, self._step, self._epoch_ended = epoch, 0, False
        self._last = self._now()

    def end_step(self, step: int) -> None:
        """``step`` of the epoch, counted from 1; several may have been done at once."""
        took_s, count = self._take_time(), step - self._step
        if self._done:  # the first one compiles
            if self._steady_steps >= RECENT_STEPS:
                self._steady_s, self._steady_steps = self._steady_s / 2, self._steady_steps / 2
            self._steady_s, self._steady_steps = self._steady_s + took_s, self._steady_steps + count
        self._step, self._done = step, self._done + count

    def end_epoch(self) -> None:
        """When it is validated, and its checkpoint written."""
        self._ends_s.append(self._take_time())
        self._epoch_ended = True

    @property
    def remaining_s(self) -> float | None:
        """Until all epochs are done; None as long as nothing can be said."""
        left = self._epochs - self._epoch
        if not left and self._epoch_ended:
            return 0.0
        if self._done < UNSTEADY_STEPS or not self._steady_steps:
            return None
        step_s = self._steady_s / self._steady_steps
        steps = self._steps * left + (0 if self._epoch_ended else self._steps - self._step)
        ends = left + (0 if self._epoch_ended else 1)
        return steps * step_s + ends * self._estimate_end(step_s)

    def _estimate_end(self, step_s: float) -> float:
        """Seconds from an epoch's last step to the next epoch; the first validation compiles, too."""
        if not self._ends_s:
            return self._validation_steps * step_s * FORWARD_SHARE
        steady = self._ends_s[1:] or self._ends_s
        return sum(steady) / len(steady)

    def _take_time(self) -> float:
        now = self._now()
        took_s, self._last = now - self._last, now
        return took_s


class EpochEstimate:
    """The same where only ends of epochs are known: nothing is said before the second."""

    def __init__(self, epochs: int, now: Callable[[], float] = time.monotonic) -> None:
        self._epochs, self._now = epochs, now
        self._first: tuple[int, float] | None = None

    def end_epoch(self, epoch: int) -> float | None:
        """Seconds until all epochs are done."""
        now, left = self._now(), max(0, self._epochs - epoch)
        if self._first is None or epoch <= self._first[0]:
            self._first = epoch, now
            return None if left else 0.0
        return (now - self._first[1]) / (epoch - self._first[0]) * left
