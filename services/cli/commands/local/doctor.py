"""``modelyard doctor``: checks everything that the system needs, and says how to fix problems."""

import importlib.metadata
import importlib.util
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelyard.client import Client, ModelyardClientError, Unauthenticated, Unavailable, Unreachable
from modelyard.models import backend
from modelyard.models.catalog import read_catalog
from modelyard.models.errors import ModelyardError
from modelyard.models.registry.pools.capacity import list_loaded
from modelyard.models.registry.pools.size import MB
from modelyard.models.registry.rollout import read_wanted
from modelyard.models.registry.serving_config import Entry, find_damage
from modelyard.models.registry.store import Store
from modelyard.models.sources.files import Sources, find_models
from modelyard.models.sources.pool_settings import PoolSettings
from modelyard.models.sources.project import ModelSettings
from modelyard.models.tfserving.addresses import can_connect
from modelyard.models.types import DEFAULT_POOL
from modelyard.services.cli.commands.local.connections import check_connections
from modelyard.services.cli.commands.local.finding import Finding
from modelyard.services.cli.gateway import connect
from modelyard.services.cli.processes import redis_server
from modelyard.services.cli.settings import open_home_store
from modelyard.services.cli.up_lock import read_ports

REQUIRED_PACKAGES = ("flask", "celery", "redis", "tensorflow-serving-api", "keras")
MIN_FREE_GB = 5.0
PROBE_S = 5.0
INSTALL = "pip install 'modelyard[local]', or `make install` in a checkout"
START = "modelyard up"
SERVING_PORT = 8500
"""Of a model server that was not started by `modelyard up`."""
RESTORE = "restore the file from a backup, or train a new version; the next start leaves it out until then"
DATA_FILES = ("mnist.npz", "aclImdb_v1.tar.gz")


def check_system(home: Path, data_dir: Path, url: str, key_file: Path | None = None) -> list[Finding]:
    """Runs all checks."""
    ports = read_ports(home)
    return [
        *check_packages(),
        check_redis(),
        check_disk(home),
        *check_store(home),
        *check_pools(home),
        *check_data(data_dir),
        *check_connections(),
        *check_gateway(url, key_file, ports.model_server if ports else SERVING_PORT),
        *check_models(home),
    ]


