"""A folder that follows a bucket: versions are complete before they are visible, and rollouts come after them."""

import resource
import signal
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.location import parse_location
from modelyard.models.registry.bucket.versions import file_key
from modelyard.models.registry.retention import remove_version
from modelyard.models.registry.rollout import Rollout, change_rollout, read_history, read_rollout
from modelyard.models.registry.serving_config import read_entries
from modelyard.models.registry.serving_set import roll_back
from modelyard.models.registry.sharing.follower import KEEP_S, RETRY_S, Follower
from modelyard.models.registry.sharing.shared_store import SharedStore
from tests.support.shared_stores import MODEL, Clock, MakeStore, make_machines, publish_random
from tests.support.versions import seal_as

BY = {"by": "a test", "reason": "why not"}


@pytest.fixture
def machine(tmp_path: Path) -> MakeStore:
    return make_machines(tmp_path)


def promote(store: SharedStore, version: int) -> Rollout:
    return change_rollout(store, MODEL, lambda now: now.promote(version, **BY))


def damage(store: SharedStore, version: int, file: str, tmp_path: Path) -> bytes:
    """Changes a file in the bucket; returns what it was."""
    key = file_key(MODEL, version, file)
    before = store.bucket.read(key)
    assert before
    (tmp_path / "damaged").write_bytes(b"damaged")
    store.bucket.upload(key, tmp_path / "damaged")
    return before.data


def test_an_empty_bucket_is_followed_too(machine: MakeStore) -> None:
    """Model servers end without the file that says what they load."""
    store = machine("one")
    store.prepare()
    assert Follower(store).run_pass().laid == ()
    assert (store.root / "models.config").read_text() == "model_config_list {\n}\n"


def test_versions_and_their_rollout_come_to_every_folder(machine: MakeStore) -> None:
    """What one machine publishes and promotes, another one serves: by rollout.json and models.config."""
    trainer, server = machine("trainer"), machine("server")
    follower = Follower(server)
    follower.run_pass()
    publish_random(trainer)
    assert follower.run_pass().laid == ((MODEL, 1),)
    promote(trainer, 1)
    assert follower.run_pass().rollouts == (MODEL,)
    server.verify(MODEL, 1)
    assert read_rollout(server, MODEL) == read_rollout(trainer, MODEL)
    assert read_entries(server)[MODEL].versions == (1,)
    assert read_history(server, MODEL) == read_rollout(trainer, MODEL).history
    assert follower.run_pass().laid == follower.run_pass().rollouts == ()


def test_a_rollback_on_one_machine_is_one_on_all(machine: MakeStore) -> None:
    """By whichever machine, also the one that did not promote."""
    trainer, gateway, server = machine("trainer"), machine("gateway"), machine("server")
    followers = [Follower(each) for each in (trainer, gateway, server)]
    for _ in range(2):
        promote(trainer, publish_random(trainer).version)
    for each in followers:
        each.run_pass()
    roll_back(gateway, MODEL, **BY)
    for each in followers:
        each.run_pass()
    assert {read_rollout(each, MODEL).stable for each in (trainer, gateway, server)} == {1}
    histories = [(each.folder(MODEL) / "history.jsonl").read_bytes() for each in (trainer, gateway, server)]
    assert histories[0] == histories[1] == histories[2]
    assert len(histories[0].splitlines()) == 3


