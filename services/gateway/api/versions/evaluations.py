"""What evaluation knows of a version, or of a job that was rejected: where it errs, and how sure it is."""

from collections.abc import Iterator
from typing import Any

from flask import Blueprint
from pydantic import ConfigDict, Field, ValidationError

from modelyard.models.errors import CorruptData, UnknownName
from modelyard.models.registry import evaluations
from modelyard.models.registry.store import Store, first_line
from modelyard.pipeline.results import CalibrationBin, ClassCurves, Comparison, ConfusedPair, Mistake, Residuals
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.ledger import Job, Ledger, State


class EvaluationRecord(Body):
    """On the test split. Rows of ``confusion`` are true labels, columns given ones; the worst mistake comes first."""

    model_config = ConfigDict(extra="ignore")  # the file of another release may have more

    labels: tuple[str, ...] = ()
    metrics: dict[str, float]
    examples: int
    per_class: dict[str, dict[str, float]] = Field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()
    confused: tuple[ConfusedPair, ...] = ()
    wrong: int | None = None
    calibration: tuple[CalibrationBin, ...] = ()
    curves: dict[str, ClassCurves] = Field(default_factory=dict)
    residuals: dict[str, Residuals] = Field(default_factory=dict)
    champion: Comparison | None = None
    mistakes: tuple[Mistake, ...] = ()
    latency_ms: dict[str, float] = Field(default_factory=dict)
    golden_difference: float
    recent: dict[str, float] = Field(default_factory=dict)


def routes(store: Store, ledger: Ledger) -> Blueprint:
    """The views of evaluations."""
    views = Blueprint("evaluations", __name__)

    @views.get("/api/models/<model>/versions/<version:version>/evaluation")
    @json_view(errors=(404, 500))
    def get_evaluation(model: str, version: int) -> EvaluationRecord:
        """Where a version errs: per class, confusion, curves, calibration, its worst mistakes."""
        return read_of_version(store, model, version)

    @views.get("/api/jobs/<job_id>/evaluation")
    @json_view(errors=(404, 500))
    def get_job_evaluation(job_id: str) -> EvaluationRecord:
        """The same of a job's version, or of what its gate rejected."""
        job, version = find_evaluated(ledger, job_id)
        return read_of_version(store, job.model, version) if version else read_of_rejected(store, job)

    return views


def find_evaluated(ledger: Ledger, job_id: str) -> tuple[Job, int | None]:
    """A job, and the version that it published; raises ``UnknownName`` for one that measured nothing."""
    job = ledger.jobs.get(job_id, current_principal().visible_models)
    version = job.result.get("version")
    if not version and job.state != State.REJECTED:
        raise UnknownName(f"{job_id} has no evaluation: it is {job.state}")
    return job, version


def read_of_version(store: Store, model: str, version: int) -> EvaluationRecord:
    """The evaluation of a version in the store."""
    labels = store.manifest(model, version).labels
    return parse(evaluations.read_evaluation(store, model, version), labels=labels)


def read_of_rejected(store: Store, job: Job) -> EvaluationRecord:
    return parse(evaluations.read_rejected(store, job.model, job.id))


def parse(content: bytes, **known: Any) -> EvaluationRecord:
    """A file's evaluation; raises ``CorruptData`` if it is none."""
    try:
        found = EvaluationRecord.model_validate_json(content).model_copy(update=known)
    except ValidationError as error:
        raise CorruptData(f"the evaluation is damaged: {first_line(error)}") from error
    return complete(found)


def complete(found: EvaluationRecord) -> EvaluationRecord:
    """With what follows from the rest, and older releases did not write."""
    for values in found.per_class.values():
        if "recall" in values and "f1" not in values:
            both = values["precision"] + values["recall"]
            values["f1"] = 2 * values["precision"] * values["recall"] / both if both else 0.0
    if found.wrong is not None or not found.confusion:
        return found
    pairs = sorted(list_pairs(found), key=lambda pair: -pair.count)
    return found.model_copy(update={"confused": tuple(pairs), "wrong": sum(pair.count for pair in pairs)})


def list_pairs(found: EvaluationRecord) -> Iterator[ConfusedPair]:
    """The cells of a confusion beside its diagonal."""
    for expected, row in zip(found.labels, found.confusion, strict=False):
        for received, count in zip(found.labels, row, strict=False):
            if count and expected != received:
                yield ConfusedPair(expected=expected, received=received, count=count)
