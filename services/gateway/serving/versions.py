"""Which version predicts, and its interface.

Published versions are read from the store: rollout and manifest. Others come from the model server.
"""

import asyncio
import hashlib
import os
import random
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import grpc

from modelyard.models.errors import CorruptData, UnknownName
from modelyard.models.registry import rollout as rollouts
from modelyard.models.registry.batching_plan import read_plans
from modelyard.models.registry.rollout import Rollout, read_rollout
from modelyard.models.registry.serving_config import LeftOutVersion, read_left_out
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import BEING_LOADED, ServingFailed, VersionStatus
from modelyard.models.types import DEFAULT_POOL
from modelyard.services.gateway.http.errors import InvalidRequest, ServableNotFound, not_found_text
from modelyard.services.gateway.http.paths import Servable
from modelyard.services.gateway.serving.failed_versions import FailedVersion, FailedVersions
from modelyard.services.gateway.serving.interface import Experiment, Interface, published_interface

PLAN_FRESH_S = 1.0
"""How long a batching plan is not read again; a version's manifest never changes."""
BEST_STATES = ("AVAILABLE", "LOADING", "START", "UNLOADING", "END", "UNKNOWN")


def choose_version(rollout: Rollout, pinned: int | None, label: str | None, key: str | None = None) -> int | None:
    """The version that predicts: the pinned one, the labelled one, or the stable one or its canary, if there is one.

    Args:
        key: the client's: the same key gets the same version as long as the canary's share does not fall.

    Raises:
        InvalidRequest: no version bears the label; with TensorFlow Serving's text.
    """
    if pinned is not None:
        return pinned
    if label is not None:
        if label not in rollout.all_labels:
            raise InvalidRequest(f"Unrecognized servable version label: {label}")
        return rollout.all_labels[label]
    canary = rollout.canary
    if canary and 100 * draw_share(canary.version, key) < canary.percent:
        return canary.version
    return rollout.stable


def list_replacements(rollout: Rollout, version: int) -> tuple[int, ...]:
    """Versions that answer requests which name none, in order, if this one cannot be loaded; each is loaded.

    The stable one in place of its canary; in place of the stable one the version before, as after a rollback, unless
    the rollout forbids it.
    """
    stable = () if rollout.stable in (None, version) else (rollout.stable,)
    before = rollout.previous if rollout.fallback else None
    return (*stable, *(() if before is None or before not in rollout.loaded else (before,)))


def resolve_version(
    rollout: Rollout | None, model: str, version: int | None, label: str | None, key: str | None
) -> int | None:
    """The version's number; None where only the model server knows.

    Raises:
        ServableNotFound: the model is ours, and none of its versions is stable.
        InvalidRequest: an unknown label.
    """
    if rollout is None:
        return version
    number = choose_version(rollout, version, label, key)
    if number is None:
        raise ServableNotFound(f"{not_found_text(model, version)}; no version of it is stable yet")
    return number


