"""``modelyard doctor``: looks at everything the system needs, and says how to mend what is wrong."""

import importlib.metadata
import importlib.util
import platform
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx

from modelyard.models import backend
from modelyard.models.catalog import list_models
from modelyard.models.errors import ModelyardError
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.cli.processes import redis_server
from modelyard.services.cli.settings import ClientSettings

NEEDED = ("flask", "celery", "redis", "tensorflow-serving-api", "keras")
LEAST_FREE_GB = 5.0
INSTALL = "pip install 'modelyard[local]', or `make install` in a checkout"
START = "modelyard up"
DATA_FILES = ("mnist.npz", "aclImdb_v1.tar.gz")


@dataclass(frozen=True)
class Finding:
    """One thing looked at: fine, worth knowing, or wrong; and what to do about it."""

    level: Literal["ok", "note", "bad"]
    what: str
    mend: str = ""


def examine(home: Path, data_dir: Path, url: str) -> list[Finding]:
    """Everything, from the ground up."""
    return [
        *installed(),
        redis_binary(),
        disk(home),
        *store(home),
        *data(data_dir),
        *listening(url),
    ]


def installed() -> Iterator[Finding]:
    yield Finding("ok", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in NEEDED:
        try:
            yield Finding("ok", f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding("bad", f"{package} is not installed", INSTALL)
    found = backend.tensorflow_version()
    yield (Finding("ok", f"tensorflow {found}") if found else Finding("bad", "tensorflow is not installed", INSTALL))


def redis_binary() -> Finding:
    try:
        return Finding("ok", f"redis-server at {redis_server.find_server()}")
    except ModelyardError as error:
        return Finding("bad", "no redis-server", str(error))


def disk(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if free_gb < LEAST_FREE_GB:
        return Finding("bad", f"{free_gb:.1f} GB free at {existing}", f"make room: at least {LEAST_FREE_GB:.0f} GB")
    return Finding("ok", f"{free_gb:.0f} GB free at {existing}")


def store(home: Path) -> Iterator[Finding]:
    """The store can be written, every stable version is whole."""
    found = Store(home / "store")
    if not found.root.exists():
        yield Finding("note", f"no model store at {found.root} yet", START)
        return
    try:
        found.prepare()
        yield Finding("ok", f"model store {found.root} is writable")
        for model in found.models():
            stable = read_rollout(found, model).stable
            if stable is not None:
                manifest = found.verify(model, stable)
                yield Finding("ok", f"{model} version {stable} is whole ({manifest.data.name})")
    except ModelyardError as error:
        yield Finding("bad", str(error), "restore the file from a backup, or train a new version")


def data(folder: Path) -> Iterator[Finding]:
    for name in DATA_FILES:
        path = folder / name
        if path.exists():
            yield Finding("ok", f"{name} in {folder} ({path.stat().st_size / 1e6:.0f} MB)")
        else:
            yield Finding(
                "note",
                f"{name} is not in {folder}",
                "it is fetched when first needed; without a network set MODELYARD_DATA_DIR to a folder that holds it, "
                "else the shipped sample is used",
            )


def listening(url: str) -> Iterator[Finding]:
    """Who answers at the gateway's address, and whether it is ready."""
    headers = ClientSettings.load().headers
    try:
        asked = httpx.get(f"{url}/version", timeout=2, trust_env=False, headers=headers)
        version = asked.json()
        ready = httpx.get(f"{url}/readyz", timeout=5, trust_env=False, headers=headers)
    except httpx.ConnectError:
        yield Finding("note", f"nothing listens at {url}", START)
    except (httpx.HTTPError, ValueError):
        yield Finding("bad", f"something else than a gateway listens at {url}", "choose another port with --port")
    else:
        if asked.status_code == httpx.codes.UNAUTHORIZED:
            yield Finding("bad", f"a gateway at {url} wants a valid API key", "put one into MODELYARD_KEY")
            return
        yield Finding("ok", f"gateway {version.get('version')} at {url}")
        if ready.is_success:
            yield Finding("ok", "the gateway is ready")
        else:
            yield Finding(
                "bad", f"the gateway is not ready: {ready.text.strip()}", "see .modelyard/log/modelserver.log"
            )
    for name, port in (("model server", 8500),):
        if connects(urlsplit(url).hostname or "127.0.0.1", port):
            yield Finding("ok", f"port {port} ({name}) is open")
        else:
            yield Finding("note", f"nothing listens on port {port} ({name})", START)
    yield zoo()


def connects(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def zoo() -> Finding:
    return Finding("ok", f"trainable: {', '.join(list_models())}")
