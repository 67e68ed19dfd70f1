"""Runs commands in this process: an interpreter for each would take longer than what is tested."""

import contextlib
import io
from dataclasses import dataclass

from modelyard.services.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


def run_here(*arguments: str) -> Done:
    """``modelyard ...``, as in a pipe."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Done(status, out.getvalue(), err.getvalue())
