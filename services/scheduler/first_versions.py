"""Asks for the first versions: a system that starts with an empty store serves something without anybody asking."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from celery import Celery

from modelyard.models.catalog import read_catalog
from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.services import broker, jobs
from modelyard.services.ledger import OPEN, JobRequest, Ledger

log = structlog.get_logger()

BY = "first start"


@dataclass
class FirstVersions:
    """What it takes to see which models have nothing that answers, and to ask for jobs. Any number may run at once."""

    store: Store
    ledger: Ledger
    queue: Celery
    models: Sequence[str]
    _said: dict[str, str] = field(default_factory=dict)
    """What was said last of each model: what lasts is said once."""

    def ask_all(self) -> None:
        """A job for each of the models that has no stable version and none on its way; at most one in a day.

        Raises:
            StorageFailed: the ledger is away.
        """
        for model in self.models:
            try:
                self._say(model, self._ask(model))
            except StorageFailed:
                raise
            except ModelyardError as error:  # no trainer has spoken yet, the queue is away, or there is no such model
                self._say(model, f"waits: {error}")

    def _ask(self, model: str) -> str:
        """Returns how it stands."""
        if (stable := read_rollout(self.store, model).stable) is not None:
            return f"version {stable} answers"
        if under_way := self.ledger.jobs.find(model=model, states=OPEN, limit=1):
            return f"{under_way[0].id} is on its way"
        broker.require(self.queue)  # else each look would leave a job that failed
        known, asked = read_catalog(self.store.root), JobRequest(model=model)
        job = jobs.accept(known, self.ledger, self.queue, asked, BY, key=f"{BY} {model}")
        if job.finished_at:  # of the last day: whoever asks again with the same key gets the same job
            return f"{job.id} has {job.state}; another one is asked for a day after it, or by `modelyard train {model}`"
        return f"{job.id} is on its way"

    def _say(self, model: str, what: str) -> None:
        if self._said.get(model) != what:
            self._said[model] = what
            log.info("first version", model=model, state=what)
