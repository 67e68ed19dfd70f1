"""Imports a model that was trained elsewhere: as a version like any other, but for its training.

``import_model`` takes plain values and callbacks. It computes nothing itself: a process of its own does.
"""

import hashlib
import importlib.metadata
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from modelyard.models import backend
from modelyard.models.catalog import list_models, read_catalog
from modelyard.models.errors import StorageFailed
from modelyard.models.metrics import METRICS
from modelyard.models.registry import reference
from modelyard.models.registry.manifest import ImportRecord, Manifest, TestRecord, Verdict
from modelyard.models.registry.pools.size import measure_size
from modelyard.models.registry.rollout import change_rollout, read_rollout
from modelyard.models.registry.storage_errors import translate_storage_errors
from modelyard.models.registry.store import NAME, STAGING, Store
from modelyard.models.spec import Gate
from modelyard.models.tfserving.pools import ServingPools
from modelyard.pipeline.errors import ImportRefused
from modelyard.pipeline.job import Promotion, Published, Rejected
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.stages.gate import Champion, judge
from modelyard.pipeline.stages.imported.check import Checked, CheckRequest, check_model
from modelyard.pipeline.stages.imported.source import Source, copy_files, find_source
from modelyard.pipeline.stages.promote import CANARY_PERCENT, promote, start_canary
from modelyard.pipeline.stages.publish import EVALUATION, describe_environment

STAGED = "import"
"""In the names of folders that imports work in."""

RELEASE = importlib.metadata.version("modelyard")


@dataclass(frozen=True, kw_only=True)
class ImportJob:
    """Request for one import."""

    model: str
    path: Path
    """A SavedModel's folder, or a ``.keras`` file."""
    by: str
    labels: tuple[str, ...] = ()
    """Names of the classes, in order."""
    test: Path | None = None
    """Test data (``stages/imported/examples.py``)."""
    target: str = "y"
    """Its column with the truth."""
    signature: str | None = None
    """The one to measure; ``serving_default``, or the only one, if not given."""
    output: str | None = None
    """The output that predicts, where several would do."""
    percent: float = CANARY_PERCENT
    """Share of the requests, if another version answers already."""
    manual: bool = False
    """Whether a person gives it its role."""
    pool: str = ""
    """The pool of model servers for it; empty: where the model is, or the default pool."""


@translate_storage_errors()
def import_model(
    job: ImportJob, store: Store, pools: ServingPools, forks: ForkServer, report: Report
) -> Published | Rejected:
    """Checks, measures, publishes and rolls out a model.

    Args:
        pools: addresses of every model server; those of the model's pool must give its golden answers.
        forks: where it is loaded.

    Raises:
        ModelyardError: it cannot be imported; nothing is published, and nothing is left.
    """
    check_request(job, store)
    pools.require_named(job.pool)
    source = find_source(job.path)
    store.prepare()
    with lock_import(store, job.model), store.staging(job.model, STAGED) as staged, make_work_folder() as work:
        report(Progress("import", message=f"reading {source.path}"))
        files = copy_files(source, staged, report)
        checked = check_model(make_request(job, source, store, staged, work), work, forks, report)
        verdict = judge_import(checked, store, job.model)
        report(Progress("gate", message="; ".join(verdict.reasons)))
        if not verdict.accepted:
            return Rejected(verdict, checked.evaluation.metrics if checked.evaluation else {})
        report(Progress("publish", message="sealing the version"))
        manifest = publish_import(job, source, files, checked, verdict, store, staged)
    reason = f"{source.form} {source.path}"
    change_rollout(store, job.model, lambda now: now.note_import(manifest.version, by=job.by, reason=reason))
    return roll_out(manifest, job, store, pools, report)


def check_request(job: ImportJob, store: Store) -> None:
    """Raises ``ImportRefused`` for a name, labels or a file that cannot be used."""
    if not NAME.fullmatch(job.model):
        raise ImportRefused(
            f"NAME: expected a lower-case letter, then at most 63 letters, digits or _, received {job.model[:64]!r}"
        )
    catalog = read_catalog(store.root)
    if job.model in list_models() or (catalog and job.model in catalog.trainable):
        raise ImportRefused(f"{job.model} is a model that is trained here; import under another name")
    if len(set(job.labels)) < len(job.labels) or not all(job.labels):
        raise ImportRefused(f"--labels: expected each name once, and none empty, received {', '.join(job.labels)}")
    if len(job.labels) == 1:
        raise ImportRefused(f"--labels: expected at least two names, received {job.labels[0]}")
    if job.test and not job.test.is_file():
        raise ImportRefused(f"--test: expected a file, received {job.test}, which is none")


