"""Views of what is known of jobs beside their state."""

from collections.abc import Sequence

from flask import Blueprint, Response, request

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import CorruptData, ModelyardError, UnknownName
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api.job_history.comparison import JobComparison, compare
from modelyard.services.gateway.api.job_history.curves import KINDS, JobCurves, read_curves
from modelyard.services.gateway.api.job_history.recipes import JobRecipe, read_recipe
from modelyard.services.gateway.api.job_history.tables import write_curves, write_table
from modelyard.services.gateway.api.jobs import job_response
from modelyard.services.gateway.api.versions.evaluations import EvaluationRecord, read_of_rejected, read_of_version
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.operation import Operation, Parameter, describe_view, json_view
from modelyard.services.ledger import Job, Ledger

MAX_COMPARED = 50
"""Jobs in one comparison."""
CSV = "text/csv"
IDS = Parameter(
    "id",
    "query",
    f"The jobs, each with a parameter of its own; at most {MAX_COMPARED}.",
    {"type": "array", "items": {"type": "string", "pattern": "^job-[0-9a-f]{16}$"}, "maxItems": MAX_COMPARED},
)


class InvalidComparison(ModelyardError):
    """Too many jobs, or none."""

    status = 400


def routes(store: Store, ledger: Ledger) -> Blueprint:
    """The views of curves, recipes and comparisons."""
    views = Blueprint("job_history", __name__)

    @views.get("/api/jobs/<job_id>/curves")
    @json_view(errors=(404,))
    def get_job_curves(job_id: str) -> JobCurves:
        """Loss, metrics and learning rate of a job by epoch, and within the epoch while it trains."""
        return list_curves(ledger, find_job(ledger, job_id))

    @views.get("/api/jobs/<job_id>/recipe")
    @json_view(errors=(404,))
    def get_job_recipe(job_id: str) -> JobRecipe:
        """The whole recipe of a job; what differs from its defaults comes first."""
        return read_recipe(find_job(ledger, job_id), read_catalog(store.root))

    @views.get("/api/jobs/compare")
    @json_view(parameters=(IDS,), errors=(404,))
    def compare_jobs() -> JobComparison:
        """Several jobs: only what differs, the best and last of each metric, their curves, bands over seeds."""
        return make_comparison(store, ledger, find_jobs(ledger))

    @views.get("/api/jobs/compare.csv")
    @describe_view(
        Operation(
            "The same comparison as a table: one line for each job.",
            {200: {CSV: None}},
            parameters=(IDS,),
            errors=(404,),
        )
    )
    def export_comparison() -> Response:
        return make_file(write_table(make_comparison(store, ledger, find_jobs(ledger))), "jobs.csv")

    @views.get("/api/jobs/curves.csv")
    @describe_view(
        Operation(
            "Curves of several jobs: one line for each value.", {200: {CSV: None}}, parameters=(IDS,), errors=(404,)
        )
    )
    def export_curves() -> Response:
        return make_file(write_curves([list_curves(ledger, job) for job in find_jobs(ledger)]), "curves.csv")

    return views


def find_job(ledger: Ledger, job_id: str) -> Job:
    """A job that the principal may see."""
    return ledger.jobs.get(job_id, current_principal().visible_models)


def find_jobs(ledger: Ledger) -> Sequence[Job]:
    """Those that the request names, each once; raises ``InvalidComparison`` and ``UnknownName``."""
    ids = list(dict.fromkeys(request.args.getlist(IDS.name)))
    if not 1 <= len(ids) <= MAX_COMPARED:
        raise InvalidComparison(f"id: expected 1 to {MAX_COMPARED} jobs, received {len(ids)}")
    return [find_job(ledger, job_id) for job_id in ids]


def list_curves(ledger: Ledger, job: Job) -> JobCurves:
    """A job's curves as far as it has reported them."""
    return read_curves(job.id, ledger.jobs.list_events(job.id, kinds=KINDS))


def make_comparison(store: Store, ledger: Ledger, jobs: Sequence[Job]) -> JobComparison:
    """Of these jobs, in their order."""
    catalog = read_catalog(store.root)
    return compare(
        [job_response(job, {}) for job in jobs],
        [read_recipe(job, catalog) for job in jobs],
        [list_curves(ledger, job) for job in jobs],
        [find_evaluation(store, job) for job in jobs],
    )


def find_evaluation(store: Store, job: Job) -> EvaluationRecord | None:
    """What was measured of a job's version, or of what its gate rejected; None if nothing that can be read."""
    try:
        if version := job.result.get("version"):
            return read_of_version(store, job.model, version)
        return read_of_rejected(store, job) if job.state == "rejected" else None
    except (UnknownName, CorruptData):  # the version was deleted since
        return None


def make_file(text: str, name: str) -> Response:
    """A file to keep."""
    return Response(
        text, content_type=f"{CSV}; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