def test_a_folder_that_serves_brings_only_versions_with_a_role(machine: MakeStore) -> None:
    """And removes those that have lost it, after a while in which model servers may be using them."""
    trainer, server, clock = machine("trainer"), machine("server"), Clock()
    follower = Follower(server, served_only=True, now=clock)
    for _ in range(3):
        publish_random(trainer)
    promote(trainer, 2)
    assert follower.run_pass().laid == ((MODEL, 2),)
    promote(trainer, 3)
    change_rollout(trainer, MODEL, lambda now: now.unload(2))
    assert follower.run_pass().removed == ()
    clock.now = KEEP_S + 1
    assert follower.run_pass().removed == ((MODEL, 2),)
    assert server.versions(MODEL) == (3,)


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.index", manifests.FILE])
def test_a_version_with_a_damaged_file_is_refused_and_the_one_before_goes_on(
    machine: MakeStore, tmp_path: Path, file: str
) -> None:
    """The fault names the file; the rollout of before stays, until the file is whole or the rollout another one."""
    trainer, server, clock = machine("trainer"), machine("server"), Clock()
    follower = Follower(server, now=clock)
    promote(trainer, publish_random(trainer).version)
    follower.run_pass()
    publish_random(trainer)
    whole = damage(trainer, 2, file, tmp_path)
    promote(trainer, 2)
    done = follower.run_pass()
    assert file in done.faults[MODEL, 2]
    assert done.held_back == (MODEL,)
    assert (server.versions(MODEL), read_rollout(server, MODEL).stable) == ((1,), 1)
    assert not [each for each in server.folder(MODEL).iterdir() if each.name.startswith(".staging")]

    (tmp_path / "whole").write_bytes(whole)
    trainer.bucket.upload(file_key(MODEL, 2, file), tmp_path / "whole")
    clock.now = RETRY_S + 1
    assert follower.run_pass().rollouts == (MODEL,)
    assert read_rollout(server, MODEL).stable == 2


def test_a_rollout_away_from_a_damaged_version_is_not_held_up(machine: MakeStore, tmp_path: Path) -> None:
    """Nor is one where only a canary is damaged: who answers in its place is the gateway's to know."""
    trainer, server = machine("trainer"), machine("server")
    follower = Follower(server)
    for _ in range(2):
        publish_random(trainer)
    damage(trainer, 2, "saved_model.pb", tmp_path)
    promote(trainer, 1)
    promote(trainer, 2)
    assert follower.run_pass().held_back == (MODEL,)
    roll_back(trainer, MODEL, **BY)
    assert follower.run_pass().held_back == ()
    change_rollout(trainer, MODEL, lambda now: now.preload(2))
    assert follower.run_pass().rollouts == (MODEL,)
    assert read_rollout(server, MODEL).loaded == (1, 2)
    assert read_entries(server)[MODEL].versions == (1,)


def test_a_damaged_rollout_is_named_and_holds_up_no_other_model(machine: MakeStore) -> None:
    """The one of before stays, and so it does where it is damaged while it is being followed."""
    trainer, server = machine("trainer"), machine("server")
    follower = Follower(server)
    promote(trainer, publish_random(trainer).version)
    follower.run_pass()
    key = f".index/{MODEL}/rollout.json"
    found = trainer.bucket.read(key)
    assert found
    damaged = trainer.bucket.replace(key, b"{", found.tag)
    assert damaged
    publish_random(trainer, model="other")
    done = follower.run_pass()
    assert done.faults.keys() == {(MODEL, 0)}
    assert done.laid == (("other", 1),)
    assert read_rollout(server, MODEL).stable == 1
    trainer.bucket.replace(key, found.data, damaged)
    assert not follower.run_pass().faults


def test_a_manifest_leads_out_of_no_folder(machine: MakeStore, tmp_path: Path) -> None:
    """Whoever can write to the bucket cannot write elsewhere on the machines that follow it."""
    trainer, server = machine("trainer"), machine("server")

    def seal(version: int, files: dict[str, str]) -> manifests.Manifest:
        return seal_as(MODEL)(version, {"../../../escaped": files["saved_model.pb"], **files})

    with trainer.staging(MODEL) as staged:
        (staged / "saved_model.pb").write_bytes(b"1")
        trainer.publish(staged, seal)
    assert "outside its folder" in Follower(server).run_pass().faults[MODEL, 1]
    assert not server.versions(MODEL)
    assert not (tmp_path / "escaped").exists()


def test_a_pass_that_was_cut_off_leaves_nothing(machine: MakeStore) -> None:
    """The next process deletes what lies there half, and begins anew."""
    trainer, server = machine("trainer"), machine("server")
    publish_random(trainer)
    left = server.folder(MODEL) / ".staging-sync-dead"
    left.mkdir(parents=True)
    (left / "saved_model.pb").write_bytes(b"half")
    assert not server.versions(MODEL)
    Follower(server).run_pass()
    assert not left.exists()
    server.verify(MODEL, 1)


