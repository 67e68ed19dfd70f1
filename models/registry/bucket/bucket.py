"""Objects of a bucket: read, written on a condition, listed, deleted.

Every answer that may have been lost is looked up: a conditional write whose connection broke, or that a retry found
done, counts as made if the object has the very content that was written. So contents of conditional writes are unique.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from modelyard.models.registry.bucket.faults import BucketFailed, check_process, describe_fault, is_refusal
from modelyard.models.registry.bucket.location import Location

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 3, 10
"""For a connection, and for each part of an answer."""
REQUEST_TIMEOUT_S, TRANSFER_TIMEOUT_S = 10, 86_400
"""For one request; the second for files, which may be large."""
RETRIES, RETRY_TIMEOUT_S = 5, 8
"""Of the library, for one call: on 5xx, and on broken connections where nothing can have been changed."""
ATTEMPTS, PAUSE_S = 3, 0.2
"""Of ours, where something can have been changed. All in all a person waits half a minute for a bucket that is away."""
PARTS = 4
"""Of one file that are uploaded at a time, 5 MB each."""
CHUNK_BYTES = 1 << 20

ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
"""The library's own variables, which it reads only where it is given no timeouts."""

Tag = dict[str, Any]
"""What the bucket calls one content of an object: an ETag, or a generation."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Content:
    """What an object holds, and the tag by which a write is made conditional on it."""

    data: bytes
    tag: Tag
    modified: datetime
    """By the bucket's clock."""


@dataclass(frozen=True)
class Listed:
    """An object in a list. A list may be older than the objects."""

    key: str
    tag: str


class Bucket:
    """A bucket's objects below a prefix; keys are relative to it. Connects at its first call, and not before a fork.

    Every method raises ``BucketFailed``, a ``StorageFailed``, when the bucket refuses, cannot be reached, or does not
    answer in time.
    """

    def __init__(self, location: Location, store: "ObjectStore | None" = None) -> None:
        """``store`` is one of obstore's, in place of what the location names."""
        self.location = location
        self.library = store

    # --- what is read -------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Content | None:
        """An object; None if there is none."""
        import obstore

        def get() -> Content | None:
            try:
                found = obstore.get(self._control, key)
                return Content(bytes(found.bytes()), _make_tag(found.meta), found.meta["last_modified"])
            except FileNotFoundError as error:
                self._require_bucket(error)
                return None

        return self._repeat(get)

    def stream(self, key: str) -> Iterator[bytes]:
        """The parts of an object. Raises ``FileNotFoundError`` if there is none."""
        import obstore

        found = self._call(lambda: obstore.get(self._transfers, key))
        parts = iter(found.stream(min_chunk_size=CHUNK_BYTES))
        while (part := self._call(lambda: next(parts, None))) is not None:
            yield bytes(part)

    def list(self, prefix: str) -> Iterator[Listed]:
        """The objects whose keys begin with ``prefix``, which ends with a slash."""
        import obstore

        def get_all() -> list[Any]:
            try:
                return [each for batch in obstore.list(self._control, prefix) for each in batch]
            except FileNotFoundError as error:
                self._require_bucket(error)
                return []

        for each in self._call(get_all):
            yield Listed(each["path"], f"{each['e_tag']} {each['version']}")

    # --- what is written ----------------------------------------------------------------------------------------------

    def create(self, key: str, data: bytes) -> Tag | None:
        """Writes an object that must not exist; None if there is another one."""
        return self._write_if(key, data, "create", lambda found: found is None)

    def replace(self, key: str, data: bytes, tag: Tag) -> Tag | None:
        """Writes an object that must still have this tag; None if it has another one, or is gone."""
        return self._write_if(key, data, tag, lambda found: found is not None and found.tag == tag)

    def _write_if(self, key: str, data: bytes, mode: Any, can_still: Callable[[Content | None], bool]) -> Tag | None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        check_process()
        cause: Exception | None = None
        for attempt in range(ATTEMPTS):
            time.sleep(attempt * PAUSE_S * random.uniform(0.5, 1.5) if attempt else 0)
            try:
                return _make_tag(obstore.put(self._control, key, data, mode=mode, use_multipart=False))
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                cause = error
            except BaseError as error:
                cause = error
                if is_refusal(error):
                    break
            found = self.read(key)
            if found is not None and found.data == data:
                return found.tag  # it was made, and its answer was lost
            if not can_still(found):
                return None
        assert cause
        raise self._translate(cause) from cause

    def upload(self, key: str, path: Path) -> None:
        """Writes an object from a file, whatever is there."""
        import obstore

        self._repeat(lambda: obstore.put(self._transfers, key, path, max_concurrency=PARTS))

    def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects; those that are gone do not matter."""
        import obstore

        def delete() -> None:
            try:
                obstore.delete(self._control, list(keys))
            except FileNotFoundError as error:
                self._require_bucket(error)

        if keys:
            self._repeat(delete)

    # --- the library --------------------------------------------------------------------------------------------------

    @cached_property
    def _control(self) -> "ObjectStore":
        return self._open(REQUEST_TIMEOUT_S)

    @cached_property
    def _transfers(self) -> "ObjectStore":
        return self._open(TRANSFER_TIMEOUT_S)

    def _open(self, timeout_s: float) -> "ObjectStore":
        """Raises ``BucketFailed`` if the library refuses what the environment says."""
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        if self.library is not None:
            return self.library
        try:
            return from_url(
                self.location.url,
                client_options={
                    "timeout": timedelta(seconds=timeout_s),
                    "read_timeout": timedelta(seconds=READ_TIMEOUT_S),
                    "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
                    "allow_http": os.environ.get(ALLOW_HTTP[self.location.scheme], "").lower() in ("1", "true", "yes"),
                },
                retry_config={
                    "max_retries": RETRIES,
                    "retry_timeout": timedelta(seconds=RETRY_TIMEOUT_S),
                    "backoff": {
                        "init_backoff": timedelta(milliseconds=100),
                        "max_backoff": timedelta(seconds=3),
                        "base": 2,
                    },
                },
            )
        except (BaseError, ValueError) as error:
            raise self._translate(error) from error

    def _call(self, request: Callable[[], Result]) -> Result:
        from obstore.exceptions import BaseError

        check_process()
        try:
            return request()
        except BaseError as error:
            raise self._translate(error) from error

    def _repeat(self, request: Callable[[], Result]) -> Result:
        """For what may be done twice: the library does not repeat what broke off in the middle."""
        from obstore.exceptions import BaseError

        check_process()
        attempt = 1
        while True:
            try:
                return request()
            except BaseError as error:
                if is_refusal(error) or attempt == ATTEMPTS:
                    raise self._translate(error) from error
            time.sleep(attempt * PAUSE_S)
            attempt += 1

    def _require_bucket(self, error: FileNotFoundError) -> None:
        if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
            raise BucketFailed(f"object store {self.location}: there is no such bucket") from None

    def _translate(self, error: Exception) -> BucketFailed:
        return BucketFailed(f"object store {self.location}: {describe_fault(error)}")


def _make_tag(found: Mapping[str, Any]) -> Tag:
    return {name: found[name] for name in ("e_tag", "version") if found[name] is not None}
