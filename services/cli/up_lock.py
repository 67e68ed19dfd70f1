"""The lock that ``modelyard up`` holds on its folder, and the ports that stand in it. Light."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from modelyard.models.errors import ModelyardError

LOCK = ".up.lock"
MAX_CHARS = 200


class AlreadyUp(ModelyardError):
    """Another `modelyard up` runs on the same folder."""


class Ports(NamedTuple):
    """Where a system listens on loopback. Never a host: whoever writes the file must not learn a caller's API key."""

    gateway: int
    model_server: int
    """0 for none."""


@contextmanager
def hold_lock(home: Path, ports: Ports) -> Iterator[None]:
    """Holds the lock of ``home``, which ends with this process, and tells others the ports.

    Raises:
        AlreadyUp: another process holds it.
    """
    with (home / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUp(f"the system in {home} is already up; stop it first, or choose another --home") from None
        _write(lock, json.dumps(ports._asdict()))
        try:
            yield
        finally:
            _write(lock, "")


def _write(lock: IO[str], text: str) -> None:
    lock.truncate(0)
    lock.write(text)
    lock.flush()


def is_up(home: Path) -> bool:
    """Whether a process holds the lock that ``modelyard up`` holds."""
    try:
        lock = os.open(home / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def read_ports(home: Path) -> Ports | None:
    """The ports of the ``modelyard up`` that runs on this folder; None if none does, or it does not say."""
    try:
        with (home / LOCK).open() as lock:
            found = json.loads(lock.read(MAX_CHARS))
        ports = Ports(int(found["gateway"]), int(found["model_server"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return ports if is_up(home) else None
