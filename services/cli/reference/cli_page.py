"""The page of the command line, as Typer's own tool writes it."""

import html
import os
import re
import subprocess
import sys

from modelyard.services.cli.exit_codes import MEANINGS

TITLE = "# Command line\n"
INTRODUCTION = """
Written by `make docs` from the code. `modelyard COMMAND --help` says the same, with the same examples.

## For scripts

- **`--json`** prints one JSON document on standard output, and nothing else there; progress and warnings go to
  standard error. Of commands that call the gateway it is the gateway's own answer, as [http.md](http.md) and
  `/openapi.json` describe it: `jobs` that of `GET /api/jobs`, `models` that of `GET /api/models`, and so on; `train
  --wait` and `jobs follow` print the job when it has ended. Of others: `gc` `{"versions": [{"model", "version",
  "bytes"}], "deleted", "jobs_pruned"}`; `verify` `{"chains": [{"chain", "entries", "last_hash", "fault"}]}`; `doctor`
  `{"findings": [{"level", "message", "remedy"}]}`; `init` `{"files"}`; `keys` the fields of `GET /api/keys`; `import`
  the version's outcome; `plan-batches` the plan; `migrate` `{"ledger", "store", "left_out"}`; `check` `{"model",
  "ready", "output"}`. `rollout` adds `canary_evidence`, the answer of `GET /api/models/NAME/canary`. Only `up`,
  `serve` and `tensorboard`, which run until Ctrl-C, have no `--json`.
- **Lines** are never wrapped or cut, in a pipe neither.
- **Errors** are one line on standard error, with what to type next.
- **Keys** come from `--key-file FILE`, else from `MODELYARD_API_KEY`, `MODELYARD_KEY`, the file that
  `MODELYARD_KEY_FILE` names, or the file `modelyard_key` in `MODELYARD_SECRETS_DIR`: never from an argument, which
  every user of the machine could read.
- **Completion**: `modelyard --install-completion` teaches the current shell (bash, zsh, fish, PowerShell) commands
  and options by the Tab key; `modelyard --show-completion` prints what it would install.

## Exit statuses

| status | when |
|---|---|
"""
TYPER = ("-m", "typer", "modelyard.services.cli.main", "utils", "docs", "--name", "modelyard", "--title", TITLE[2:-1])
EXAMPLES = re.compile(r"\x08\nExamples:\n((?:  .*\n)+)")


def page() -> str:
    """The whole page."""
    written = subprocess.run(
        [sys.executable, *TYPER], capture_output=True, text=True, check=True, env=clean_environment()
    ).stdout
    commands = EXAMPLES.sub(write_examples, html.unescape(written).removeprefix(TITLE))
    return (
        TITLE
        + INTRODUCTION
        + "".join(map(write_meaning, MEANINGS.items()))
        + "\n## Usage\n\n"
        + commands.strip()
        + "\n"
    )


def write_meaning(entry: tuple[int, str]) -> str:
    """A line of the table of exit statuses."""
    return f"| {int(entry[0])} | {entry[1]} |\n"


def write_examples(found: re.Match[str]) -> str:
    """Examples as a block of code."""
    lines = "".join(f"$ {line.strip()}\n" for line in found[1].splitlines())
    return f"**Examples**:\n\n```console\n{lines}```\n"


def clean_environment() -> dict[str, str]:
    """The environment without our settings, which would be written as defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
