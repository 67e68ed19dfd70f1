"""Takes the next step of every search: submits a rung's jobs, chooses the best, ends it. Any number may run at once.

Each trial's job has a key of its own, so every scheduler gets the same job; and each step is recorded once.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from celery import Celery

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import InvalidRecipe, ModelyardError, StorageFailed, UnknownName
from modelyard.models.registry.store import Store
from modelyard.services import broker, jobs
from modelyard.services.ledger import Job, Ledger, Origin, TooLate
from modelyard.services.ledger.searches import FAILED, RUNNING, SUCCEEDED, Search, Tried
from modelyard.services.scheduler.submission_spans import begin_rung, begin_search, make_origin
from modelyard.services.searches import Plan, read_metric
from modelyard.services.tracing.spans import Tracing

log = structlog.get_logger()


@dataclass(frozen=True)
class SearchSteps:
    """Follows searches, and submits their jobs."""

    store: Store
    ledger: Ledger
    queue: Celery
    tracing: Tracing | None = None

    def step_all(self) -> None:
        """Takes the next step of each running search.

        Raises:
            StorageFailed: the ledger is away.
        """
        for search in self.ledger.searches.find(RUNNING):
            try:
                self.step(search, Plan.model_validate(search.plan))
            except StorageFailed:
                raise
            except (InvalidRecipe, UnknownName) as error:  # the zoo has become another one
                self._end(search, FAILED, str(error))
            except (ModelyardError, ValueError) as error:  # the queue is away; or a plan of another release
                log.warning("search cannot go on", search=search.id, cause=str(error))

    def step(self, search: Search, plan: Plan) -> None:
        """Begins its next rung, or ends it, if there is nothing to wait for."""
        if not search.rungs:
            self._begin(search, plan, range(plan.asked.trials))
            return
        ended = [(tried.trial, self.ledger.jobs.get(tried.job)) for tried in search.rungs[-1]]
        if not all(job.finished_at for _, job in ended):
            return
        if len(search.rungs) == len(plan.rungs):
            self._end(search, *read_outcome(plan, *ended[0]))
        elif best := choose_survivors(plan, len(search.rungs), ended):
            self._begin(search, plan, best)
        else:
            self._end(search, FAILED, f"no trial of rung {len(search.rungs)} has a value of {plan.metric}")

    def _begin(self, search: Search, plan: Plan, trials: Sequence[int]) -> None:
        broker.require_broker(self.queue)  # else each poll would leave a job that failed
        span = begin_rung(self.tracing, search, len(trials))
        tried = [Tried(trial, self._submit(search, plan, trial, make_origin(span)).id) for trial in trials]
        if self.ledger.searches.begin_rung(search, tried):
            log.info("rung begun", search=search.id, rung=len(search.rungs) + 1, trials=len(tried))
            if span is not None:
                span.end()
        elif self.ledger.searches.get(search.id).finished_at:  # it was cancelled meanwhile
            for each in tried:
                with suppress(TooLate):
                    self.ledger.jobs.cancel(each.job, f"search {search.id}")

    def _submit(self, search: Search, plan: Plan, trial: int, origin: Origin) -> Job:
        rung = len(search.rungs)
        return jobs.accept(
            read_catalog(self.store.root),
            self.ledger,
            self.queue,
            plan.job(rung, trial),
            f"search {search.id}: trial {trial} in rung {rung + 1} of {len(plan.rungs)}",
            key=f"search {search.id} {rung}/{trial}",
            group=search.id,
            origin=origin,
        )

    def _end(self, search: Search, state: str, reason: str) -> None:
        if self.ledger.searches.end(search, state, reason):
            log.info("search ended", search=search.id, state=state, reason=reason)
            if span := begin_search(self.tracing, search):
                span.end({"modelyard.search.outcome": state}, failed=state == FAILED)


def choose_survivors(plan: Plan, rung: int, ended: Sequence[tuple[int, Job]]) -> list[int]:
    """Trials that continue into a rung: the best on the validation split; of equals, the first."""
    values = {trial: value for trial, job in ended if (value := read_metric(plan, job.result)) is not None}
    ranked = sorted(values, key=lambda trial: (-values[trial], trial))
    return ranked[: plan.rungs[rung].trials]


def read_outcome(plan: Plan, trial: int, job: Job) -> tuple[str, str]:
    """State and reason of a search whose last job has ended."""
    if (version := job.result.get("version")) is None:
        return FAILED, f"trial {trial} was the best, and its last job has {job.state}: {job.result.get('reason')}"
    value = read_metric(plan, job.result)
    reached = f" with {plan.metric} {value:.4f} on the validation split" if value is not None else ""
    return SUCCEEDED, f"trial {trial} is the best{reached}: version {version}"
