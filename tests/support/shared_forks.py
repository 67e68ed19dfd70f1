"""One fork server for all of pytest's processes: each of its own would import Keras once more.

A ``conftest.py`` calls ``share_forks`` as it is configured, and imports the fixture.
"""

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from modelyard.pipeline.processes.forkserver import ForkServer

ADDRESS = "forks_address"
"""Where a process of pytest finds, among what it was given, the socket that hands out the server's channel."""


class Handing:
    """The server, and a socket that hands its channel to whoever connects: of the process that hands out tests."""

    def __init__(self) -> None:
        with ExitStack() as opened:
            self.folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="forks-")))
            self.address = str(self.folder / "channel")
            self.server = opened.enter_context(start_server())
            self.listener = opened.enter_context(socket.socket(socket.AF_UNIX))
            self.listener.bind(self.address)
            self.listener.listen()
            self.opened = opened.pop_all()
        threading.Thread(target=self.hand, daemon=True).start()

    def hand(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # it is closed
                return
            with connection:
                socket.send_fds(connection, [b"channel"], [self.server.channel.fileno()])

    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[ADDRESS] = self.address

    def pytest_unconfigure(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.opened.close()


def start_server() -> ForkServer:
    """Its hash seed is another one than this process has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1")
        return ForkServer()


def share_forks(config: pytest.Config) -> None:
    """Where tests are handed out to other processes, one server is for all of them."""
    if config.getoption("dist", "no") != "no":
        config.pluginmanager.register(Handing())


def receive_channel(address: str) -> socket.socket:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.connect(address)
        _, (descriptor,), _, _ = socket.recv_fds(connection, 16, 1)
    return socket.socket(fileno=descriptor)


@pytest.fixture(scope="session")
def forks(request: pytest.FixtureRequest) -> Iterator[ForkServer]:
    """What workers and commands, export and evaluation are forked from."""
    address = getattr(request.config, "workerinput", {}).get(ADDRESS)
    with ForkServer(channel=receive_channel(address)) if address else start_server() as server:
        yield server
