"""Lets a published version into the rollout, once every model server holds it and answers as it did in training."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import grpc

from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.rollout import Canary, InvalidChange, Rollout, change_rollout
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.pipeline import golden
from modelyard.pipeline.job import Promotion
from modelyard.pipeline.progress import Progress, Report

LOAD_DEADLINE_S = 180.0
POLL_S = 0.2
CALL_TIMEOUT_S = 10.0
CANARY_PERCENT = 10.0
"""Of the requests, for the canary that a job begins."""

Edit = Callable[[Rollout, str, dict[str, Any]], Rollout]
"""Gives a version that was let in its role: of the rollout as it is then, the reason, and what was found."""


def promote(
    store: Store,
    manifest: Manifest,
    serving: Sequence[str],
    *,
    by: str,
    report: Report,
    why: str = "",
    deadline_s: float = LOAD_DEADLINE_S,
) -> Promotion:
    """Makes the version stable, once it was let in."""

    def make_stable(now: Rollout, reason: str, detail: dict[str, Any]) -> Rollout:
        return now.promote(manifest.version, by=by, reason=reason, detail=detail)

    return let_in(store, manifest, serving, make_stable, by=by, report=report, why=why, deadline_s=deadline_s)


def start_canary(store: Store, manifest: Manifest, serving: Sequence[str], *, by: str, report: Report) -> Promotion:
    """Gives the version a share of the requests, once it was let in."""
    canary = Canary(version=manifest.version, percent=CANARY_PERCENT, since=datetime.now(UTC))

    def begin(now: Rollout, reason: str, detail: dict[str, Any]) -> Rollout:
        return now.start_canary(canary, by=by, reason=reason, detail=detail)

    done = let_in(store, manifest, serving, begin, by=by, report=report)
    return replace(done, percent=CANARY_PERCENT if done.promoted else 0.0)


def let_in(
    store: Store,
    manifest: Manifest,
    serving: Sequence[str],
    edit: Edit,
    *,
    by: str,
    report: Report,
    why: str = "",
    deadline_s: float = LOAD_DEADLINE_S,
) -> Promotion:
    """Loads the version beside the stable one, compares its answers with training's, and edits ``rollout.json``.

    Whatever goes wrong before that leaves what answers as it is, and is written into the rollout's history.

    Args:
        serving: addresses of every model server; with none, the version is let in unseen and the reason says so.
        edit: gives the version its role.
        by: who or what asked, for the history.
        why: what they said, for the history too.
        deadline_s: for each model server to load the version.

    Raises:
        InvalidChange: the edit makes no sense by now; the version is let go of.
    """
    with store.lock(f"promote-{manifest.model}"):  # a second one would let go of the version this one has preloaded
        return _let_in(store, manifest, serving, edit, by, report, {"why": why} if why else {}, deadline_s)


def _let_in(
    store: Store,
    manifest: Manifest,
    serving: Sequence[str],
    edit: Edit,
    by: str,
    report: Report,
    said: Mapping[str, Any],
    deadline_s: float,
) -> Promotion:
    model, version = manifest.model, manifest.version
    if not serving:
        reason = "no model server was given, so its answers were not compared"
        change_rollout(store, model, lambda now: edit(now, reason, {**said}))
        return Promotion(True, reason)
    report(Progress("rollout", message=f"loading version {version} on {len(serving)} model server(s)"))
    change_rollout(store, model, lambda now: now.preload(version))
    clients = [ServingClient(address) for address in serving]
    try:
        worst = max(_parity_when_available(client, store, manifest, deadline_s) for client in clients)
        reason = f"available on {len(serving)} model server(s), golden answers within {golden.TOLERANCE:.0e}"
        change_rollout(store, model, lambda now: edit(now, reason, {**said, "parity": worst}))
    except (NotServed, ServingFailed, InvalidChange) as error:
        because = str(error)
        change_rollout(store, model, lambda now: now.reject(version, by=by, reason=because, detail={**said}))
        if isinstance(error, InvalidChange):
            raise
        return Promotion(False, because)
    finally:
        for client in clients:
            client.close()
    return Promotion(True, reason, worst)


class NotServed(Exception):
    """A model server did not load the version, or answers otherwise than training did."""


def _parity_when_available(client: ServingClient, store: Store, manifest: Manifest, deadline_s: float) -> float:
    deadline = time.monotonic() + deadline_s
    while True:
        wait_available(client, manifest.model, manifest.version, deadline_s)
        try:
            difference = parity(client, store, manifest)
            break
        except ServingFailed as error:
            # A version that has just lost a role is let go of by a configuration that is not the newest any more.
            if error.code is not grpc.StatusCode.NOT_FOUND or time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)
    if not difference <= golden.TOLERANCE:
        raise NotServed(f"answers of {client.address} differ from training by {difference:.2g}")
    return difference


def wait_available(client: ServingClient, model: str, version: int, deadline_s: float) -> None:
    """Returns when the server reports AVAILABLE.

    Raises:
        NotServed: the load failed, or took longer than ``deadline_s``.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        state = _state(client, model, version)
        if state == "AVAILABLE":
            return
        if time.monotonic() > deadline:
            raise NotServed(f"{client.address} did not load version {version} within {deadline_s:.0f} s ({state})")
        time.sleep(POLL_S)


def _state(client: ServingClient, model: str, version: int) -> str:
    try:
        (found,) = client.status(model, timeout_s=CALL_TIMEOUT_S, version=version)
    except ServingFailed as error:
        if error.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return str(error)  # not noticed yet, or the server is being restarted
        raise
    if found.state == "END" and found.error_code != "OK":
        raise NotServed(f"{client.address} cannot load version {version}: {found.error_message}")
    return found.state


def parity(client: ServingClient, store: Store, manifest: Manifest) -> float:
    """Largest absolute difference between served and golden answers, over all signatures."""
    known = golden.load(store.path(manifest.model, manifest.version))
    worst = 0.0
    for name, signature in manifest.signatures.items():
        inputs = {tensor.name: known[f"{name}/{tensor.name}"] for tensor in signature.inputs}
        outputs = client.predict(manifest.model, manifest.version, name, inputs, timeout_s=CALL_TIMEOUT_S)
        expected = {tensor.name: known[f"{name}/{tensor.name}"] for tensor in signature.outputs}
        worst = max(worst, *(golden.largest_difference(outputs[out], value) for out, value in expected.items()))
    return worst
