"""Chooses the next load or unload, so that no model stops answering on the way. Pure decisions.

As in TensorFlow Serving's ``core/availability_preserving_policy.cc``: a version that is no longer wanted goes only when
a wanted one is AVAILABLE, or when its model was taken out of the configuration. Unlike there, a model for which nothing
is wanted any more (a missing or empty base path, an empty ``specific {}``) keeps what it has.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelyard.services.modelserver.lifecycle.registry import State, VersionState
from modelyard.services.modelserver.lifecycle.source import Candidate

Key = tuple[str, int]
"""Model and version."""
Aspired = Mapping[str, Mapping[int, Candidate]]
"""Wanted versions by model. A model that is not in it was taken out of the configuration."""
States = Mapping[str, Mapping[int, VersionState]]


@dataclass(frozen=True)
class Attempt:
    """The last failed try to load a version. Times are ``time.monotonic()`` seconds."""

    candidate: Candidate
    tries: int
    retry_at: float
    """Infinity when the tries are used up."""


Attempts = Mapping[Key, Attempt]


def find_unloadable(aspired: Aspired, states: States) -> Iterator[Key]:
    """AVAILABLE versions that may be unloaded now, lowest first."""
    for name, versions in states.items():
        wanted = aspired.get(name)
        if wanted is None or any(_is(versions, number, State.AVAILABLE) for number in wanted):
            for number in sorted(versions):
                if _is(versions, number, State.AVAILABLE) and number not in (wanted or ()):
                    yield name, number


def choose_load(aspired: Aspired, states: States, attempts: Attempts, now: float) -> Key | None:
    """The version to load now; None if there is none.

    Models without an AVAILABLE version come first, then each model's highest version; versions that failed come last.
    """
    due = [key for key in _loadable(aspired, states) if key not in attempts or _due(aspired, attempts[key], key, now)]

    def urgency(key: Key) -> tuple[bool, bool, int]:
        name, number = key
        return key in attempts, _answers(states.get(name, {})), -sorted(aspired[name]).index(number)

    return min(due, key=urgency, default=None)


def find_retry_time(aspired: Aspired, attempts: Attempts) -> float | None:
    """Time when the next retry is due; None if there is none."""
    times = [attempt.retry_at for key, attempt in attempts.items() if _is_settled(aspired, key)]
    return min((time for time in times if time != float("inf")), default=None)


def is_settled(aspired: Aspired, states: States, attempts: Attempts) -> bool:
    """Whether every wanted version is AVAILABLE or has failed; one that is being copied, if another one answers."""
    return all(
        _is(states.get(name, {}), number, State.AVAILABLE)
        or (name, number) in attempts
        or (not candidate.settled and _answers(states.get(name, {})))
        for name, versions in aspired.items()
        for number, candidate in versions.items()
    )


def _loadable(aspired: Aspired, states: States) -> Iterator[Key]:
    for name, versions in aspired.items():
        known = states.get(name, {})
        for number, candidate in versions.items():
            waits = number not in known or known[number].state in (State.START, State.END)
            if waits and candidate.settled:
                yield name, number


def _due(aspired: Aspired, attempt: Attempt, key: Key, now: float) -> bool:
    name, number = key
    return now >= attempt.retry_at or aspired[name][number] != attempt.candidate


def _is_settled(aspired: Aspired, key: Key) -> bool:
    candidate = aspired.get(key[0], {}).get(key[1])
    return candidate is not None and candidate.settled


def _answers(versions: Mapping[int, VersionState]) -> bool:
    return any(state.state == State.AVAILABLE for state in versions.values())


def _is(versions: Mapping[int, VersionState], number: int, state: int) -> bool:
    return number in versions and versions[number].state == state
