"""A bucket, and a machine that follows it, for ``benchmarks.dashboards``: the versions of the system move in."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.models.registry.store import Store
from tests.support.s3 import S3, run_s3

NEW = re.compile(r"/[2-9]/")
"""In paths of files of all but the first versions."""


class FollowedBucket:
    """A server that speaks S3, in front of which requests can be broken, and the process that follows."""

    def __init__(self, s3: S3, folder: Path, url: str) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self._s3, self._url = s3, url

    def move_in(self, store: Store) -> None:
        """Puts a copy of a store into the bucket; versions that are there stay."""
        copied = self.folder / "moved"
        shutil.copytree(store.root, copied, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
        command = [sys.executable, "-m", "modelyard.services.cli.main", "sync-models", "--move", "--once"]
        done = subprocess.run(command, env=self.environment(copied), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)

    def withhold_new(self, store: Store) -> None:
        """New versions move in, and nobody gets a file of them."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        self.move_in(store)
        self._s3.faults = lambda method, path: "lost request" if method == "GET" and NEW.search(path) else ""
        self.process.send_signal(signal.SIGCONT)

    def hang_up(self) -> None:
        """On everybody, from now on."""
        self._s3.faults = lambda _method, _path: "lost request"

    def environment(self, store: Path) -> dict[str, str]:
        return {**os.environ, **self._s3.environment, "MODELYARD_STORE": str(store), "MODELYARD_STORE_URL": self._url}


@contextmanager
def followed_bucket(folder: Path, port: int, token: str) -> Iterator[FollowedBucket]:
    """An empty one; the process shows its metrics on the port, and runs until the end of the block."""
    folder.mkdir()
    with run_s3() as s3, (folder / "log").open("wb") as out:
        bucket = FollowedBucket(s3, folder, s3.new_bucket())
        own = {"MODELYARD_METRICS_PORT": str(port), "MODELYARD_METRICS_TOKEN": token, "MODELYARD_HOME": str(folder)}
        command = [sys.executable, "-m", "modelyard.services.sync"]
        environment = bucket.environment(folder / "store") | own
        bucket.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            yield bucket
        finally:
            bucket.process.terminate()
            bucket.process.wait(60)
