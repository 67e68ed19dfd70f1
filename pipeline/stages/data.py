"""Loads a dataset: from files on disk, else from a download, else the sample that ships with the project."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx

from modelyard.models.data import Dataset, RemoteFile, Splits, list_arrays
from modelyard.models.errors import CorruptData, DataUnavailable, paths_as_written
from modelyard.models.types import Array, Source
from modelyard.pipeline.job_options import DataPolicy
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.results import LoadedDataset

TIMEOUT = httpx.Timeout(connect=5, read=30, write=5, pool=5)
REPORT_INTERVAL_BYTES = 1 << 20


def load_dataset(dataset: Dataset, policy: DataPolicy, folder: Path, report: Report) -> LoadedDataset:
    """Reads ``dataset`` from ``folder``, and fetches missing files.

    Raises:
        DataUnavailable: the real files are not available and ``policy`` forbids the sample.
        CorruptData: a file's content is not the published one.
    """
    if dataset.own:
        report(Progress("data", message=f"reading {dataset.name}"))
        with paths_as_written(folder):
            found = _loaded(dataset.name, "real", dataset.read(folder))
        for note in found.splits.notes:
            report(Progress("data", message=note))
        return found
    if not dataset.files:
        report(Progress("data", message=f"reading {dataset.name}"))
        return _loaded(dataset.name, "real" if dataset.own else "generated", dataset.read(folder))
    if policy == "sample":
        return _sample(dataset, "requested")
    try:
        fetched = [fetch_file(file, folder, report) for file in dataset.files]
    except DataUnavailable as error:
        if policy == "require-real" or dataset.sample is None:
            raise
        report(Progress("data", message=f"{error}; using the shipped sample {dataset.sample_name!r} instead"))
        return _sample(dataset, str(error))
    report(Progress("data", message=f"reading {dataset.name}"))
    try:
        return _loaded(dataset.name, "real", dataset.read(folder))
    except CorruptData as error:
        for file, new in zip(dataset.files, fetched, strict=True):
            if new:  # never keep a damaged download in the published file's place
                (folder / file.name).unlink(missing_ok=True)
        raise CorruptData(f"{error}. Delete the file in {folder} to fetch it again, or use --data sample") from error


def fetch_file(file: RemoteFile, folder: Path, report: Report) -> bool:
    """Makes sure that ``folder/file.name`` exists; True if it was downloaded now.

    A broken download is resumed where it stopped, from this source or the next.

    Raises:
        DataUnavailable: no source has it; the text has each one's reason.
    """
    target = folder / file.name
    if target.exists():
        return False
    reasons = []
    for url in file.urls:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f"{file.name}.part"
            for done, total in download_file(url, partial):
                report(_download_progress(file.name, done, total))
            partial.replace(target)
        except httpx.HTTPError as error:
            reasons.append(f"{httpx.URL(url).host}: {error or type(error).__name__}")
        except OSError as error:
            raise DataUnavailable(f"cannot write {file.name} to {folder}: {error.strerror}") from error
        else:
            return True
    raise DataUnavailable(f"{file.name} is not in {folder} and cannot be fetched ({'; '.join(reasons)})")


def download_file(url: str, partial: Path) -> Iterator[tuple[int, int | None]]:
    """Streams ``url`` into ``partial``, from where an earlier attempt stopped; yields (bytes done, total).

    Raises:
        httpx.HTTPError: no connection, a timeout, an error status, or fewer bytes than announced.
    """
    done = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with httpx.stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.unlink()  # another file by now, or complete: start again next time
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            done = 0
        length = response.headers.get("content-length")
        total = done + int(length) if length else None
        with partial.open("r+b" if done else "wb") as out:
            out.seek(done)
            for chunk in response.iter_raw():  # written as it arrives, so that nothing received is lost
                out.write(chunk)
                done += len(chunk)
                if done // REPORT_INTERVAL_BYTES > (done - len(chunk)) // REPORT_INTERVAL_BYTES:
                    yield done, total
    yield done, total
    if total is not None and done != total:
        raise httpx.ReadError(f"connection closed after {done} of {total} bytes")


def _download_progress(name: str, done: int, total: int | None) -> Progress:
    megabytes = f"{done / 1e6:.1f}" + (f" of {total / 1e6:.1f}" if total else "")
    steps = total // REPORT_INTERVAL_BYTES + 1 if total else None
    return Progress(
        "data", message=f"downloading {name}: {megabytes} MB", step=done // REPORT_INTERVAL_BYTES, steps=steps
    )


def _sample(dataset: Dataset, why: str) -> LoadedDataset:
    if dataset.sample is None:
        raise DataUnavailable(f"{dataset.name} has no sample ({why})")
    return _loaded(dataset.sample_name, "sample", dataset.sample())


def _loaded(name: str, source: Source, splits: Splits) -> LoadedDataset:
    return LoadedDataset(name, source, hash_splits(splits), splits)


def hash_splits(splits: Splits) -> str:
    """SHA-256 over inputs and targets of train, validation and test, and over the unlabelled inputs."""
    total = hashlib.sha256()
    for split in (splits.train, splits.validation, splits.test):
        for array in (*list_arrays(split.x), split.y):
            _hash_array(total, array)
    if splits.unlabelled is not None:
        _hash_array(total, splits.unlabelled)
    return total.hexdigest()


def _hash_array(total: "hashlib._Hash", array: Array) -> None:
    total.update(f"{array.dtype}{array.shape}".encode())
    if array.dtype == object:
        for text in array:
            total.update(hashlib.sha256(text.encode()).digest())
    else:
        total.update(array.tobytes())
