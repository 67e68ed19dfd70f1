"""Captured predictions to be labelled, and how far that is."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, func, select

from modelyard.services.ledger.feedback import CapturedPrediction, read_captured
from modelyard.services.ledger.sql.database import Database
from modelyard.services.ledger.sql.tables import CapturedRow, FeedbackRow

Order = Literal["random", "margin", "newest"]
MAX_CANDIDATES = 10_000
"""A model's newest captured predictions, from which those to be labelled are taken."""
POOL_STEP, POOL_SIZE = 40503, 65536
"""Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4): neighbours go to either half in turn, without
a period that requests could have."""
HAS_FEEDBACK = (FeedbackRow.request_id == CapturedRow.request_id) & (FeedbackRow.row == CapturedRow.row)


@dataclass(frozen=True)
class Labelled:
    """A captured prediction, and the feedback that it has."""

    answer: CapturedPrediction
    truth: float | None
    chosen: str | None


@dataclass(frozen=True)
class LabelCounts:
    """How far the labelling of a model is."""

    unlabelled: int
    """Among the newest captured predictions."""
    by_choice: Mapping[str, int]
    """All feedback."""
    drawn: Mapping[int, tuple[int, int]]
    """By version: the right ones, and all, of the predictions that were drawn at random."""


class Labels:
    """Each call is one transaction; safe for several processes."""

    def __init__(self, database: Database) -> None:
        self._session = database.session

    def list_predictions(
        self, model: str, order: Order, versions: Collection[int], limit: int, *, unlabelled: bool = True
    ) -> tuple[Labelled, ...]:
        """Captured predictions of some versions, of the newest ``MAX_CANDIDATES``.

        Half of them, by their numbers, are set aside for ``random``; any other order takes from the other half, unless
        the labelled ones are asked for as well. So what is drawn at random is a sample of all, however many of the
        unsure ones have their labels.
        """
        orders: Mapping[Order, tuple[Any, ...]] = {
            "random": (func.random(),),
            "margin": (CapturedRow.margin.is_(None), CapturedRow.margin, CapturedRow.score),
            "newest": (CapturedRow.id.desc(),),
        }
        query = (
            select(CapturedRow, FeedbackRow.truth, FeedbackRow.chosen)
            .outerjoin(FeedbackRow, HAS_FEEDBACK)
            .where(CapturedRow.model == model, CapturedRow.id >= _oldest_candidate(model))
            .where(CapturedRow.version.in_(versions))
        )
        if unlabelled:
            set_aside = is_set_aside(CapturedRow.id)
            query = query.where(FeedbackRow.id.is_(None), set_aside if order == "random" else ~set_aside)
        with self._session() as session:
            found = session.execute(query.order_by(*orders[order]).limit(limit))
            return tuple(Labelled(read_captured(row), truth, chosen) for row, truth, chosen in found)

    def is_drawn_from(self, answer: CapturedPrediction) -> bool:
        """Whether a captured prediction is one of those that are drawn at random."""
        ours = (CapturedRow.request_id == answer.request_id, CapturedRow.row == answer.row)
        with self._session() as session:
            return session.scalar(select(CapturedRow.id).where(*ours, is_set_aside(CapturedRow.id))) is not None

    def count_labels(self, model: str) -> LabelCounts:
        """How many predictions have labels, by how they were chosen, and how often those drawn at random were right."""
        ours = FeedbackRow.model == model
        right = func.sum(case((FeedbackRow.right.is_(True), 1), else_=0))
        waiting = (
            select(func.count())
            .select_from(CapturedRow)
            .outerjoin(FeedbackRow, HAS_FEEDBACK)
            .where(CapturedRow.model == model, CapturedRow.id >= _oldest_candidate(model), FeedbackRow.id.is_(None))
        )
        choices = select(FeedbackRow.chosen, func.count()).where(ours).group_by(FeedbackRow.chosen)
        drawn = (
            select(FeedbackRow.version, right, func.count())
            .where(ours, FeedbackRow.chosen == "random", FeedbackRow.right.is_not(None))
            .group_by(FeedbackRow.version)
            .order_by(FeedbackRow.version)
        )
        with self._session() as session:
            return LabelCounts(
                session.scalar(waiting) or 0,
                {row[0]: row[1] for row in session.execute(choices)},
                {version: (int(right), count) for version, right, count in session.execute(drawn)},
            )


def is_set_aside(number: Any) -> ColumnElement[bool]:
    """Whether the captured prediction of this number is one of those that are drawn at random."""
    found: ColumnElement[bool] = number * POOL_STEP % POOL_SIZE < POOL_SIZE // 2
    return found


def _oldest_candidate(model: str) -> ColumnElement[int]:
    newest = select(CapturedRow.id).where(CapturedRow.model == model).order_by(CapturedRow.id.desc())
    candidates = newest.limit(MAX_CANDIDATES).subquery()
    return func.coalesce(select(func.min(candidates.c.id)).scalar_subquery(), 0)
