"""Data: a file already there, else a download that can go on where it stopped, else the sample, with a message."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from modelyard.models.data import Dataset, RemoteFile, Split, Splits
from modelyard.models.errors import CorruptData, DataUnavailable
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.stages.data import download_file, hash_splits, load_dataset

CONTENT = bytes(range(256)) * 10_000
NOWHERE = "http://127.0.0.1:9/never"


class Origin(http.server.ThreadingHTTPServer):
    """Serves ``CONTENT`` with ranges; the first ``cut`` answers stop in the middle."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut = 0
        self.ranges = True
        self.starts: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        self.server.starts.append(start)
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        if self.server.cut:
            self.server.cut -= 1
            self.wfile.write(CONTENT[start : start + 1_000_000])
            return
        self.wfile.write(CONTENT[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def reports() -> list[Progress]:
    return []


def splits(x: bytes = b"abc") -> Splits:
    part = Split(np.frombuffer(x, np.uint8), np.zeros(len(x), np.int32))
    return Splits(part, part, part)


def read(folder: Path) -> Splits:
    if (folder / "file.bin").read_bytes() != CONTENT:
        raise CorruptData("file.bin: not what was published")
    return splits()


def dataset(*urls: str) -> Dataset:
    return Dataset(
        name="bytes",
        homepage="",
        read=read,
        files=(RemoteFile("file.bin", urls),),
        sample=lambda: splits(b"sample"),
        sample_name="few bytes",
    )


def test_a_missing_file_is_fetched_and_read(origin: Origin, tmp_path: Path, reports: list[Progress]) -> None:
    """The download reports megabytes and leaves no partial file."""
    loaded = load_dataset(dataset(origin.url), "require-real", tmp_path / "data", reports.append)
    assert (loaded.name, loaded.source) == ("bytes", "real")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["file.bin"]
    assert any("2.6 of 2.6 MB" in progress.message for progress in reports)


def test_a_file_that_is_there_is_used_without_a_network(tmp_path: Path, reports: list[Progress]) -> None:
    """Nothing is requested."""
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert load_dataset(dataset(NOWHERE), "require-real", tmp_path, reports.append).source == "real"


def test_a_broken_download_goes_on_where_it_stopped(origin: Origin, tmp_path: Path, reports: list[Progress]) -> None:
    """Only the rest is requested from the second source, and the content is whole."""
    origin.cut = 1
    load_dataset(dataset(origin.url, origin.url), "require-real", tmp_path, reports.append)
    assert origin.starts == [0, 1_000_000]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_source_without_ranges_starts_again(origin: Origin, tmp_path: Path, reports: list[Progress]) -> None:
    """A server that ignores Range sends the whole file; nothing is appended to the old part."""
    (tmp_path / "file.bin.part").write_bytes(b"old")
    origin.ranges = False
    load_dataset(dataset(origin.url), "require-real", tmp_path, reports.append)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_without_a_source_the_sample_is_used_and_reported(tmp_path: Path, reports: list[Progress]) -> None:
    """The report names what is missing, why, and what is used instead."""
    loaded = load_dataset(dataset(NOWHERE), "auto", tmp_path, reports.append)
    assert (loaded.name, loaded.source) == ("few bytes", "sample")
    assert "file.bin is not in" in reports[-1].message
    assert "using the shipped sample 'few bytes'" in reports[-1].message


def test_require_real_refuses_the_sample(tmp_path: Path, reports: list[Progress]) -> None:
    """The error names the file, the folder and every source's reason."""
    with pytest.raises(DataUnavailable, match=r"file\.bin is not in .* cannot be fetched \(127\.0\.0\.1"):
        load_dataset(dataset(NOWHERE), "require-real", tmp_path, reports.append)


def test_the_sample_can_be_requested(origin: Origin, tmp_path: Path, reports: list[Progress]) -> None:
    """Nothing is fetched then."""
    assert load_dataset(dataset(origin.url), "sample", tmp_path, reports.append).source == "sample"
    assert origin.starts == []


def test_a_corrupt_file_stops_the_run_and_is_not_deleted(tmp_path: Path, reports: list[Progress]) -> None:
    """A file that somebody put there is not deleted; the error says what to do. There is no silent sample."""
    (tmp_path / "file.bin").write_bytes(b"garbage")
    with pytest.raises(CorruptData, match="Delete the file"):
        load_dataset(dataset(NOWHERE), "auto", tmp_path, reports.append)
    assert (tmp_path / "file.bin").exists()


def test_a_corrupt_download_is_not_kept(tmp_path: Path, origin: Origin, reports: list[Progress]) -> None:
    """What was fetched and is not the published content does not stay under its name."""
    wrong = Dataset("bytes", "", read=_never_right, files=(RemoteFile("file.bin", (origin.url,)),))
    with pytest.raises(CorruptData):
        load_dataset(wrong, "auto", tmp_path, reports.append)
    assert not (tmp_path / "file.bin").exists()


def _never_right(_: Path) -> Splits:
    raise CorruptData("not what was published")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, origin: Origin, reports: list[Progress]) -> None:
    """A file in the folder's place."""
    (tmp_path / "data").write_text("")
    with pytest.raises(DataUnavailable, match="cannot write"):
        load_dataset(dataset(origin.url), "require-real", tmp_path / "data", reports.append)


def test_an_error_status_is_a_reason(origin: Origin, tmp_path: Path) -> None:
    """A part longer than the file: the server refuses the range; the part goes, and the next try starts anew."""
    part = tmp_path / "file.bin.part"
    part.write_bytes(CONTENT + b"more")
    with pytest.raises(httpx.HTTPStatusError):
        list(download_file(origin.url, part))
    assert not part.exists()


def test_the_fingerprint_depends_on_every_example() -> None:
    """Another value, another split, another unlabelled text: another fingerprint; equal data: an equal one."""
    one = splits()
    more = Splits(one.train, one.validation, one.test, unlabelled=np.array(["text"], dtype=object))
    found = {hash_splits(each) for each in (one, splits(b"abd"), more)}
    assert len(found) == 3
    assert hash_splits(splits()) in found
