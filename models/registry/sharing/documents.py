"""Small files of the store that a bucket holds for all: rollouts, their histories, plans, the catalog.

``<root>/<path>`` is ``.index/<path>`` in the bucket. The bucket's is the one that counts; folders follow.
"""

import re
from collections.abc import Callable
from pathlib import Path

from modelyard.models.registry.bucket.bucket import Bucket, Content
from modelyard.models.registry.bucket.faults import BucketFailed
from modelyard.models.registry.bucket.versions import INDEX
from modelyard.models.registry.store import IsMade, replace_file

FOLLOWED = re.compile(
    r"catalog\.json"
    r"|[a-z][a-z0-9_]{0,63}/(history\.jsonl|batching\.json|records/[0-9]{1,16}\.json|\.rejected/[A-Za-z0-9_-]{1,80}(\.mistakes)?\.jsonl?)"
)
"""Paths that folders follow as they are; rollouts wait for their versions."""
ROLLOUT = re.compile(r"([a-z][a-z0-9_]{0,63})/rollout\.json")
MAX_TRIES = 20
"""How often a change is made anew because others were quicker."""


def document_key(root: Path, path: Path) -> str:
    return f"{INDEX}/{path.relative_to(root).as_posix()}"


def change_document(bucket: Bucket, key: str, edit: Callable[[bytes | None], bytes], is_made: IsMade) -> bytes:
    """Reads, edits and writes a document; again if another process was quicker. Returns what it holds then.

    Args:
        edit: the new content from the present one; may be called several times.
        is_made: whether ``(now, before, ours)`` say that our write was made, and its answer was lost.

    Raises:
        BucketFailed: the bucket is away, or others were quicker each time.
    """
    for _ in range(MAX_TRIES):
        found = bucket.read(key)
        before = found.data if found else None
        content = edit(before)
        if content == before:
            return content
        if _write(bucket, key, found, content):
            return content
        if (now := bucket.read(key)) and is_made(now.data, before, content):
            return now.data
    raise _make_contended(bucket, key)


def change_in_place(bucket: Bucket, key: str, path: Path, change: Callable[[], None]) -> None:
    """Changes a file by what changes it on disk, from the bucket's content on; the file follows.

    Raises:
        BucketFailed: as ``change_document``. After this and any other error the file is as the bucket had it when it
            was last read, and as it was before where the bucket has none.
    """
    own = _read_file(path)
    known = own
    try:
        for _ in range(MAX_TRIES):
            found = bucket.read(key)
            before = found.data if found else None
            known = own if found is None else before
            _restore(path, known)  # a change of an earlier try is not made twice
            change()
            content = _read_file(path)
            if content is None or content == before or _write(bucket, key, found, content):
                return
        found = bucket.read(key)
        known = found.data if found else own
        raise _make_contended(bucket, key)
    except Exception:
        _restore(path, known)
        raise


def _read_file(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _restore(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        follow(path, content)


def _write(bucket: Bucket, key: str, found: Content | None, content: bytes) -> bool:
    """False if the document is not as it was found."""
    done = bucket.create(key, content) if found is None else bucket.replace(key, content, found.tag)
    return done is not None


def _make_contended(bucket: Bucket, key: str) -> BucketFailed:
    return BucketFailed(f"object store {bucket.location}: {key} is being changed by others all the time; try again")


def follow(path: Path, content: bytes) -> None:
    """Makes a file what the bucket has; one that it has already stays untouched, as its readers watch it."""
    if not path.exists() or path.read_bytes() != content:
        replace_file(path, content)
