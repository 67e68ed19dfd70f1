"""A job's log: all of it, its newest lines, what was added since, or what one stage wrote."""

import re
from collections.abc import Iterator

from flask import Response, request

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.http.operation import Parameter
from modelyard.services.job_stages import STAGES
from modelyard.services.ledger import Ledger

NEXT_HEADER = "X-Log-Next"
"""What ``after`` of the next request is."""
GAP_HEADER = "X-Log-Gap"
"""Present if lines between ``after`` and this part are not kept any more."""
MAX_LINES = 100_000
MAX_AFTER = 2**53 - 1
PARAMETERS = (
    Parameter(
        "after",
        "query",
        f"Only what was added since: the `{NEXT_HEADER}` of the response before.",
        {"type": "integer", "minimum": 0, "maximum": MAX_AFTER},
    ),
    Parameter(
        "tail", "query", "Only the newest lines, so many.", {"type": "integer", "minimum": 0, "maximum": MAX_LINES}
    ),
    Parameter("stage", "query", "Only what this stage wrote.", {"enum": list(STAGES)}),
)
STAGE_LINE = re.compile(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ ({'|'.join(STAGES)}): ")
"""The beginning of a line about a stage (``trainer/stage_lines.py``); what follows belongs to that stage."""


class InvalidLogPart(ModelyardError):
    """A parameter that is out of range; the text names it."""

    status = 400


def respond(ledger: Ledger, job_id: str) -> Response:
    """The part of the log that the request asks for."""
    after, tail = parse_count("after", MAX_AFTER), parse_count("tail", MAX_LINES)
    stage = request.args.get("stage")
    if stage is not None and stage not in STAGES:
        raise InvalidLogPart(f"stage: received {stage[:40]!r}, allowed: {', '.join(STAGES)}")
    part = ledger.logs.read_after(job_id, after or 0)
    text = part.text if stage is None else "".join(select_stage(part.text, stage))
    response = Response(text if tail is None else keep_tail(text, tail), mimetype="text/plain")
    response.headers[NEXT_HEADER] = str(part.next)
    if not part.complete:
        response.headers[GAP_HEADER] = "true"
    return response


def parse_count(name: str, most: int) -> int | None:
    """A whole number of the query; None if it has none. Raises ``InvalidLogPart``."""
    received = request.args.get(name)
    if received is not None and (not re.fullmatch(r"[0-9]{1,18}", received) or int(received) > most):
        raise InvalidLogPart(f"{name}: received {received[:40]!r}, allowed: 0 to {most}")
    return None if received is None else int(received)


def select_stage(text: str, stage: str) -> Iterator[str]:
    """The lines from those that name the stage to the next that name another."""
    current = ""
    for line in text.splitlines(keepends=True):
        if found := STAGE_LINE.match(line):
            current = found[1]
        if current == stage:
            yield line


def keep_tail(text: str, lines: int) -> str:
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines else ""
