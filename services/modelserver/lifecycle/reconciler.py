"""The load thread: loads and unloads versions until the wanted ones serve, one load at a time.

Only at the start, when there are no predictions to spare, other threads load for it: as many as there are cores, and
one version of a model.

``set_aspired()`` may be called from any thread at any time, also during a load; the thread reads the newest wanted
versions after every step. Predictions of other versions continue throughout.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import structlog

from modelyard.services.modelserver.errors import Refused, wrap_error
from modelyard.services.modelserver.lifecycle.freed_memory import give_back_freed_memory
from modelyard.services.modelserver.lifecycle.plan import (
    Aspired,
    Attempt,
    Key,
    choose_load,
    find_retry_time,
    find_unloadable,
    is_settled,
)
from modelyard.services.modelserver.lifecycle.priority import run_at_low_priority
from modelyard.services.modelserver.lifecycle.registry import Registry, ServedVersion, State, VersionState
from modelyard.services.modelserver.lifecycle.source import Candidate, stamp_files
from modelyard.services.modelserver.runtime.servable import Servable

Load = Callable[[Path], Servable]
"""Loads a version folder; raises ``Refused`` with the cause if it cannot."""

FIRST_LOADS = os.cpu_count() or 1
"""Loads at once, at the start."""

log = structlog.get_logger()


def load_unchanged(folder: Path, load: Load) -> Servable:
    """Loads a folder whose files stay as they are meanwhile.

    Raises:
        Refused: ABORTED, somebody wrote them: parts of two states may have been read; or the loader's own.
    """
    before = stamp_files(folder)
    servable = load(folder)
    if stamp_files(folder) != before:
        servable.close()
        raise Refused(grpc.StatusCode.ABORTED, "its files changed while it was loaded")
    return servable


def warm_up(key: Key, finish: Callable[[], object]) -> None:
    """What fails here fails when it is asked for, and nothing else does."""
    name, number = key
    started = time.monotonic()
    try:
        finish()
    except Exception as error:  # noqa: BLE001 - as of a load
        log.warning("warm_up_failed", model=name, version=number, cause=str(error))
        return
    log.info("version_warm", model=name, version=number, took_s=round(time.monotonic() - started, 3))


class Reconciler:
    """Loads, retries and unloads versions until the registry serves the wanted ones."""

    def __init__(self, registry: Registry, max_retries: int, retry_interval_s: float) -> None:
        self._registry = registry
        self._max_retries = max_retries
        self._retry_interval_s = retry_interval_s
        self._changed = threading.Condition()
        self._aspired: Aspired = {}
        self._attempts: dict[Key, Attempt] = {}
        self._idle: deque[tuple[Key, Servable]] = deque()
        self._half_warm: deque[Key] = deque()
        """Versions that answer, and have first runs left."""
        self._has_started = False
        """Whether all that was wanted at first was loaded, or has failed."""
        self._first_loads = 0
        """Of the start, in progress."""
        self._stopping = False

    def set_aspired(self, aspired: Aspired, *, retry_failed: bool) -> None:
        """Sets the wanted versions. With ``retry_failed``, failed versions get all their tries again."""
        with self._changed:
            if aspired == self._aspired and not retry_failed:
                return
            self._aspired = aspired
            previous = {} if retry_failed else self._attempts
            self._attempts = {key: previous[key] for key in previous if key[1] in aspired.get(key[0], {})}
            self._mark_started()
            self._changed.notify_all()

    def wait_until_settled(self, names: frozenset[str], is_wanted: Callable[[], bool]) -> bool:
        """Waits until every wanted version of these models is AVAILABLE or has failed; False if it stopped before."""
        with self._changed:
            while not self._is_settled(names):
                if self._stopping or not is_wanted():
                    return False
                self._changed.wait(0.1)  # checks the call's deadline in between
            return True

    def list_given_up(self) -> frozenset[Key]:
        """Versions that are wanted and not tried again: all tries have failed."""
        with self._changed:
            return frozenset(key for key, attempt in self._attempts.items() if attempt.retry_at == float("inf"))

    def stop(self) -> None:
        """Ends ``run()`` after its present step. Loaded versions keep serving."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def run(self, load: Load) -> None:
        """Works until ``stop()``."""
        has_worked = False
        with ThreadPoolExecutor(FIRST_LOADS, "load") as threads:
            while not self._stopping:
                step = self._next_step(load, threads)
                if step is None:
                    if not self._first_loads and has_worked:
                        give_back_freed_memory()
                        has_worked = False
                    self._wait()
                    continue
                step()
                has_worked = True
                with self._changed:
                    self._changed.notify_all()

    # --- decisions --------------------------------------------------------------------------------------------------

    def _next_step(self, load: Load, threads: ThreadPoolExecutor) -> Callable[[], object] | None:
        with self._changed:
            if self._idle:
                (name, number), servable = self._idle.popleft()
                return lambda: self._unload(name, number, servable)
            if drop := next(find_unloadable(self._aspired, self._registry.states), None):
                return lambda: self._withdraw(*drop)
            key = self._choose_load()
            if key is None:
                if self._first_loads:
                    return None
                self._has_started |= bool(self._aspired) and self._is_settled(frozenset(self._aspired))
                return partial(self._finish_warm_up, self._half_warm.popleft()) if self._half_warm else None
            candidate = self._aspired[key[0]][key[1]]
            self._registry.set_state(*key, VersionState(State.LOADING))
            if self._has_started:
                return partial(self._load, key, candidate, load)
            self._first_loads += 1
            return partial(threads.submit, self._load_first, key, candidate, load)

    def _wait(self) -> None:
        with self._changed:
            if self._stopping or self._next_step_is_due():
                return
            retry_at = find_retry_time(self._aspired, self._attempts)
            self._changed.wait(None if retry_at is None else max(0.0, retry_at - time.monotonic()))

    def _next_step_is_due(self) -> bool:
        """Whether there is work to do; called under the lock, so that no wake-up is missed."""
        states = self._registry.states
        if self._idle or any(find_unloadable(self._aspired, states)):
            return True
        return self._choose_load() is not None or (bool(self._half_warm) and not self._first_loads)

    def _choose_load(self) -> Key | None:
        """None also where as many load as may."""
        if self._first_loads == FIRST_LOADS:
            return None
        states = self._registry.states
        loading = {name for name, known in states.items() if State.LOADING in {each.state for each in known.values()}}
        others = {name: wanted for name, wanted in self._aspired.items() if name not in loading}
        return choose_load(others, states, self._attempts, time.monotonic())

    def _is_settled(self, names: frozenset[str]) -> bool:
        aspired = {name: versions for name, versions in self._aspired.items() if name in names}
        return is_settled(aspired, self._registry.states, self._attempts)

    # --- steps ------------------------------------------------------------------------------------------------------

    def _mark_started(self) -> None:
        """Sets wanted versions that wait for a load to START; those no longer wanted, from START to END.

        An error of before says nothing about files that have changed, nor about a version that is wanted anew.
        """
        states = self._registry.states
        for name, versions in self._aspired.items():
            for number, candidate in versions.items():
                known = states.get(name, {}).get(number)
                if known is None or (known.state == State.END and self._is_new((name, number), candidate)):
                    self._registry.set_state(name, number, VersionState(State.START))
        for name, known_versions in states.items():
            for number, state in known_versions.items():
                if state.state == State.START and number not in self._aspired.get(name, {}):
                    self._registry.set_state(name, number, VersionState(State.END))

    def _is_new(self, key: Key, candidate: Candidate) -> bool:
        attempt = self._attempts.get(key)
        return attempt is None or attempt.candidate.files != candidate.files

    def _load_first(self, key: Key, candidate: Candidate, load: Load) -> None:
        try:
            self._load(key, candidate, load)
        finally:
            with self._changed:
                self._first_loads -= 1
                self._changed.notify_all()

    def _load(self, key: Key, candidate: Candidate, load: Load) -> None:
        name, number = key
        started = time.monotonic()
        try:
            servable = load_unchanged(candidate.path, load)
        except Exception as error:  # noqa: BLE001 - the outermost boundary of a load: it ends only this try
            self._fail(key, candidate, error)
            return
        if self._has_started and servable.finish_warm_up is not None:  # others answer meanwhile
            run_at_low_priority(partial(warm_up, key, servable.finish_warm_up))
            servable = replace(servable, finish_warm_up=None)
        self._registry.publish_version(name, number, servable)
        with self._changed:
            self._attempts.pop(key, None)
            if servable.finish_warm_up is not None:
                self._half_warm.append(key)
        log.info("version_available", model=name, version=number, load_s=round(time.monotonic() - started, 3))

    def _finish_warm_up(self, key: Key) -> None:
        """When nothing is to be loaded.

        Not at low priority: while TensorFlow prepares a signature's first run, every other run of this version waits
        (``DirectSession::CreateGraphs`` holds the lock that ``CheckGraphCreated`` takes).
        """
        name, number = key

        def finish() -> None:
            with self._registry.acquire(name, number) as version:
                if version.servable.finish_warm_up is not None:
                    version.servable.finish_warm_up()

        if number in self._registry.available_versions(name):
            warm_up(key, finish)

    def _fail(self, key: Key, candidate: Candidate, error: Exception) -> None:
        name, number = key
        refusal = error if isinstance(error, Refused) else wrap_error(error)
        message = str(refusal).replace(str(candidate.path), f"{name}/{number}")
        with self._changed:
            before = self._attempts.get(key)
            tries = before.tries + 1 if before is not None and before.candidate == candidate else 1
            more = tries <= self._max_retries
            retry_at = time.monotonic() + self._retry_interval_s if more else float("inf")
            self._attempts[key] = Attempt(candidate, tries, retry_at)
            self._registry.set_state(name, number, VersionState(State.END, refusal.number, message))
        retry_in_s = self._retry_interval_s if more else None
        log.warning("load_failed", model=name, version=number, cause=message, tries=tries, retry_in_s=retry_in_s)

    def _withdraw(self, name: str, number: int) -> None:
        version: ServedVersion = self._registry.withdraw_version(name, number)
        log.info("version_withdrawn", model=name, version=number)
        servable = version.servable  # not the version, which holds this function: nothing would free the two
        version.retire(lambda: self._queue_unload(name, number, servable))

    def _queue_unload(self, name: str, number: int, servable: Servable) -> None:
        with self._changed:
            self._idle.append(((name, number), servable))
            self._changed.notify_all()

    def _unload(self, name: str, number: int, servable: Servable) -> None:
        servable.close()
        self._registry.set_state(name, number, VersionState(State.END))
        with self._changed:
            self._mark_started()
        log.info("version_unloaded", model=name, version=number)
