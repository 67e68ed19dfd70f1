"""How a version comes into a bucket, and goes: one record for each number, changed by conditional writes alone.

``.index/<model>/versions/<N>.json`` is created by whoever takes the number. Its files are then written below
``<model>/<N>/``, read back and compared with the manifest; one conditional write of the record makes all of them a
version. Until then they are nothing, and whoever gives the upload up does so by a conditional write of the same record:
only one of the two can be the first.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from modelyard.models.errors import CorruptData, StorageFailed, Superseded
from modelyard.models.registry.bucket.bucket import Bucket, Tag
from modelyard.models.registry.manifest import MAX_VERSION, FrozenModel

INDEX = ".index"
"""What followers read: records, rollouts and other small files."""
JOBS = ".jobs"
"""By job: its last attempt that may publish, and the number which that has taken."""
MAX_UPLOAD = timedelta(days=1)
"""After which an upload that has not become a version is given up, by the bucket's clock."""

State = Literal["uploading", "published", "abandoned", "removed"]


class VersionRecord(FrozenModel):
    """Who has a number, and what has become of it. It stays when the version is removed: no number is used twice."""

    format: Literal[1] = 1
    state: State
    upload: str
    """Drawn at random by whoever took the number."""
    job: str | None = None
    attempt: int = 1
    since: datetime
    """By the publisher's clock, for people; nothing is decided by it."""
    manifest: str | None = None
    """SHA-256 of the manifest, once it is published."""


class JobRecord(FrozenModel):
    """The attempt of a job that may publish, and its number."""

    attempt: int
    version: Annotated[int, Field(ge=1)] | None = None
    upload: str | None = None


class Held(NamedTuple):
    """A record, with the tag that makes a change conditional on it."""

    record: VersionRecord
    tag: Tag
    modified: datetime
    """By the bucket's clock; of a record that was just written, by this one's."""


def record_key(model: str, version: int) -> str:
    return f"{INDEX}/{model}/versions/{version}.json"


def file_key(model: str, version: int, file: str) -> str:
    return f"{model}/{version}/{file}"


def read_version_record(bucket: Bucket, model: str, version: int) -> Held | None:
    """None if nobody has the number. Raises ``CorruptData``."""
    found = bucket.read(record_key(model, version))
    if found is None:
        return None
    try:
        return Held(VersionRecord.model_validate_json(found.data), found.tag, found.modified)
    except ValueError:
        raise CorruptData(f"the bucket's record of {model} version {version} is damaged") from None


def change_record(bucket: Bucket, model: str, version: int, held: Held, changed: VersionRecord) -> bool:
    """False if somebody else has changed it."""
    return bucket.replace(record_key(model, version), changed.model_dump_json().encode(), held.tag) is not None


def take_number(bucket: Bucket, model: str, upload: str, job: str | None, attempt: int, above: int) -> tuple[int, Held]:
    """The lowest free number above one that is taken, or 0. Every number below it is taken, too.

    Raises:
        StorageFailed: no number is left.
    """
    record = VersionRecord(state="uploading", upload=upload, job=job, attempt=attempt, since=datetime.now(UTC))
    for number in range(above + 1, MAX_VERSION + 1):
        if (tag := bucket.create(record_key(model, number), record.model_dump_json().encode())) is not None:
            return number, Held(record, tag, record.since)
    raise StorageFailed(f"{model} has no number left")


def list_numbers(bucket: Bucket, model: str) -> Iterator[int]:
    """The numbers that are taken, as far as a list knows."""
    for each in bucket.list(f"{INDEX}/{model}/versions/"):
        name = each.key.rpartition("/")[2].removesuffix(".json")
        if name.isascii() and name.isdecimal():
            yield int(name)


# --- jobs -------------------------------------------------------------------------------------------------------------


def read_job(bucket: Bucket, model: str, job: str) -> tuple[JobRecord, Tag] | None:
    """The record of a job; None if no attempt has tried to publish."""
    found = bucket.read(f"{JOBS}/{model}/{job}.json")
    return (JobRecord.model_validate_json(found.data), found.tag) if found else None


def change_job(
    bucket: Bucket, model: str, job: str, attempt: int, version: int | None, upload: str | None
) -> JobRecord:
    """Records that this attempt may publish. Returns what was recorded before, if anything.

    With a version, the upload of an earlier attempt is given up first: the record never leaves one that was published.

    Raises:
        Superseded: a later attempt is recorded, or an earlier one has published.
    """
    key = f"{JOBS}/{model}/{job}.json"
    while True:
        known = read_job(bucket, model, job)
        before = known[0] if known else JobRecord(attempt=0)
        if attempt < before.attempt:
            raise Superseded(f"another attempt of {job} has taken over")
        if version is not None and before.upload != upload:
            _give_up_earlier(bucket, model, job, before)
        changed = JobRecord(attempt=attempt, version=version, upload=upload) if version else None
        changed = changed or before.model_copy(update={"attempt": attempt})
        if changed == before:
            return before
        content = changed.model_dump_json().encode()
        if (bucket.replace(key, content, known[1]) if known else bucket.create(key, content)) is not None:
            return before


def _give_up_earlier(bucket: Bucket, model: str, job: str, before: JobRecord) -> None:
    """Raises ``Superseded`` if it is a version by now."""
    if before.version is None or abandon(bucket, model, before.version):
        return
    held = read_version_record(bucket, model, before.version)
    if held and held.record.upload == before.upload:
        raise Superseded(f"an earlier attempt of {job} has published version {before.version}")


def supersede_attempts(bucket: Bucket, model: str, job: str, attempt: int) -> None:
    """Forbids earlier attempts of a job to publish: those that have not by now never will."""
    before = change_job(bucket, model, job, attempt, None, None)
    if before.version is not None and before.attempt < attempt:
        abandon(bucket, model, before.version)


def abandon(bucket: Bucket, model: str, version: int) -> bool:
    """Gives an upload up, unless it is a version by now; whether it was given up."""
    while (held := read_version_record(bucket, model, version)) and held.record.state == "uploading":
        if change_record(bucket, model, version, held, held.record.model_copy(update={"state": "abandoned"})):
            return True
    return held is not None and held.record.state == "abandoned"
