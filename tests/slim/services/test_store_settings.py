"""Settings of the model store: a bucket by its URL, which holds no credentials."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.models.registry.sharing.shared_store import SharedStore
from modelyard.models.registry.store import Store
from modelyard.services.cli.settings import MigrationSettings
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.settings import InvalidSettings, StoreSettings
from modelyard.services.sync.process import main
from modelyard.services.sync.settings import SyncSettings
from modelyard.services.trainer.settings import TrainerSettings

SECRET = "wJalrXUtnFEMI"
PROCESSES = (GatewaySettings, TrainerSettings, SchedulerSettings, MigrationSettings, SyncSettings)
FORKS = """
import os, sys
from obstore.store import MemoryStore
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.location import parse_location

bucket = Bucket(parse_location("s3://memory/store"), MemoryStore())
bucket.read("nothing")
if os.fork() == 0:
    try:
        bucket.read("nothing")
    except RuntimeError as error:
        sys.exit(str(error))
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.parametrize("process", PROCESSES)
def test_a_url_with_credentials_starts_nothing_and_is_not_repeated(
    process: type[StoreSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever process: its error is logged, and so are its settings."""
    monkeypatch.setenv("MODELYARD_STORE_URL", f"s3://AKIA:{SECRET}@models/production")
    with pytest.raises(InvalidSettings, match=r"MODELYARD_STORE_URL: .*credentials and endpoint come from") as caught:
        process.load()
    assert SECRET not in str(caught.value)


def test_a_folder_is_the_store_unless_a_bucket_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the folder follows it."""
    assert type(StoreSettings.load(store=tmp_path).open_store()) is Store
    monkeypatch.setenv("MODELYARD_STORE_URL", "s3://models/production/")
    store = StoreSettings.load(store=tmp_path).open_store()
    assert isinstance(store, SharedStore)
    assert (store.root, store.bucket.location.url) == (tmp_path, "s3://models/production")


def test_there_is_nothing_to_follow_without_a_bucket() -> None:
    """It says what is missing."""
    with pytest.raises(InvalidSettings, match="MODELYARD_STORE_URL: expected the bucket to follow"):
        main([])


def test_a_fork_of_who_has_called_the_library_is_told_and_does_not_hang() -> None:
    """Its threads are in no fork."""
    done = subprocess.run([sys.executable, "-c", FORKS], env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "must not fork" in done.stderr