def check_packages() -> Iterator[Finding]:
    yield Finding("ok", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in REQUIRED_PACKAGES:
        try:
            yield Finding("ok", f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding("bad", f"{package} is not installed", INSTALL)
    found = backend.tensorflow_version()
    yield (Finding("ok", f"tensorflow {found}") if found else Finding("bad", "tensorflow is not installed", INSTALL))


def check_redis() -> Finding:
    try:
        found = redis_server.find_server()
    except ModelyardError as error:
        return Finding("bad", "no redis-server", str(error))
    if found.warning:
        return Finding("note", found.warning, redis_server.INSTALL)
    return Finding("ok", str(found))


def check_disk(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if free_gb < MIN_FREE_GB:
        return Finding("bad", f"{free_gb:.1f} GB free at {existing}", f"free some space: at least {MIN_FREE_GB:.0f} GB")
    return Finding("ok", f"{free_gb:.0f} GB free at {existing}")


def check_store(home: Path) -> Iterator[Finding]:
    """Checks that the store is writable and every version with a role complete."""
    found = open_home_store(home)
    if not found.root.exists():
        yield Finding("note", f"no model store at {found.root} yet", START)
        return
    try:
        found.prepare()
        yield Finding("ok", f"model store {found.root} is writable")
    except ModelyardError as error:
        yield Finding("bad", str(error))
        return
    for model, entry in read_wanted(found).items():
        yield from check_versions(found, model, entry)


def check_versions(store: Store, model: str, entry: Entry) -> Iterator[Finding]:
    """Checks the files of every version that model servers are to load: damage of one would end TensorFlow Serving."""
    if entry.fault:
        yield Finding("bad", entry.fault, RESTORE)
    for version in entry.versions:
        damage = find_damage(store, model, version)
        if damage:
            yield Finding("bad", damage, RESTORE)
        else:
            data = store.manifest(model, version).data
            yield Finding("ok", f"{model} version {version} is complete ({data.name if data else 'imported'})")


def check_pools(home: Path) -> Iterator[Finding]:
    """Where each model runs, whether that pool is known and can be reached, and what its models take."""
    settings, found = PoolSettings.load(), open_home_store(home)
    placed: dict[str, list[str]] = {pool: [] for pool in (DEFAULT_POOL, *settings.serving_pools)}
    for model, entry in read_wanted(found).items():
        if entry.versions and entry.pools[0] not in placed:
            move = f"add it to MODELYARD_SERVING_POOLS, or `modelyard move {model} {DEFAULT_POOL}`"
            yield Finding("bad", f"{model} is in the pool {entry.pools[0]}, which no setting names", move)
        elif entry.versions:
            placed[entry.pools[0]].append(model)
    for pool, addresses in settings.serving_pools.items():
        if not any(map(can_connect, addresses)):
            yield Finding("bad", f"no model server of the pool {pool} can be reached: {', '.join(addresses)}")
    for pool, models in placed.items() if settings.serving_pools or settings.pool_memory else ():
        taken, limit = sum(each.memory for each in list_loaded(found, pool)), settings.pool_memory.get(pool)
        memory = f"{taken:,} MB taken" + ("" if limit is None else f" of {limit // MB:,}")
        is_full = limit is not None and taken > limit // MB
        remedy = "move a model to another pool, or give it more: MODELYARD_POOL_MEMORY" if is_full else ""
        yield Finding("bad" if is_full else "ok", f"pool {pool}: {memory}: {', '.join(models) or 'no model'}", remedy)


def check_data(folder: Path) -> Iterator[Finding]:
    for name in DATA_FILES:
        path = folder / name
        if path.exists():
            yield Finding("ok", f"{name} in {folder} ({path.stat().st_size / 1e6:.0f} MB)")
        else:
            yield Finding(
                "note",
                f"{name} is not in {folder}",
                "it is downloaded when first needed; without a network set MODELYARD_DATA_DIR to a folder that has it, "
                "else the shipped sample is used",
            )


def check_gateway(url: str, key_file: Path | None = None, serving_port: int = SERVING_PORT) -> Iterator[Finding]:
    """Checks what listens at the gateway's address, and whether it is ready."""
    client = connect(url, key_file).limited(timeout=PROBE_S)
    try:
        version = client.call("GET", "/version")
        ready = read_readiness(client)
    except Unreachable:
        yield Finding("note", f"nothing listens at {url}", START)
    except Unauthenticated:
        yield Finding("bad", f"a gateway at {url} requires a valid API key", "put one into MODELYARD_API_KEY")
        return
    except ModelyardClientError:
        yield Finding("bad", f"something other than a gateway listens at {url}", "choose another port with --port")
    else:
        yield Finding("ok", f"gateway {version.get('version')} at {url}")
        yield from describe_readiness(ready)
    if not serving_port:
        yield Finding("ok", "the model server has no gRPC port of its own")
    elif can_connect(f"{urlsplit(url).hostname or '127.0.0.1'}:{serving_port}"):
        yield Finding("ok", f"port {serving_port} (model server) is open")
    else:
        yield Finding("note", f"nothing listens on port {serving_port} (model server)", START)


def read_readiness(client: Client) -> dict[str, Any]:
    """The body of ``/readyz``, which is an error where the gateway is not ready."""
    try:
        found = client.call("GET", "/readyz")
    except Unavailable as error:
        found = error.body or {"reasons": [str(error)]}
    return found if isinstance(found, dict) else {}


def describe_readiness(ready: dict[str, Any]) -> Iterator[Finding]:
    """Why the gateway is not ready, and what else is wrong."""
    if ready.get("ready"):
        yield Finding("ok", "the gateway is ready")
    else:
        reasons = "; ".join(map(str, ready.get("reasons", ())))
        yield Finding(
            "bad", f"the gateway is not ready: {reasons}", "see .modelyard/log/gateway.log, and modelserver.log"
        )
    for detail in ready.get("details", ()):
        yield Finding("bad", str(detail), "start one: `modelyard up`, or `docker compose up -d trainer`")


def check_models(home: Path) -> Iterator[Finding]:
    """Lists the model files; those that cannot be used with the reason, as far as a trainer has tried them."""
    found, listed = find_models(Sources(ModelSettings.load().models)), read_catalog(home / "store")
    faults = {**(listed.broken if listed else {}), **found.faults}
    yield Finding("ok", f"trainable: {', '.join(name for name in found.files if name not in faults) or 'none'}")
    for error in faults.values():
        yield Finding("bad", error)
