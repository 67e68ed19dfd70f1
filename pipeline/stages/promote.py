"""Gives a published version a role, once every model server has loaded it and answers as the trained model did."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import grpc

from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.rollout import InvalidChange, Overtaken, Rollout, change_rollout
from modelyard.models.registry.serving_config import find_obstacle, read_left_out
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.addresses import Server, list_servers
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.pipeline import golden
from modelyard.pipeline.golden import load_golden, max_difference
from modelyard.pipeline.job import Promotion
from modelyard.pipeline.progress import Progress, Report

LOAD_TIMEOUT_S = 180.0
POLL_INTERVAL_S = 0.2
CALL_TIMEOUT_S = 10.0
OLD_ERROR_S = 10.0
"""How long an error that a model server reported before is not taken for its answer to the new configuration."""
CANARY_PERCENT = 10.0
"""Share of the requests for the canary that a job starts."""

RoleChange = Callable[[Rollout, str, dict[str, Any]], Rollout]
"""Gives the version its role: ``(rollout, reason, detail)`` -> the changed rollout."""


def promote(
    store: Store,
    manifest: Manifest,
    serving: Sequence[str],
    *,
    by: str,
    report: Report,
    why: str = "",
    deadline_s: float = LOAD_TIMEOUT_S,
    tls: TlsFiles | None = None,
) -> Promotion:
    """Makes the version stable, once it has passed the checks of ``give_role``."""

    def make_stable(now: Rollout, reason: str, detail: dict[str, Any]) -> Rollout:
        return now.promote(manifest.version, by=by, reason=reason, detail=detail)

    return give_role(
        store, manifest, serving, make_stable, by=by, report=report, why=why, deadline_s=deadline_s, tls=tls
    )


def start_canary(
    store: Store,
    manifest: Manifest,
    serving: Sequence[str],
    *,
    by: str,
    report: Report,
    percent: float = CANARY_PERCENT,
    tls: TlsFiles | None = None,
) -> Promotion:
    """Makes the version the canary, once it has passed the checks of ``give_role``."""
    canary = Canary(version=manifest.version, percent=percent, since=datetime.now(UTC))

    def make_canary(now: Rollout, reason: str, detail: dict[str, Any]) -> Rollout:
        return now.start_canary(canary, by=by, reason=reason, detail=detail)

    done = give_role(store, manifest, serving, make_canary, by=by, report=report, tls=tls)
    return replace(done, percent=percent if done.promoted else 0.0)


def give_role(
    store: Store,
    manifest: Manifest,
    serving: Sequence[str],
    edit: RoleChange,
    *,
    by: str,
    report: Report,
    why: str = "",
    deadline_s: float = LOAD_TIMEOUT_S,
    tls: TlsFiles | None = None,
) -> Promotion:
    """Loads the version beside the stable one, compares its answers with training's, and edits ``rollout.json``.

    A failure before that is recorded in the rollout's history, and changes nothing about who answers.

    Args:
        serving: addresses of every model server; without any, the version gets its role unchecked.
        edit: gives the version its role.
        by: who or what requested it, for the history.
        why: their reason, for the history.
        deadline_s: seconds for each model server to load the version.
        tls: files of the connections to them; None: they are plain.

    Raises:
        InvalidChange: the edit is not possible any more; the version is unloaded.
    """
    with store.lock(f"promote-{manifest.model}"):  # a second one would unload the version that this one preloaded
        return _give_role(store, manifest, serving, edit, by, report, {"why": why} if why else {}, deadline_s, tls)


def _give_role(
    store: Store,
    manifest: Manifest,
    serving: Sequence[str],
    edit: RoleChange,
    by: str,
    report: Report,
    detail: Mapping[str, Any],
    deadline_s: float,
    tls: TlsFiles | None,
) -> Promotion:
    model, version = manifest.model, manifest.version
    if not serving:
        if damage := find_obstacle(store, model, version):
            change_rollout(store, model, lambda now: now.reject(version, by=by, reason=damage, detail={**detail}))
            return Promotion(False, damage)
        reason = "no model server was given, so its answers were not compared"
        change_rollout(store, model, lambda now: edit(now, reason, {**detail}))
        return Promotion(True, reason)
    try:
        servers = find_servers(serving, deadline_s)
    except VersionNotServed as error:
        because = str(error)
        change_rollout(store, model, lambda now: now.reject(version, by=by, reason=because, detail={**detail}))
        return Promotion(False, because)
    report(Progress("rollout", message=f"loading version {version} on {len(servers)} model server(s)"))
    clients = [ServingClient(server, tls) for server in servers]
    old_errors = {client: find_error(client, model, version) for client in clients}
    change_rollout(store, model, lambda now: now.preload(version))
    try:
        _require_whole(store, model, version)
        worst = max(
            _parity_when_available(client, store, manifest, deadline_s, old_errors[client]) for client in clients
        )
        reason = f"available on {len(servers)} model server(s), golden answers within {golden.TOLERANCE:.0e}"
        change_rollout(store, model, lambda now: edit(now, reason, {**detail, "parity": worst}))
    except (VersionNotServed, ServingFailed, InvalidChange) as error:
        because = str(error)
        if isinstance(error, Overtaken):  # nothing speaks against the version
            change_rollout(store, model, lambda now: now.unload(version))
            raise
        change_rollout(store, model, lambda now: now.reject(version, by=by, reason=because, detail={**detail}))
        if isinstance(error, InvalidChange):
            raise
        return Promotion(False, because)
    finally:
        for client in clients:
            client.close()
    return Promotion(True, reason, worst)


class VersionNotServed(Exception):
    """A model server did not load the version, or its answers differ from training's."""


