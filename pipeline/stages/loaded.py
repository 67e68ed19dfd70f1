"""Whether model servers have loaded a version, and answer as the trained model did."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc

from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.serving_config import read_left_out
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.addresses import Server, list_servers
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.pipeline import golden
from modelyard.pipeline.golden import load_golden, max_difference

POLL_INTERVAL_S = 0.2
CALL_TIMEOUT_S = 10.0
OLD_ERROR_S = 10.0
"""How long an error that a model server reported before is not taken for its answer to the new configuration."""


class VersionNotServed(Exception):
    """A model server did not load the version, or its answers differ from training's."""


@contextmanager
def connect(servers: Sequence[Server], tls: TlsFiles | None) -> Iterator[list[ServingClient]]:
    """Clients of model servers, closed afterwards."""
    clients = [ServingClient(server, tls) for server in servers]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


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


def require_whole(store: Store, model: str, version: int) -> None:
    """Raises ``VersionNotServed`` if the version was left out of the configuration: its files were checked for that."""
    for each in read_left_out(store).versions:
        if (each.model, each.version) == (model, version):
            raise VersionNotServed(each.reason)


def check_answers(client: ServingClient, store: Store, manifest: Manifest, deadline_s: float, old_error: str) -> float:
    """Waits until a server has a version, and compares its answers with training's; returns the largest difference.

    Raises:
        VersionNotServed: it cannot load the version, takes longer than ``deadline_s``, or answers differently.
        ServingFailed: it does not answer.
    """
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
