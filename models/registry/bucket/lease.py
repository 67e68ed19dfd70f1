"""Locks between machines, on an object each; they end with the process that holds them, and compare no clocks.

Whoever holds one writes it anew every few seconds. Who waits for it takes it over once it has not changed for longer,
by a clock of its own. It spares two processes from doing the same; what must not go wrong is decided by conditional
writes.
"""

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.bucket.bucket import Bucket, Tag
from modelyard.models.registry.manifest import FrozenModel

RENEW_S, EXPIRY_S = 4.0, 16.0
POLL_S = 0.3


class LeaseRecord(FrozenModel):
    """Who holds a lease; empty if nobody does."""

    holder: str
    beat: int


@contextmanager
def hold_lease(
    bucket: Bucket, name: str, timeout_s: float, *, renew_s: float = RENEW_S, expiry_s: float = EXPIRY_S
) -> Iterator[None]:
    """Held by one process of all machines at a time.

    Raises:
        StorageFailed: another one holds it, or the bucket is away.
    """
    lease = _Lease(bucket, f".leases/{name}.json")
    lease.acquire(timeout_s, expiry_s)
    ended = threading.Event()
    renewing = threading.Thread(target=lease.renew, args=(ended, renew_s), name=f"lease {name}", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        lease.release()


class _Lease:
    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self._key, self._holder = bucket, key, secrets.token_hex(8)
        self._beat = 0
        self._tag: Tag | None = None

    def acquire(self, timeout_s: float, expiry_s: float) -> None:
        deadline, since = time.monotonic() + timeout_s, 0.0
        seen: Tag | None = None
        while True:
            found = self._bucket.read(self._key)
            if found is None:
                if self._write(None):
                    return
            elif not _parse_holder(found.data) or (found.tag == seen and time.monotonic() - since > expiry_s):
                if self._write(found.tag):
                    return
            elif found.tag != seen:
                seen, since = found.tag, time.monotonic()
            if time.monotonic() > deadline:
                name = self._key.rpartition("/")[2].removesuffix(".json")
                raise StorageFailed(f"storage: {name} is held by a process, here or on another machine")
            time.sleep(POLL_S)

    def renew(self, ended: threading.Event, renew_s: float) -> None:
        while not ended.wait(renew_s):
            with suppress(StorageFailed):  # the next time; who finds it unchanged for too long takes it over
                if not self._write(self._tag):
                    return

    def release(self) -> None:
        with suppress(StorageFailed):  # then it expires
            self._write(self._tag, holder="")

    def _write(self, tag: Tag | None, holder: str | None = None) -> bool:
        self._beat += 1
        content = LeaseRecord(holder=self._holder if holder is None else holder, beat=self._beat)
        data = content.model_dump_json().encode()
        written = self._bucket.create(self._key, data) if tag is None else self._bucket.replace(self._key, data, tag)
        self._tag = written or self._tag
        return written is not None


def _parse_holder(data: bytes) -> str:
    """Nobody holds what cannot be read."""
    try:
        return LeaseRecord.model_validate_json(data).holder
    except ValueError:
        return ""
