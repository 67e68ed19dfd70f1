"""A gateway whose log has no room for another line, or no reader."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx
import pytest

from modelyard.models.registry.store import Store
from tests.slim.gateway.test_process import PREDICT
from tests.support.fakes import FakeModelServer
from tests.support.http import WITHOUT_TLS
from tests.support.ports import held_port
from tests.support.processes import WAIT_S
from tests.support.repository import ROOT
from tests.support.slim_programs import COMMAND
from tests.support.waiting import wait_until


@contextmanager
def open_full() -> Iterator[IO[bytes]]:
    with Path("/dev/full").open("wb") as file:
        yield file


@contextmanager
def open_unread() -> Iterator[IO[bytes]]:
    """A pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as file:
        yield file


@contextmanager
def gateway(log: IO[bytes], **settings: object) -> Iterator[httpx.Client]:
    with held_port() as port:
        variables = {f"MODELYARD_{name.upper()}": str(value) for name, value in {"port": port, **settings}.items()}
        process = subprocess.Popen(COMMAND, env=os.environ | variables, cwd=ROOT, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, **WITHOUT_TLS) as client:
                wait_until(lambda: is_answering(client), WAIT_S, "the gateway")
                yield client
        finally:
            process.kill()
            process.wait()


def is_answering(client: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("/healthz").is_success
    return False


@pytest.mark.parametrize("open_log", [open_full, open_unread])
def test_every_request_is_answered_as_if_it_had_been_logged(
    filled: Store, server: FakeModelServer, open_log: Callable[[], AbstractContextManager[IO[bytes]]]
) -> None:
    """Predictions, views in threads, unknown routes, refusals: each with its own status."""
    with open_log() as log, gateway(log, store=filled.root, serving=server.address) as client:
        for _ in range(3):
            assert client.post(PREDICT, json={"instances": [[1.0]]}).status_code == 200
            assert client.post(PREDICT, content=b"{").status_code == 400
            assert client.get("/api/models").status_code == 200
            assert client.get("/no/such/route").status_code == 404
            assert client.delete("/api/models").status_code == 405
            assert client.get("/readyz").status_code == 200