@contextmanager
def lock_import(store: Store, model: str) -> Iterator[None]:
    """One import of a model at a time: what an earlier one left, that was killed, is deleted. No empty folder stays."""
    with store.lock(f"import-{model}"):
        for left in store.folder(model).glob(f"{STAGING}{STAGED}-*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            yield
        finally:
            with suppress(OSError):  # it has versions
                store.folder(model).rmdir()


@contextmanager
def make_work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="modelyard-import-") as folder:
        yield Path(folder)


def make_request(job: ImportJob, source: Source, store: Store, staged: Path, work: Path) -> CheckRequest:
    stable = read_rollout(store, job.model).stable
    imported = stable is not None and store.manifest(job.model, stable).imported
    return CheckRequest(
        model=job.model,
        staged=str(staged),
        keras=str(source.path) if source.form == "Keras" else None,
        tensorflow=backend.tensorflow_version() or "",
        labels=job.labels,
        signature=job.signature,
        output=job.output,
        test=str(job.test.resolve()) if job.test else None,
        target=job.target,
        champion=str(store.path(job.model, stable)) if imported and stable else None,
        result=str(work / "checked.json"),
    )


def judge_import(checked: Checked, store: Store, model: str) -> Verdict:
    """The gate's decision: better than the simplest answer, and not worse than the serving version.

    Without test data there is nothing to compare: the version is accepted, and the record says so.
    """
    stable = read_rollout(store, model).stable
    notes = (*checked.notes, *compare_signatures(checked, store, model, stable))
    if checked.evaluation is None or checked.metric is None:
        reason = "no test data was given: nothing was measured"
        return Verdict(
            accepted=True, reasons=(reason, *notes), metric=None, value=None, champion=None, champion_value=None
        )
    champion = None if checked.champion is None or stable is None else Champion(stable, checked.champion, "real")
    verdict = judge(
        Gate(checked.metric),
        "real",
        checked.evaluation.metrics[checked.metric],
        champion,
        direction=METRICS[checked.task][checked.metric],
        simplest=checked.simplest,
    )
    return verdict.model_copy(update={"reasons": (*verdict.reasons, *notes)})


def compare_signatures(checked: Checked, store: Store, model: str, stable: int | None) -> Iterator[str]:
    """Says where clients of the serving version will meet something else."""
    if stable is None:
        return
    known = store.manifest(model, stable)
    if known.imported is None:
        yield f"version {stable}, which serves, was trained here and is not compared"
    changed = sorted(name for name, spec in known.signatures.items() if checked.signatures.get(name) != spec)
    if changed:
        yield f"{', '.join(changed)} of version {stable} takes or returns something else, or is not there"


def publish_import(
    job: ImportJob,
    source: Source,
    files: dict[str, str],
    checked: Checked,
    verdict: Verdict,
    store: Store,
    staged: Path,
) -> Manifest:
    """Writes what was measured, then the manifest, and gives the version its number."""
    evaluation = checked.evaluation
    if evaluation:
        (staged / EVALUATION).write_text(evaluation.model_dump_json(indent=1, exclude={"reference"}))
        (staged / reference.FILE).write_text(evaluation.reference.model_dump_json(indent=1))
    record = ImportRecord(
        path=str(source.path),
        form=source.form,
        files=files,
        tensorflow=checked.tensorflow,
        test=make_test_record(job.test, evaluation.examples) if job.test and evaluation else None,
    )
    environment = describe_environment("cpu", RELEASE, computes=False)

    def seal(version: int, sealed: dict[str, str]) -> Manifest:
        return Manifest(
            model=job.model,
            version=version,
            task=checked.task,
            summary=f"imported from {source.path.name}",
            created_at=datetime.now(UTC),
            input=None,
            labels=job.labels,
            probabilities=checked.probabilities,
            signatures=checked.signatures,
            example=checked.example,
            data=None,
            recipe=None,
            training=None,
            imported=record,
            batches=checked.batches,
            metrics=evaluation.metrics if evaluation else {},
            baseline=None,
            verdict=verdict,
            environment=environment,
            pool=job.pool,
            size=measure_size(staged),
            files=sealed,
        )

    return store.publish(staged, seal)


def make_test_record(path: Path, examples: int) -> TestRecord:
    with path.open("rb") as file:
        return TestRecord(name=path.name, sha256=hashlib.file_digest(file, "sha256").hexdigest(), examples=examples)


def roll_out(manifest: Manifest, job: ImportJob, store: Store, pools: ServingPools, report: Report) -> Published:
    """Stable if it is the first, else the canary. A disk error does not undo the publication."""
    if job.manual:
        return Published(manifest, Promotion(False, "left for a person to promote"))
    try:
        with translate_storage_errors():
            if read_rollout(store, job.model).stable is None:
                done = promote(store, manifest, pools, by=job.by, report=report)
            else:
                done = start_canary(store, manifest, pools, by=job.by, report=report, percent=job.percent)
            return Published(manifest, done)
    except StorageFailed as error:
        return Published(manifest, Promotion(False, str(error)))
