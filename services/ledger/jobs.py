"""The durable record of jobs, apart from the broker: what was accepted, how it goes, how it ended.

The broker may deliver a message twice, late or never; whether a job may start, and how it ended, is decided here by
compare-and-set on its state and its lease, by the database's clock. SQLite (WAL) on one machine, else PostgreSQL.
"""

import secrets
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, true, tuple_, update

from modelyard.models.errors import UnknownName
from modelyard.services.ledger.entry import SYSTEM, Entry, Kind, Origin
from modelyard.services.ledger.job import (
    FINAL,
    LEASE_S,
    MAX_ATTEMPTS,
    MAX_LOSSES,
    MOVES,
    STOPPED,
    UNDER_WAY,
    Event,
    Job,
    JobRequest,
    KeyReused,
    State,
    Submission,
    TooLate,
)
from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.database import Database, execute_change
from modelyard.services.ledger.sql.job_rows import (
    COLUMNS,
    JOB,
    NO_LEASE,
    end_values,
    has_no_lease,
    is_held_by,
    read_jobs,
    record_event,
    spent_s,
)
from modelyard.services.ledger.sql.submissions import delete_submission, store_submission
from modelyard.services.ledger.sql.tables import JOBS, EventRow
from modelyard.services.ledger.trail import append_entry, describe_submission, describe_version


