"""Captured predictions with their inputs, and feedback on them."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import case, delete, func, select

from modelyard.models.errors import ModelyardError
from modelyard.services.experiment_counts import UNBIASED, Choice
from modelyard.services.ledger.sql.database import Database, insert_if_absent
from modelyard.services.ledger.sql.tables import CapturedRow, FeedbackRow

MAX_TRIES = 3


class UnknownPrediction(ModelyardError):
    """No prediction of this id was captured, or it was deleted."""

    status = 404


class AlreadyRecorded(ModelyardError):
    """The prediction has feedback already."""

    status = 409


@dataclass(frozen=True)
class CapturedPrediction:
    """One row of a request, and a version's prediction."""

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
    margin: float | None = None
    """Score of the likeliest class less that of the next; None of anything but classes."""


@dataclass(frozen=True)
class Example:
    """A captured prediction with the truth."""

    answer: CapturedPrediction
    truth: float
    client: str
    at: datetime


class Feedback:
    """Captured predictions and feedback. Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def capture(self, answers: Sequence[CapturedPrediction]) -> None:
        """Stores predictions; of several with one id, the first."""
        ids = {answer.request_id for answer in answers}
        with self._session() as session:
            for _ in range(MAX_TRIES):
                known = set(session.scalars(select(CapturedRow.request_id).where(CapturedRow.request_id.in_(ids))))
                if insert_if_absent(session, *(_row(answer) for answer in answers if answer.request_id not in known)):
                    return  # else another gateway has just stored one of them

    def prune(self, older_than: datetime, max_bytes: int) -> None:
        """Deletes predictions that are too old, and the oldest beyond a size, together with their feedback."""
        with self._session() as session:
            session.execute(delete(CapturedRow).where(CapturedRow.at < older_than))
            total = session.scalar(select(func.sum(func.length(CapturedRow.content)))) or 0
            for number, size in session.execute(
                select(CapturedRow.id, func.length(CapturedRow.content)).order_by(CapturedRow.id)
            ):
                if total <= max_bytes:
                    return
                session.execute(delete(CapturedRow).where(CapturedRow.id == number))
                total -= size

    def get_prediction(
        self, request_id: str, row: int = 0, models: Collection[str] | None = None
    ) -> CapturedPrediction:
        """A captured prediction of these models, or of any. Raises ``UnknownPrediction``."""
        query = select(CapturedRow).where(CapturedRow.request_id == request_id, CapturedRow.row == row)
        if models is not None:
            query = query.where(CapturedRow.model.in_(models))
        with self._session() as session:
            found = session.scalar(query)
            if found is None:
                raise UnknownPrediction(f"no prediction {request_id[:64]!r}, row {row}, was captured, or it is too old")
            return read_captured(found)

    def record_truth(
        self,
        answer: CapturedPrediction,
        truth: float,
        *,
        right: bool | None,
        client: str,
        chosen: Choice = "outcome",
    ) -> None:
        """Records the truth, once for each prediction.

        Args:
            right: whether the prediction was right; None for numbers.
            chosen: how the prediction was chosen.

        Raises:
            AlreadyRecorded: it has feedback already.
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
            chosen=chosen,
        )
        with self._session() as session:
            if not insert_if_absent(session, row):
                raise AlreadyRecorded(f"answer {answer.request_id!r}, row {answer.row}, has feedback already")

    def count_mistakes(self, model: str, since: datetime) -> Mapping[int, tuple[int, int]]:
        """By version: predictions since this time whose feedback is unbiased, and the wrong ones among them."""
        query = (
            select(FeedbackRow.version, func.count(), func.sum(case((FeedbackRow.right.is_(False), 1), else_=0)))
            .join(
                CapturedRow, (CapturedRow.request_id == FeedbackRow.request_id) & (CapturedRow.row == FeedbackRow.row)
            )
            .where(
                FeedbackRow.model == model,
                FeedbackRow.right.is_not(None),
                FeedbackRow.chosen.in_(UNBIASED),
                CapturedRow.at >= since,
            )
            .group_by(FeedbackRow.version)
        )
        with self._session() as session:
            return {version: (count, int(wrong)) for version, count, wrong in session.execute(query)}

    def count_by_version(self, models: Collection[str], since: datetime) -> Mapping[tuple[str, int], tuple[int, int]]:
        """By model and version: number of feedback since this time that says right or wrong, and of the latter."""
        wrong = func.sum(case((FeedbackRow.right.is_(False), 1), else_=0))
        query = (
            select(FeedbackRow.model, FeedbackRow.version, func.count(), wrong)
            .where(FeedbackRow.model.in_(models), FeedbackRow.right.is_not(None), FeedbackRow.at >= since)
            .group_by(FeedbackRow.model, FeedbackRow.version)
        )
        with self._session() as session:
            return {(model, version): (count, int(bad)) for model, version, count, bad in session.execute(query)}

    def count_correct(self, model: str, version: int, limit: int) -> tuple[int, int]:
        """Number of right predictions among a version's newest ones with unbiased feedback, and the number of these."""
        query = (
            select(FeedbackRow.right)
            .where(
                FeedbackRow.model == model,
                FeedbackRow.version == version,
                FeedbackRow.right.is_not(None),
                FeedbackRow.chosen.in_(UNBIASED),
            )
            .order_by(FeedbackRow.id.desc())
            .limit(limit)
        )
        with self._session() as session:
            found = session.scalars(query).all()
        return sum(map(bool, found)), len(found)

    def count_of_version(self, model: str, version: int) -> tuple[int, int]:
        """Number of a version's captured predictions, and of those with feedback."""
        tables = CapturedRow, FeedbackRow
        with self._session() as session:
            queries = (
                select(func.count()).select_from(table).where(table.model == model, table.version == version)
                for table in tables
            )
            captured, feedback = (session.scalar(query) or 0 for query in queries)
            return captured, feedback

    def list_newest_predictions(self, model: str, version: int, limit: int) -> tuple[CapturedPrediction, ...]:
        """A version's newest captured predictions."""
        theirs = select(CapturedRow).where(CapturedRow.model == model, CapturedRow.version == version)
        with self._session() as session:
            return tuple(map(read_captured, session.scalars(theirs.order_by(CapturedRow.id.desc()).limit(limit))))

    def count(self, model: str, since: datetime | None = None) -> int:
        """Number of feedback since a time."""
        query = select(func.count()).select_from(FeedbackRow).where(FeedbackRow.model == model)
        if since is not None:
            query = query.where(FeedbackRow.at > since)
        with self._session() as session:
            return session.scalar(query) or 0

    def list_examples(self, model: str, limit: int, until: datetime | None = None) -> tuple[Example, ...]:
        """The newest predictions with feedback, oldest first; of equal inputs, the latest feedback.

        Args:
            until: later feedback is left out.
        """
        query = (
            select(FeedbackRow, CapturedRow)
            .join(
                CapturedRow, (CapturedRow.request_id == FeedbackRow.request_id) & (CapturedRow.row == FeedbackRow.row)
            )
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
                found.setdefault(
                    answer.digest, Example(read_captured(answer), feedback.truth, feedback.client, feedback.at)
                )
        return tuple(reversed(found.values()))


def _row(answer: CapturedPrediction) -> CapturedRow:
    return CapturedRow(**vars(answer) | {"shape": list(answer.shape), "digest": hash_content(answer)})


def hash_content(answer: CapturedPrediction) -> str:
    """SHA-256 of an input: equal for equal inputs."""
    head = f"{answer.model} {answer.input} {answer.dtype} {answer.shape} "
    return hashlib.sha256(head.encode() + answer.content).hexdigest()


def limit_shares(examples: Collection[Example], share: float, free: int) -> Iterator[Example]:
    """Examples of which no client gave more than a share of all; of clients that did, the newest are left out.

    Args:
        free: number of examples that may come from one client, whatever its share.
    """
    max_count = max(free, int(share * len(examples)))
    counts: dict[str, int] = {}
    for example in examples:
        counts[example.client] = counts.get(example.client, 0) + 1
        if counts[example.client] <= max_count:
            yield example


def read_captured(row: CapturedRow) -> CapturedPrediction:
    return CapturedPrediction(
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
        row.margin,
    )
