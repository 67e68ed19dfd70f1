"""Feedback on its way to a training process, which knows no database: a file of JSON lines."""

import base64
from pathlib import Path

import orjson

from modelyard.services.ledger import Job, Ledger
from modelyard.services.ledger.feedback import Example, limited
from modelyard.services.trainer.settings import TrainerSettings

MOST = 50_000


def write(job: Job, ledger: Ledger, settings: TrainerSettings, folder: Path) -> Path:
    """What was said of a model until the job was asked for: the same for each of its attempts.

    Raises:
        StorageFailed: the ledger is away.
    """
    told = ledger.feedback.examples(job.model, MOST, until=job.created_at)
    file = folder / "feedback.jsonl"
    kept = limited(told, settings.feedback_share, settings.feedback_free)
    file.write_bytes(b"\n".join(map(line, kept)))
    return file


def line(example: Example) -> bytes:
    """As ``pipeline/stages/feedback.py`` reads it."""
    answer = example.answer
    content = base64.b64encode(answer.content).decode()
    return orjson.dumps(
        {"dtype": answer.dtype, "shape": answer.shape, "content": content, "truth": example.truth, "at": example.at}
    )
