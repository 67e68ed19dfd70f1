"""The model of ``models/churn.py``: run with pytest, in an environment that has Modelyard."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def test_churn_passes_its_dry_run():
    """The file loads, its data is read, and one batch goes through build, loss, export and reload."""
    command = [sys.executable, "-m", "modelyard", "check", "churn"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
