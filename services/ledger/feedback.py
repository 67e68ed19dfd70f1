"""Captured predictions with their inputs, and feedback on them."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import case, delete, func, select

from modelyard.models.errors import ModelyardError
from modelyard.services.ledger.sql.database import Database, added
from modelyard.services.ledger.sql.tables import AnswerRow, FeedbackRow

MAX_TRIES = 3


class UnknownAnswer(ModelyardError):
    """No answer of this id was captured, or it is too old."""

    status = 404


class AlreadyRecorded(ModelyardError):
    """Somebody has said what is true already."""

    status = 409


@dataclass(frozen=True)
class Answer:
    """One row of a request, and what a version answered."""

    request_id: str
    row: int
    model: str
    version: int
    input: str
    """Name of the signature's input."""
    dtype: str
    """numpy's name; ``bytes`` for text and image files."""
    shape: tuple[int, ...]
    content: bytes
    predicted: float
    """The class, or the value."""
    score: float | None
    at: datetime


@dataclass(frozen=True)
class Example:
    """An answer with what is true."""

    answer: Answer
    truth: float
    client: str
    at: datetime


class Feedback:
    """Captured predictions and feedback. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def capture(self, answers: Sequence[Answer]) -> None:
        """Stores answers; of those that bear the same id, the first."""
        ids = {answer.request_id for answer in answers}
        with self._session() as session:
            for _ in range(MAX_TRIES):
                known = set(session.scalars(select(AnswerRow.request_id).where(AnswerRow.request_id.in_(ids))))
                if added(session, *(_row(answer) for answer in answers if answer.request_id not in known)):
                    return  # else another gateway has just kept one of them

    def prune(self, older_than: datetime, max_bytes: int) -> None:
        """Deletes answers that are too old, and of the oldest beyond a size; feedback on them is none any more."""
        with self._session() as session:
            session.execute(delete(AnswerRow).where(AnswerRow.at < older_than))
            total = session.scalar(select(func.sum(func.length(AnswerRow.content)))) or 0
            for number, size in session.execute(
                select(AnswerRow.id, func.length(AnswerRow.content)).order_by(AnswerRow.id)
            ):
                if total <= max_bytes:
                    return
                session.execute(delete(AnswerRow).where(AnswerRow.id == number))
                total -= size

    def answer(self, request_id: str, row: int = 0, models: Collection[str] | None = None) -> Answer:
        """One that was captured; of these models, or of any. Raises ``UnknownAnswer``."""
        query = select(AnswerRow).where(AnswerRow.request_id == request_id, AnswerRow.row == row)
        if models is not None:
            query = query.where(AnswerRow.model.in_(models))
        with self._session() as session:
            found = session.scalar(query)
            if found is None:
                raise UnknownAnswer(f"no answer {request_id[:64]!r}, row {row}, was kept, or it is too old")
            return _answer(found)

    def record(self, answer: Answer, truth: float, *, right: bool | None, client: str) -> None:
        """Writes down what is true; once for each answer.

        Args:
            right: whether the answer was; None for numbers, which are never quite.

        Raises:
            AlreadyRecorded: somebody has.
        """
        row = FeedbackRow(
            request_id=answer.request_id,
            row=answer.row,
            model=answer.model,
            version=answer.version,
            truth=truth,
            right=right,
            client=client,
            at=datetime.now(UTC),
        )
        with self._session() as session:
            if not added(session, row):
                raise AlreadyRecorded(f"answer {answer.request_id!r}, row {answer.row}, has feedback already")

    def mistakes(self, model: str, since: datetime) -> Mapping[int, tuple[int, int]]:
        """By version: answers with feedback of this experiment or later, and those of them that were wrong."""
        query = (
            select(FeedbackRow.version, func.count(), func.sum(case((FeedbackRow.right.is_(False), 1), else_=0)))
            .join(AnswerRow, (AnswerRow.request_id == FeedbackRow.request_id) & (AnswerRow.row == FeedbackRow.row))
            .where(FeedbackRow.model == model, FeedbackRow.right.is_not(None), AnswerRow.at >= since)
            .group_by(FeedbackRow.version)
        )
        with self._session() as session:
            return {version: (count, int(wrong)) for version, count, wrong in session.execute(query)}

    def count_right(self, model: str, version: int, limit: int) -> tuple[int, int]:
        """Of a version's newest answers that were right or wrong: those that were right, and how many these are."""
        query = (
            select(FeedbackRow.right)
            .where(FeedbackRow.model == model, FeedbackRow.version == version, FeedbackRow.right.is_not(None))
            .order_by(FeedbackRow.id.desc())
            .limit(limit)
        )
        with self._session() as session:
            found = session.scalars(query).all()
        return sum(map(bool, found)), len(found)

    def newest_answers(self, model: str, version: int, limit: int) -> tuple[Answer, ...]:
        """A version's newest answers that were captured."""
        theirs = select(AnswerRow).where(AnswerRow.model == model, AnswerRow.version == version)
        with self._session() as session:
            return tuple(map(_answer, session.scalars(theirs.order_by(AnswerRow.id.desc()).limit(limit))))

    def count(self, model: str, since: datetime | None = None) -> int:
        """How much feedback came after a moment."""
        query = select(func.count()).select_from(FeedbackRow).where(FeedbackRow.model == model)
        if since is not None:
            query = query.where(FeedbackRow.at > since)
        with self._session() as session:
            return session.scalar(query) or 0

    def examples(self, model: str, limit: int, until: datetime | None = None) -> tuple[Example, ...]:
        """The newest answers with what is true, oldest first; of equal inputs, what was said last.

        Args:
            until: what was said after it is left out.
        """
        query = (
            select(FeedbackRow, AnswerRow)
            .join(AnswerRow, (AnswerRow.request_id == FeedbackRow.request_id) & (AnswerRow.row == FeedbackRow.row))
            .where(FeedbackRow.model == model)
            .order_by(FeedbackRow.id.desc())
        )
        if until is not None:
            query = query.where(FeedbackRow.at <= until)
        found: dict[str, Example] = {}
        with self._session() as session:
            for feedback, answer in session.execute(query).yield_per(100):
                if len(found) == limit:
                    break
                found.setdefault(answer.digest, Example(_answer(answer), feedback.truth, feedback.client, feedback.at))
        return tuple(reversed(found.values()))


def _row(answer: Answer) -> AnswerRow:
    return AnswerRow(**vars(answer) | {"shape": list(answer.shape), "digest": digest(answer)})


def digest(answer: Answer) -> str:
    """Equal for equal inputs."""
    head = f"{answer.model} {answer.input} {answer.dtype} {answer.shape} "
    return hashlib.sha256(head.encode() + answer.content).hexdigest()


def limited(examples: Collection[Example], share: float, free: int) -> Iterator[Example]:
    """Examples of which no client said more than a share of all; of those who said more, the newest are left out.

    Args:
        free: so many may come from one client, whatever share that is.
    """
    max_count = max(free, int(share * len(examples)))
    counts: dict[str, int] = {}
    for example in examples:
        counts[example.client] = counts.get(example.client, 0) + 1
        if counts[example.client] <= max_count:
            yield example


def _answer(row: AnswerRow) -> Answer:
    return Answer(
        row.request_id,
        row.row,
        row.model,
        row.version,
        row.input,
        row.dtype,
        tuple(row.shape),
        row.content,
        row.predicted,
        row.score,
        row.at,
    )
