"""Methods by what they are about: ``client.jobs.submit``. Each has its blocking and its asynchronous form."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

from modelyard.client import jobs, models
from modelyard.client.methods import Awaited, Blocking, Runs, RunsAsync
from modelyard.client.records import JobEvent
from modelyard.client.steps import Routine

T = TypeVar("T")


class _Group:
    """Methods of a client."""

    def __init__(self, client: Runs) -> None:
        self._client = client

    def _run(self, routine: Routine[T]) -> T:
        return self._client._run(routine)  # noqa: SLF001  # a group is a part of its client

    def _iterate(self, routine: Routine[None]) -> Iterator[Any]:
        return self._client._iterate(routine)  # noqa: SLF001  # likewise


class _AsyncGroup:
    """Methods of an asynchronous client."""

    def __init__(self, client: RunsAsync) -> None:
        self._client = client

    async def _run(self, routine: Routine[T]) -> T:
        return await self._client._run(routine)  # noqa: SLF001  # likewise

    def _iterate(self, routine: Routine[None]) -> AsyncIterator[Any]:
        return self._client._iterate(routine)  # noqa: SLF001  # likewise


class Jobs(_Group):
    """Training jobs."""

    submit = Blocking(jobs.submit_job)
    get = Blocking(jobs.get_job)
    list = Blocking(jobs.list_jobs)
    wait = Blocking(jobs.wait_for_job)
    cancel = Blocking(jobs.cancel_job)
    retry = Blocking(jobs.retry_job)
    log = Blocking(jobs.read_log)

    def follow(self, job_id: str, *, after: int = 0) -> Iterator[JobEvent]:
        """The events of a job as they happen, until it has ended: see ``jobs.follow_job``."""
        return self._iterate(jobs.follow_job(job_id, after=after))


class AsyncJobs(_AsyncGroup):
    """Training jobs."""

    submit = Awaited(jobs.submit_job)
    get = Awaited(jobs.get_job)
    list = Awaited(jobs.list_jobs)
    wait = Awaited(jobs.wait_for_job)
    cancel = Awaited(jobs.cancel_job)
    retry = Awaited(jobs.retry_job)
    log = Awaited(jobs.read_log)

    def follow(self, job_id: str, *, after: int = 0) -> AsyncIterator[JobEvent]:
        """The events of a job as they happen, until it has ended: see ``jobs.follow_job``."""
        return self._iterate(jobs.follow_job(job_id, after=after))


class Models(_Group):
    """Models, and the roles of their versions."""

    list = Blocking(models.list_models)
    get = Blocking(models.get_model)
    version = Blocking(models.get_version)
    card = Blocking(models.get_card)
    card_text = Blocking(models.get_card_text)
    promote = Blocking(models.promote)
    rollback = Blocking(models.roll_back)
    move = Blocking(models.move)
    pools = Blocking(models.list_pools)
    rollout = Blocking(models.change_rollout)


class AsyncModels(_AsyncGroup):
    """Models, and the roles of their versions."""

    list = Awaited(models.list_models)
    get = Awaited(models.get_model)
    version = Awaited(models.get_version)
    card = Awaited(models.get_card)
    card_text = Awaited(models.get_card_text)
    promote = Awaited(models.promote)
    rollback = Awaited(models.roll_back)
    move = Awaited(models.move)
    pools = Awaited(models.list_pools)
    rollout = Awaited(models.change_rollout)


class Searches(_Group):
    """Searches over many trainings."""

    submit = Blocking(jobs.submit_search)
    get = Blocking(jobs.get_search)
    list = Blocking(jobs.list_searches)
    cancel = Blocking(jobs.cancel_search)


class AsyncSearches(_AsyncGroup):
    """Searches over many trainings."""

    submit = Awaited(jobs.submit_search)
    get = Awaited(jobs.get_search)
    list = Awaited(jobs.list_searches)
    cancel = Awaited(jobs.cancel_search)


class Triggers(_Group):
    """Conditions that start jobs."""

    list = Blocking(models.list_triggers)
    set = Blocking(models.set_trigger)
    remove = Blocking(models.remove_trigger)


class AsyncTriggers(_AsyncGroup):
    """Conditions that start jobs."""

    list = Awaited(models.list_triggers)
    set = Awaited(models.set_trigger)
    remove = Awaited(models.remove_trigger)
