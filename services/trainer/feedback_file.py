"""Writes feedback for a training process, which has no database, as a file of JSON lines."""

import base64
from pathlib import Path

import orjson

from modelyard.services.ledger import Job, Ledger
from modelyard.services.ledger.feedback import Example, limit_shares
from modelyard.services.trainer.settings import TrainerSettings

MAX_EXAMPLES = 50_000


def write_feedback(job: Job, ledger: Ledger, settings: TrainerSettings, folder: Path) -> Path:
    """Writes the feedback on a model up to the submission of the job: the same for each attempt. Returns the file.

    Raises:
        StorageFailed: the ledger cannot be reached.
    """
    examples = ledger.feedback.list_examples(job.model, MAX_EXAMPLES, until=job.created_at)
    file = folder / "feedback.jsonl"
    limited = limit_shares(examples, settings.feedback_share, settings.feedback_free)
    file.write_bytes(b"\n".join(map(encode_example, limited)))
    return file


def encode_example(example: Example) -> bytes:
    """One line in the form that ``pipeline/stages/feedback.py`` reads."""
    answer = example.answer
    content = base64.b64encode(answer.content).decode()
    return orjson.dumps(
        {"dtype": answer.dtype, "shape": answer.shape, "content": content, "truth": example.truth, "at": example.at}
    )