def draw_share(version: int, key: str | None) -> float:
    """A number in 0..1: from the key and the canary's version, or random without a key."""
    if key is None:
        return random.random()
    digest = hashlib.blake2b(f"{version}:{key}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 2**56


class CachedRollout(NamedTuple):
    """A rollout as it was last read."""

    path: str
    stamp: tuple[int, ...]
    """Inode, time and size of its file."""
    rollout: Rollout


class PublishedVersions:
    """Rollouts and interfaces of the store's versions, each read once per change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rollouts: dict[str, CachedRollout] = {}
        self._looked_at: set[str] = set()
        """Models whose rollout was looked at in this iteration of the event loop: what arrives later is in the next."""
        self._interfaces: dict[tuple[str, int], tuple[float, Interface]] = {}

    def list_models(self) -> tuple[str, ...]:
        """Models with at least one version in the store."""
        return tuple(model for model in self._store.models() if self._store.versions(model))

    def list_left_out(self) -> tuple[LeftOutVersion, ...]:
        """Versions with a role that are damaged or gone, as whoever rendered ``models.config`` last found."""
        return read_left_out(self._store).versions

    def get_rollout(self, model: str) -> Rollout | None:
        """The model's rollout, read again when its file was replaced; None where we do not decide."""
        cached, loop = self._rollouts.get(model), find_running_loop()
        if cached and loop and model in self._looked_at:
            return cached.rollout
        try:
            path = cached.path if cached else str(self._store.folder(model) / rollouts.FILE)
            found = os.stat(path)  # noqa: PTH116  # once per request: building a Path costs more than the call
        except (FileNotFoundError, UnknownName):
            return None
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if cached is None or cached.stamp != stamp:
            cached = self._rollouts[model] = CachedRollout(path, stamp, read_rollout(self._store, model))
        if loop:
            self._looked_at.add(model)
            loop.call_soon(self._looked_at.discard, model)
        return cached.rollout

    def find_pool(self, model: str) -> str:
        """The pool that answers for a model; as long as its rollout is damaged, the one of before."""
        try:
            rollout = self.get_rollout(model)
        except CorruptData:
            rollout = self._rollouts[model].rollout if model in self._rollouts else None
        return DEFAULT_POOL if rollout is None else rollout.placement.pool

    def get_interface(self, model: str, version: int) -> Interface | None:
        """A published version's interface; None where there is no manifest."""
        read_at, cached = self._interfaces.get((model, version), (0.0, None))
        if time.monotonic() - read_at < PLAN_FRESH_S:
            return cached
        try:
            found = cached or published_interface(self._store.manifest(model, version))
        except UnknownName:
            return None
        plan = read_plans(self._store, model).plans.get(version)
        found = replace(found, max_batch=plan.max_batch if plan else None)
        self._interfaces[model, version] = (time.monotonic(), found)
        return found


def find_running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that this thread runs; None in any other thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def with_experiment(interface: Interface, rollout: Rollout) -> Interface:
    """The interface with the canary and the shadow that it is compared with, if there are any."""
    if rollout.canary is None and rollout.shadow is None:
        return interface
    return replace(interface, experiment=Experiment(rollout.canary, rollout.shadow))


def read_interface(
    versions: PublishedVersions, failed: FailedVersions, rollout: Rollout, model: str, number: int
) -> Interface | None:
    """A version's interface; None if there is no such version, or if it cannot answer, which ``failed`` then knows."""
    if failed and failed.get(model, number):
        return None
    try:
        found, cause = versions.get_interface(model, number), "it is not in the store any more"
    except CorruptData as error:
        found, cause = None, str(error)
    if found is None and number in rollout.loaded:
        failed.note(FailedVersion(model, number, "DATA_LOSS", cause))
    return found


def replace_failed(
    versions: PublishedVersions, failed: FailedVersions, rollout: Rollout, servable: Servable, number: int
) -> Interface:
    """What answers in the place of a version that cannot, for a request that names none; without experiments.

    Raises:
        VersionFailed: nothing does.
        ServableNotFound: there never was such a version.
    """
    if servable.version is None and servable.label is None:
        for other in list_replacements(rollout, number):
            if found := read_interface(versions, failed, rollout, servable.model, other):
                return found
    known = failed.get(servable.model, number)
    raise known.make_error() if known else ServableNotFound(not_found_text(servable.model, servable.version))


def newest_ready_version(model: str, statuses: tuple[VersionStatus, ...]) -> int:
    """The version that TensorFlow Serving uses for a request that names none.

    Raises:
        ServingFailed: UNAVAILABLE while versions are loading, else NOT_FOUND.
    """
    ready = [entry.version for entry in statuses if entry.state == "AVAILABLE"]
    if ready:
        return max(ready)
    if any(entry.state in ("START", "LOADING") for entry in statuses):
        raise ServingFailed(grpc.StatusCode.UNAVAILABLE, f"{model} {BEING_LOADED}")
    failed = [entry for entry in statuses if entry.error_code != "OK"]
    why = f"; version {failed[-1].version} cannot be loaded: {failed[-1].error_code}" if failed else ""
    raise ServingFailed(grpc.StatusCode.NOT_FOUND, not_found_text(model, None) + why)


def select_best_states(statuses: Iterable[VersionStatus]) -> dict[int, str]:
    """The best state of each version in any model server."""
    found: dict[int, str] = {}
    for each in statuses:
        found[each.version] = min(found.get(each.version, each.state), each.state, key=BEST_STATES.index)
    return found