class Jobs:
    """All jobs. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def add(
        self,
        request: JobRequest,
        *,
        by: str,
        devices: str = "auto",
        retry_of: str | None = None,
        group: str | None = None,
        submission: Submission | None = None,
        origin: Origin = SYSTEM,
    ) -> Job:
        """Accepts a job, in state QUEUED.

        Args:
            submission: if one of this key was accepted within a day, its job is returned, as it is now.

        Raises:
            KeyReused: that one was another request.
        """
        own = {"id": f"job-{secrets.token_hex(8)}", "created_at": datetime.now(UTC)}
        job = Job(**vars(request), **own, devices=devices, retry_of=retry_of, group=group, by=by)
        with self._session() as session:
            if submission and (earlier := store_submission(session, submission, job.id)):
                if earlier.digest != submission.digest:
                    raise KeyReused(f"Idempotency-Key {submission.key!r} was used for another job, {earlier.job_id}")
                return next(read_jobs(session, select(*COLUMNS).where(JOB.id == earlier.job_id)))
            session.execute(insert(JOBS).values(vars(job) | {"traceparent": origin.traceparent}))
            record_event(session, job.id, "state", {"state": job.state})
            append_entry(session, describe_submission(job, origin))
            return job

    def delete_submission(self, submission: Submission) -> None:
        """Frees a submission's key: its job was not accepted after all."""
        with self._session() as session:
            delete_submission(session, submission)

    def get(self, job_id: str, models: Collection[str] | None = None, by: str | None = None) -> Job:
        """One job.

        Args:
            models: only if it is of one of these models; None for any.
            by: only if this author submitted it; None for any.

        Raises:
            UnknownName: there is no such job, or it is not one of these.
        """
        with self._session() as session:
            job = next(read_jobs(session, select(*COLUMNS).where(JOB.id == job_id)), None)
            foreign = job and ((models is not None and job.model not in models) or (by is not None and job.by != by))
            if job is None or foreign:
                raise UnknownName(f"unknown job {job_id[:64]!r}")
            return job

    def find(
        self,
        *,
        model: str | None = None,
        models: Collection[str] | None = None,
        group: str | None = None,
        states: Collection[State] | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> tuple[Job, ...]:
        """The newest jobs first.

        Args:
            models: only of these; None for all.
            before: only those that are older than this job.

        Raises:
            UnknownName: there is no such job.
        """
        query = select(*COLUMNS).order_by(JOB.created_at.desc(), JOB.id.desc()).limit(limit)
        exact, among = ((JOB.model, model), (JOB.group, group)), ((JOB.model, models), (JOB.state, states))
        query = query.where(*(column == value for column, value in exact if value is not None))
        query = query.where(*(column.in_(values) for column, values in among if values is not None))
        if before is not None:
            newer = self.get(before, models)
            query = query.where(tuple_(JOB.created_at, JOB.id) < (newer.created_at, newer.id))
        with self._session() as session:
            return tuple(read_jobs(session, query))

    def count_by_author(self, author: str, since: datetime) -> int:
        """Number of jobs that an author has submitted; what follows a colon in ``by`` is the reason."""
        theirs = JOB.by.startswith(f"{author}:", autoescape=True)
        query = select(func.count()).select_from(JOBS).where(theirs, JOB.created_at > since)
        with self._session() as session:
            return session.scalar(query) or 0

    def list_queued(self, limit: int = 1000) -> tuple[Job, ...]:
        """Queued jobs, the oldest first."""
        query = select(*COLUMNS).where(JOB.state == State.QUEUED).order_by(JOB.created_at, JOB.id).limit(limit)
        with self._session() as session:
            return tuple(read_jobs(session, query))

    def list_events(self, job_id: str, after: int = 0, kinds: Collection[str] | None = None) -> tuple[Event, ...]:
        """A job's events in order, from the event after ``after``; of these kinds, or of all."""
        chosen = true() if kinds is None else EventRow.kind.in_(kinds)
        query = select(EventRow).where(EventRow.job_id == job_id, EventRow.id > after, chosen).order_by(EventRow.id)
        with self._session() as session:
            return tuple(Event(row.id, row.at, row.kind, row.body) for row in session.scalars(query))

    def get_traceparent(self, job_id: str) -> str | None:
        """The span that a job was submitted in; None if it was not traced."""
        with self._session() as session:
            return session.scalar(select(JOB.traceparent).where(JOB.id == job_id))

    def claim(self, job_id: str, worker: str, lease_s: float = LEASE_S) -> Job | None:
        """Starts a job under a lease; None if it may not start: ended, held, or lost too often (then it is FAILED).

        Of an attempt that was lost while PUBLISHING, the version may be in the store: the next one begins in this
        state, looks, and says what it found (``finish``, ``resume_training``). Until then no limit ends the job.
        """
        current = self.get(job_id)
        if current.state in FINAL:
            return None
        publishing = current.state is State.PUBLISHING
        losses = current.losses + (current.state is State.RUNNING)  # nobody released it
        if not publishing and (losses >= MAX_LOSSES or current.attempts >= MAX_ATTEMPTS):
            lost = f"its process or its worker was lost {losses} times"
            reason = lost if losses >= MAX_LOSSES else f"it did not end in {current.attempts} attempts"
            self._move(job_id, State.FAILED, has_no_lease(), **end_values({"reason": reason}))
            return None
        free = and_(or_(JOB.state == State.QUEUED, has_no_lease()), JOB.attempts == current.attempts)
        started = self._move(
            job_id,
            State.PUBLISHING if publishing else State.RUNNING,
            and_(free, JOB.state == current.state),
            {"worker": worker},
            started_at=datetime.now(UTC),
            attempts=current.attempts + 1,
            losses=losses,
            progress={},
            worker=worker,
            lease_until=now(lease_s),
        )
        return self.get(job_id) if started else None

    def renew(self, job: Job, lease_s: float = LEASE_S) -> bool:
        """Renews the lease of a running job; False if it is not this attempt's any more."""
        with self._session() as session:
            held = update(JOBS).where(is_held_by(job)).values(lease_until=now(lease_s), spent_s=spent_s(job))
            return execute_change(session, held)

    def record_progress(self, job: Job, progress: Mapping[str, Any], *, milestone: bool, point: bool = False) -> None:
        """Stores the latest progress of a running job; a milestone, or a point of its curves, becomes an event too."""
        with self._session() as session:
            written = execute_change(session, update(JOBS).where(is_held_by(job)).values(progress=dict(progress)))
            if written and (milestone or point):
                record_event(session, job.id, "progress" if milestone else "point", progress)

    def finish(self, job: Job, state: State, result: Mapping[str, Any]) -> bool:
        """Ends a job as its holder; False if it had ended already, or is another attempt's."""
        entry = describe_version(job, result) if result.get("version") else None
        return self._move(job.id, state, JOB.attempts == job.attempts, entry=entry, **end_values(result))

    def is_held(self, job: Job) -> bool:
        """Whether the job is still this attempt's: not cancelled, not taken over."""
        with self._session() as session:
            return session.scalar(select(JOB.id).where(is_held_by(job))) is not None

    def begin_publishing(self, job: Job) -> bool:
        """Lets the holder publish. True: the job cannot be cancelled any more; False: it is not its job any more."""
        ours = and_(is_held_by(job), JOB.state == State.RUNNING)
        return self._move(job.id, State.PUBLISHING, ours) or self.is_held(job)

    def resume_training(self, job: Job) -> Job | None:
        """Lets an attempt that began as PUBLISHING train, as there is no version; None: it is not its job any more."""
        return self.get(job.id) if self._move(job.id, State.RUNNING, is_held_by(job)) else None

    def cancel(self, job_id: str, by: str, origin: Origin = SYSTEM) -> Job:
        """Cancels a queued or running job; its worker finds that it does not hold it any more. Idempotent.

        Raises:
            TooLate: it has ended otherwise, or is being published.
        """
        job = self.get(job_id)
        entry = Entry(Kind.JOB, "cancel", by, origin, model=job.model, subject=job_id)
        ended = self._move(job_id, State.CANCELLED, true(), entry=entry, **end_values({"reason": f"cancelled by {by}"}))
        job = self.get(job_id)
        if not ended and job.state is not State.CANCELLED:
            now = "is being published; roll its version back" if job.state is State.PUBLISHING else f"has {job.state}"
            raise TooLate(f"{job_id} {now}")
        return job

    def requeue(self, job: Job, reason: str, *, lost: bool) -> bool:
        """Requeues a job that its holder cannot end: any worker may start it at once. PUBLISHING stays so (``claim``).

        Args:
            lost: whether the attempt counts as lost.

        Returns:
            False, and nothing happens, if it is not its holder's any more.
        """
        freed: dict[str, Any] = {"losses": job.losses + lost, "spent_s": spent_s(job)} | NO_LEASE
        return any(
            self._move(job.id, target, and_(is_held_by(job), JOB.state == source), detail={"reason": reason}, **freed)
            for source, target in ((State.RUNNING, State.QUEUED), (State.PUBLISHING, State.PUBLISHING))
        )

    def release(self, worker: str) -> tuple[Job, ...]:
        """Requeues the jobs that a stopping worker still runs; returns them, oldest first."""
        held = self.list_held(worker)
        return tuple(job for job in held if self.requeue(job, STOPPED, lost=False))

    def list_held(self, worker: str) -> tuple[Job, ...]:
        """Jobs that a worker runs, oldest first."""
        theirs = and_(JOB.state.in_(UNDER_WAY), JOB.worker == worker)
        query = select(*COLUMNS).where(theirs).order_by(JOB.created_at)
        with self._session() as session:
            return tuple(read_jobs(session, query))

    def list_lost(self) -> tuple[Job, ...]:
        """Running jobs whose lease has run out, oldest first."""
        query = select(*COLUMNS).where(JOB.state.in_(UNDER_WAY), has_no_lease()).order_by(JOB.created_at)
        with self._session() as session:
            return tuple(read_jobs(session, query))

    def _move(
        self,
        job_id: str,
        target: State,
        condition: ColumnElement[bool],
        detail: Mapping[str, Any] = MappingProxyType({}),
        entry: Entry | None = None,
        **values: Any,
    ) -> bool:
        """Compare-and-set of the state: True for exactly one of several processes, and only along ``MOVES``.

        Args:
            detail: recorded in the event, as a result is.
            entry: for the audit trail.
        """
        sources = [source for source, targets in MOVES.items() if target in targets]
        allowed = and_(JOB.id == job_id, JOB.state.in_(sources), condition)
        with self._session() as session:
            moved = execute_change(session, update(JOBS).where(allowed).values(state=target, **values))
            if moved:
                record_event(session, job_id, "state", {"state": target, **detail, **values.get("result", {})})
            if moved and entry:
                append_entry(session, entry)
            return moved
