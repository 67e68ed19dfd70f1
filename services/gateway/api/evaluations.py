"""What evaluation knows of a version, or of a job that was rejected: where it errs, and how sure it is."""

from typing import Any

from flask import Blueprint
from pydantic import ConfigDict, Field, ValidationError

from modelyard.models.errors import CorruptData, UnknownName
from modelyard.models.registry.evaluations import read_evaluation, read_rejected
from modelyard.models.registry.store import Store, first_line
from modelyard.pipeline.results import CalibrationBin, Mistake
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.ledger import Ledger


class EvaluationRecord(Body):
    """On the test split. Rows of ``confusion`` are true labels, columns given ones; the worst mistake comes first."""

    model_config = ConfigDict(extra="ignore")  # the file of another release may have more

    labels: tuple[str, ...] = ()
    metrics: dict[str, float]
    examples: int
    per_class: dict[str, dict[str, float]] = Field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
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
        """Where a version errs: per class, confusion, calibration, its worst mistakes."""
        return read_of_version(store, model, version)

    @views.get("/api/jobs/<job_id>/evaluation")
    @json_view(errors=(404, 500))
    def get_job_evaluation(job_id: str) -> EvaluationRecord:
        """The same of a job's version, or of what its gate rejected."""
        job = ledger.jobs.get(job_id, current_principal().visible_models)
        if version := job.result.get("version"):
            return read_of_version(store, job.model, version)
        if job.state != "rejected":
            raise UnknownName(f"{job_id} has no evaluation: it is {job.state}")
        return parse(read_rejected(store, job.model, job_id))

    return views


def read_of_version(store: Store, model: str, version: int) -> EvaluationRecord:
    """The evaluation of a version in the store."""
    labels = store.manifest(model, version).labels
    return parse(read_evaluation(store, model, version), labels=labels)


def parse(content: bytes, **known: Any) -> EvaluationRecord:
    """A file's evaluation; raises ``CorruptData`` if it is none."""
    try:
        found = EvaluationRecord.model_validate_json(content)
    except ValidationError as error:
        raise CorruptData(f"the evaluation is damaged: {first_line(error)}") from error
    return found.model_copy(update=known)