def test_what_was_damaged_on_the_disk_comes_anew_at_the_next_start(machine: MakeStore) -> None:
    """The bucket has it whole."""
    trainer, server = machine("trainer"), machine("server")
    promote(trainer, publish_random(trainer).version)
    Follower(server).run_pass()
    (server.path(MODEL, 1) / "saved_model.pb").write_bytes(b"damaged")
    assert Follower(server).run_pass().laid == ((MODEL, 1),)
    server.verify(MODEL, 1)


def test_a_removed_version_goes_everywhere(machine: MakeStore) -> None:
    """Its record stays, as in a local store."""
    trainer, server = machine("trainer"), machine("server")
    follower = Follower(server)
    for _ in range(2):
        promote(trainer, publish_random(trainer).version)
    publish_random(trainer)
    change_rollout(trainer, MODEL, lambda now: now.unload(1))
    follower.run_pass()
    remove_version(trainer, MODEL, 1, "gc", "old")
    assert follower.run_pass().removed == ((MODEL, 1),)
    assert server.versions(MODEL) == (2, 3)
    assert (server.folder(MODEL) / "records" / "1.json").exists()


def test_what_a_list_lacks_stays(machine: MakeStore) -> None:
    """A bucket that seems empty takes nothing away from those who serve."""
    trainer, server = machine("trainer"), machine("server")
    promote(trainer, publish_random(trainer).version)
    follower = Follower(server)
    follower.run_pass()
    empty = SharedStore(server.root, Bucket(parse_location("s3://memory/store"), MemoryStore()))
    Follower(empty).run_pass()
    assert server.versions(MODEL) == (1,)
    assert read_entries(server)[MODEL].versions == (1,)


def test_two_changes_at_once_are_both_made(machine: MakeStore) -> None:
    """Whoever is second begins anew from what the first one wrote."""
    one, two = machine("one"), machine("two")
    promote(one, publish_random(one).version)
    publish_random(two)
    interrupted: list[int] = []

    def promote_second(now: Rollout) -> Rollout:
        if not interrupted:
            interrupted.append(1)
            change_rollout(two, MODEL, lambda other: other.note_import(9, **BY))
        return now.promote(2, **BY)

    changed = change_rollout(one, MODEL, promote_second)
    assert [each.action for each in changed.history] == ["promote", "import", "promote"]
    assert [each.action for each in read_history(one, MODEL)] == ["promote", "import", "promote"]


class Mute(Bucket):
    """Writes, and its answers are lost; what it wrote may be overwritten before anybody asks again."""

    def replace(self, key: str, data: bytes, tag: dict[str, str]) -> dict[str, str] | None:
        done = super().replace(key, data, tag)
        if key.endswith("rollout.json"):
            assert done
            later = Rollout.model_validate_json(data).note_import(9, **BY)
            super().replace(key, later.model_dump_json().encode(), done)
            return None
        return done


def test_a_change_whose_answer_was_lost_is_made_once(machine: MakeStore) -> None:
    """Rolled back twice, a version too old would answer: the history says that the change is in it."""
    store = machine("one")
    for _ in range(3):
        promote(store, publish_random(store).version)
    mute = SharedStore(store.root, Mute(store.bucket.location, store.bucket.library))
    roll_back(mute, MODEL, **BY)
    now = read_rollout(store, MODEL)
    assert now.stable == 2
    assert [each.action for each in now.history].count("rollback") == 1


def test_a_machine_whose_disk_is_full_goes_on_with_what_it_has(machine: MakeStore) -> None:
    """The fault says so, and nothing half stays."""
    trainer, server = machine("trainer"), machine("server")
    follower = Follower(server)
    promote(trainer, publish_random(trainer).version)
    follower.run_pass()
    promote(trainer, publish_random(trainer, size=300_000).version)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        done = follower.run_pass()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in done.faults[MODEL, 2]
    assert read_rollout(server, MODEL).stable == 1
    assert not [each for each in server.folder(MODEL).iterdir() if each.name.startswith(".staging")]
