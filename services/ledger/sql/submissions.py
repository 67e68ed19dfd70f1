"""Idempotency keys of job requests, within a transaction that accepts or deletes the job."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from modelyard.services.ledger.job import Submission
from modelyard.services.ledger.sql.database import insert_if_absent
from modelyard.services.ledger.sql.tables import SubmissionRow

KEY_LIFETIME = timedelta(hours=24)
"""How long a key is stored."""


def store_submission(session: Session, submission: Submission, job_id: str) -> SubmissionRow | None:
    """Stores a key with its job; returns the earlier row if the key exists, perhaps from a concurrent transaction."""
    moment = datetime.now(UTC)
    session.execute(delete(SubmissionRow).where(SubmissionRow.at < moment - KEY_LIFETIME))
    row = SubmissionRow(key=submission.key, digest=submission.digest, job_id=job_id, at=moment)
    return None if insert_if_absent(session, row) else session.get_one(SubmissionRow, submission.key)


def delete_submission(session: Session, submission: Submission) -> None:
    """Frees a key: its job was not accepted after all."""
    session.execute(delete(SubmissionRow).where(SubmissionRow.key == submission.key))
