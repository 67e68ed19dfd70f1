"""Lets a published version answer, once every model server holds it and answers as it did in training."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from models import rollout
from models.manifest import Manifest
from models.serving_client import ServingClient
from models.store import Store
from models.tfserving import ServingFailed
from pipeline import golden
from pipeline.job import Promotion
from pipeline.progress import Progress, Report

LOAD_DEADLINE_S = 180.0
POLL_S = 0.2
CALL_TIMEOUT_S = 10.0


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
    """Loads the version beside the stable one, compares, and flips ``rollout.json``.

    Whatever goes wrong before the flip leaves the old version answering, and is written into the rollout's history.

    Args:
        serving: addresses of every model server; with none, the version is promoted unseen and the reason says so.
        by: who or what asked, for the history.
        why: what they said, for the history too.
        deadline_s: for each model server to load the version.
    """
    with store.lock(f"promote-{manifest.model}"):  # a second one would let go of the version this one has preloaded
        return _promote(store, manifest, serving, by, report, {"why": why} if why else {}, deadline_s)


def _promote(
    store: Store,
    manifest: Manifest,
    serving: Sequence[str],
    by: str,
    report: Report,
    said: Mapping[str, Any],
    deadline_s: float,
) -> Promotion:
    model, version = manifest.model, manifest.version
    if not serving:
        reason = "no model server was given, so its answers were not compared"
        rollout.change(store, model, lambda now: now.promote(version, by=by, reason=reason, detail={**said}))
        return Promotion(True, reason)
    report(Progress("rollout", message=f"loading version {version} on {len(serving)} model server(s)"))
    rollout.change(store, model, lambda now: now.preload(version))
    clients = [ServingClient(address) for address in serving]
    try:
        worst = max(_parity_when_available(client, store, manifest, deadline_s) for client in clients)
    except (NotServed, ServingFailed) as error:
        reason = str(error)
        rollout.change(store, model, lambda now: now.drop(version, by=by, reason=reason, detail={**said}))
        return Promotion(False, reason)
    finally:
        for client in clients:
            client.close()
    reason = f"available on {len(serving)} model server(s), golden answers within {golden.TOLERANCE:.0e}"
    rollout.change(
        store, model, lambda now: now.promote(version, by=by, reason=reason, detail={**said, "parity": worst})
    )
    return Promotion(True, reason, worst)


class NotServed(Exception):
    """A model server did not load the version, or answers otherwise than training did."""


def _parity_when_available(client: ServingClient, store: Store, manifest: Manifest, deadline_s: float) -> float:
    wait_available(client, manifest.model, manifest.version, deadline_s)
    difference = parity(client, store, manifest)
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
