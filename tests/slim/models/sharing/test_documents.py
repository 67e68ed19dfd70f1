"""Files that are changed in the bucket: who loses every race, or meets an outage, keeps nothing of its own change."""

from collections.abc import Callable
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.bucket.bucket import Bucket, Tag
from modelyard.models.registry.bucket.location import parse_location
from modelyard.models.registry.sharing.documents import MAX_TRIES, change_in_place

KEY = ".index/half_plus/history.jsonl"
LINE = b"of this machine\n"


class Crowded(Bucket):
    """Before so many writes of ours another machine does something; then it is away, if told so."""

    def __init__(self, others: Callable[[Bucket, int], None], times: int = MAX_TRIES) -> None:
        super().__init__(parse_location("s3://memory/store"), MemoryStore())
        self.quiet = Bucket(self.location, self.library)
        self.writes, self._others, self._times = 0, others, times

    def create(self, key: str, data: bytes) -> Tag | None:
        self._disturb()
        return super().create(key, data)

    def replace(self, key: str, data: bytes, tag: Tag) -> Tag | None:
        self._disturb()
        return super().replace(key, data, tag)

    def _disturb(self) -> None:
        self.writes += 1
        if self.writes <= self._times:
            self._others(self.quiet, self.writes)


def add_line(bucket: Bucket, number: int) -> None:
    """Another machine is quicker."""
    found, line = bucket.read(KEY), f"of others {number}\n".encode()
    if found is None:
        assert bucket.create(KEY, line)
    else:
        assert bucket.replace(KEY, found.data + line, found.tag)


def fail(_bucket: Bucket, _number: int) -> None:
    raise StorageFailed("object store: it cannot be reached")


def append(path: Path) -> Callable[[], None]:
    def change() -> None:
        path.write_bytes((path.read_bytes() if path.exists() else b"") + LINE)

    return change


def test_who_loses_every_race_has_what_the_bucket_has(tmp_path: Path) -> None:
    """The last winner's content, and not a line of this machine."""
    path, bucket = tmp_path / "history.jsonl", Crowded(add_line)
    bucket.quiet.create(KEY, b"first\n")
    with pytest.raises(StorageFailed, match="being changed by others"):
        change_in_place(bucket, KEY, path, append(path))
    found = bucket.read(KEY)
    assert found
    assert bucket.writes == MAX_TRIES
    assert path.read_bytes() == found.data
    assert LINE not in found.data


def test_who_loses_some_races_makes_its_change_once(tmp_path: Path) -> None:
    path, bucket = tmp_path / "history.jsonl", Crowded(add_line, times=3)
    change_in_place(bucket, KEY, path, append(path))
    found = bucket.read(KEY)
    assert found
    assert path.read_bytes() == found.data == b"of others 1\nof others 2\nof others 3\n" + LINE


def test_a_document_that_others_delete_meanwhile_gets_the_change_once(tmp_path: Path) -> None:
    """From what this machine had before, and not from its own first try."""
    path, bucket = tmp_path / "batching.json", Crowded(lambda quiet, _: quiet.delete([KEY]), times=1)
    bucket.quiet.create(KEY, b"first\n")
    path.write_bytes(b"first\n")
    change_in_place(bucket, KEY, path, append(path))
    found = bucket.read(KEY)
    assert found
    assert path.read_bytes() == found.data == b"first\n" + LINE


@pytest.mark.parametrize("own", [None, b"kept here\n"])
@pytest.mark.parametrize("shared", [None, b"first\n"])
def test_an_outage_in_the_middle_leaves_nothing_of_the_change(
    tmp_path: Path, own: bytes | None, shared: bytes | None
) -> None:
    """The bucket's content; where it has none, the file of before, or none."""
    path, bucket = tmp_path / "history.jsonl", Crowded(fail)
    if own is not None:
        path.write_bytes(own)
    if shared is not None:
        bucket.quiet.create(KEY, shared)
    with pytest.raises(StorageFailed, match="cannot be reached"):
        change_in_place(bucket, KEY, path, append(path))
    assert (path.read_bytes() if path.exists() else None) == (own if shared is None else shared)


def test_a_change_that_fails_in_the_middle_leaves_nothing_either(tmp_path: Path) -> None:
    """Such as on a full disk."""
    path, bucket = tmp_path / "history.jsonl", Crowded(add_line)
    bucket.quiet.create(KEY, b"first\n")

    def change() -> None:
        path.write_bytes(b"torn")
        raise StorageFailed("storage: No space left on device")

    with pytest.raises(StorageFailed, match="No space"):
        change_in_place(bucket, KEY, path, change)
    assert path.read_bytes() == b"first\n"
    assert bucket.writes == 0