def find_servers(serving: Sequence[str], deadline_s: float) -> tuple[Server, ...]:
    """Every model server that is there; a name that stands for none is waited for.

    Raises:
        VersionNotServed: it stands for none at the deadline either.
    """
    deadline, cause = time.monotonic() + deadline_s, "no address"
    while True:
        try:
            if found := list_servers(serving):
                return found
        except OSError as error:
            cause = str(error)
        if time.monotonic() > deadline:
            raise VersionNotServed(f"no model server within {deadline_s:.0f} s: {', '.join(serving)}: {cause}")
        time.sleep(POLL_INTERVAL_S)


def _require_whole(store: Store, model: str, version: int) -> None:
    """Raises ``VersionNotServed`` if the version was left out of the configuration: its files were checked for that."""
    for each in read_left_out(store).versions:
        if (each.model, each.version) == (model, version):
            raise VersionNotServed(each.reason)


def _parity_when_available(
    client: ServingClient, store: Store, manifest: Manifest, deadline_s: float, old_error: str
) -> float:
    deadline = time.monotonic() + deadline_s
    while True:
        wait_until_available(client, manifest.model, manifest.version, deadline_s, old_error)
        try:
            difference = measure_parity(client, store, manifest)
            break
        except ServingFailed as error:
            # A version that has just lost a role may be unloaded by a configuration that is not the newest any more.
            if error.code is not grpc.StatusCode.NOT_FOUND or time.monotonic() > deadline:
                raise
        time.sleep(POLL_INTERVAL_S)
    if not difference <= golden.TOLERANCE:
        raise VersionNotServed(f"answers of {client.address} differ from training by {difference:.2g}")
    return difference


def find_error(client: ServingClient, model: str, version: int) -> str:
    """Why an earlier try to load the version failed; empty if none did, or the server does not answer."""
    try:
        _state(client, model, version)
    except VersionNotServed as error:
        return str(error)
    except ServingFailed:
        return ""
    return ""


def wait_until_available(
    client: ServingClient, model: str, version: int, deadline_s: float, old_error: str = ""
) -> None:
    """Returns when the server reports AVAILABLE.

    Args:
        old_error: what it said before it was told to load the version: until it has heard of that, it says so again.

    Raises:
        VersionNotServed: the load failed, or took longer than ``deadline_s``.
    """
    started = time.monotonic()
    deadline = started + deadline_s
    while True:
        try:
            state = _state(client, model, version)
            old_error = ""
        except VersionNotServed as error:
            if str(error) != old_error or time.monotonic() > min(started + OLD_ERROR_S, deadline):
                raise
            state = "END"
        if state == "AVAILABLE":
            return
        if time.monotonic() > deadline:
            raise VersionNotServed(
                f"{client.address} did not load version {version} within {deadline_s:.0f} s ({state})"
            )
        time.sleep(POLL_INTERVAL_S)


def _state(client: ServingClient, model: str, version: int) -> str:
    try:
        (found,) = client.status(model, timeout_s=CALL_TIMEOUT_S, version=version)
    except ServingFailed as error:
        if error.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return str(error)  # the server has not read its configuration yet, or is restarting
        raise
    if found.state == "END" and found.error_code != "OK":
        raise VersionNotServed(f"{client.address} cannot load version {version}: {found.error_message}")
    return found.state


def measure_parity(client: ServingClient, store: Store, manifest: Manifest) -> float:
    """Maximum absolute difference between served and golden answers, over all signatures that have such."""
    golden_arrays = load_golden(store.path(manifest.model, manifest.version))
    worst = 0.0
    for name, signature in manifest.signatures.items():
        if not golden.has_answers(golden_arrays, name):
            continue
        inputs = {tensor.name: golden_arrays[golden.input_key(name, tensor.name)] for tensor in signature.inputs}
        outputs = client.predict(manifest.model, manifest.version, name, inputs, timeout_s=CALL_TIMEOUT_S)
        expected = {tensor.name: golden.find_output(golden_arrays, name, tensor.name) for tensor in signature.outputs}
        worst = max(worst, *(max_difference(outputs[out], value) for out, value in expected.items()))
    return worst
