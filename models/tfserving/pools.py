"""Pools of model servers: each model is in one of them, and only its servers load it.

The default pool is always there. Others are named by settings, such as ``gpu``. Each may state its memory.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from modelyard.models.errors import UnknownName, describe_unknown
from modelyard.models.tfserving.addresses import is_name, split_name
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.models.types import DEFAULT_POOL, POOL_PATTERN

EXAMPLE = '{"gpu": "gpu-1:8500,gpu-2:8500"}'
UNITS: Mapping[str, int] = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
"""Of sizes, as container engines take them."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmgt])i?b?", re.IGNORECASE)

Addresses = tuple[str, ...]


class UnknownPool(UnknownName):
    """A pool that no setting names."""

    status = 400


@dataclass(frozen=True)
class ServingPools:
    """Every pool: the addresses of its model servers, and the memory that they have for models."""

    addresses: Mapping[str, Addresses]
    """By pool, the default one among them; ``host:port``, ``unix:/path`` or ``dns:host:port``."""
    memory: Mapping[str, int] = field(default_factory=dict)
    """Bytes that each server of a pool has for models; a pool that is not in here takes what comes."""
    tls: TlsFiles | None = None
    """Files of the connections to all of them; None: they are plain."""

    @classmethod
    def of(
        cls,
        default: Sequence[str],
        named: Mapping[str, Addresses] | None = None,
        memory: Mapping[str, int] | None = None,
        tls: TlsFiles | None = None,
    ) -> "ServingPools":
        """The default pool with these servers, and the named ones."""
        return cls({DEFAULT_POOL: tuple(default), **(named or {})}, memory or {}, tls)

    def find(self, pool: str) -> Addresses:
        """The servers of a pool; raises ``UnknownPool``, with the names that are close."""
        self.require(pool)
        return self.addresses[pool]

    def require(self, pool: str) -> None:
        """Raises ``UnknownPool`` for a pool that is not there, with the names that are close."""
        if pool not in self.addresses:
            raise UnknownPool(describe_unknown("pool", pool, self.addresses))

    def require_named(self, pool: str) -> None:
        """As ``require``, of what a spec names: nothing, or anything where there is the default pool alone."""
        if pool and not self.is_single:
            self.require(pool)

    @property
    def is_single(self) -> bool:
        """Whether there is the default pool alone; then names of pools mean nothing: every model is in that one."""
        return len(self.addresses) == 1


def parse_pools(value: object) -> object:
    """Addresses by pool, from JSON or a table of the project's file; each as a list or separated by commas.

    Raises:
        ValueError: it is no such object, a name cannot be one, or a pool has no servers.
    """
    given = _parse_object(value) if isinstance(value, str) else value
    if not isinstance(given, Mapping):
        raise ValueError(f"expected an object such as {EXAMPLE}, received {str(value)[:80]!r}")  # noqa: TRY004  # pydantic's
    return {str(name): _read_addresses(str(name), listed) for name, listed in given.items()}


def _parse_object(text: str) -> Any:
    if not text.strip():
        return {}
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError(f"expected JSON such as {EXAMPLE}, received {text[:80]!r}") from None


def _read_addresses(name: str, listed: object) -> Addresses:
    if not re.fullmatch(POOL_PATTERN, name):
        raise ValueError(f"expected names of lower-case letters, digits and hyphens, received {name[:40]!r}")
    if name == DEFAULT_POOL:
        raise ValueError(f"the servers of the pool {DEFAULT_POOL} are those of MODELYARD_SERVING")
    parts = listed.split(",") if isinstance(listed, str) else listed
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{name}: expected addresses, received {str(listed)[:80]!r}")
    found = tuple(part.strip() for part in parts if part.strip())
    if not found:
        raise ValueError(f"{name}: expected at least one address, received none")
    for address in filter(is_name, found):
        split_name(address)
    return found


def parse_sizes(value: object) -> object:
    """Bytes by pool from ``default=2g,gpu=15g``; a table of the project's file has the same sizes as texts.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, str):
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        value = {name.strip(): size for name, _, size in pairs}
    if not isinstance(value, Mapping):
        raise ValueError(f"expected sizes such as default=2g,gpu=15g, received {str(value)[:80]!r}")  # noqa: TRY004
    return {str(name): _read_size(str(name), size) for name, size in value.items()}


def _read_size(name: str, size: object) -> int:
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    match = _SIZE.fullmatch(str(size).strip())
    if match is None or not float(match[1]):
        raise ValueError(f"{name}: expected a size such as 2g or 512m, received {str(size)[:40]!r}")
    return int(float(match[1]) * UNITS[match[2].lower()])


def check_sizes(sizes: Mapping[str, int], pools: Mapping[str, Addresses]) -> Mapping[str, int]:
    """The sizes, each of a pool that there is; raises ``ValueError`` for another one."""
    for name in sizes:
        if name != DEFAULT_POOL and name not in pools:
            raise ValueError(describe_unknown("pool", name, [DEFAULT_POOL, *pools]))
    return sizes
