"""The same over S3's protocol, with what goes wrong on the way to a server."""

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from modelyard.models.errors import CorruptData, StorageFailed
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.faults import BucketFailed
from modelyard.models.registry.bucket.location import parse_location
from modelyard.models.registry.rollout import change_rollout, read_rollout
from modelyard.models.registry.sharing.cleaning import clean_model
from modelyard.models.registry.sharing.follower import RETRY_S, Follower
from modelyard.models.registry.sharing.shared_store import SharedStore, check_conditions
from modelyard.models.registry.store import Store
from modelyard.services.settings import StoreSettings
from modelyard.services.sync.process import ONCE, PREPARE, SHARE, main
from modelyard.services.sync.program import prepare_store
from tests.support.ports import free_port
from tests.support.processes import WAIT_S, running
from tests.support.publishers import PUBLICATIONS, check_published, publish_all, publish_in_processes
from tests.support.s3 import FAULTS, KEY, KEY_ID, S3, BreakOne, BreakSome, Fault, run_s3
from tests.support.shared_stores import MODEL, Clock, publish_random
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with run_s3() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture
def s3(server: S3) -> S3:
    server.reset()
    return server


@pytest.fixture
def url(s3: S3) -> str:
    return s3.new_bucket()


def open_shared(folder: Path, url: str) -> SharedStore:
    store = SharedStore(folder, Bucket(parse_location(url)))
    store.prepare_folder()
    return store


def test_two_publishers_under_faults_lose_nothing_and_publish_nothing_twice(s3: S3, url: str, tmp_path: Path) -> None:
    """Each job that was told of its version has it, once and whole; one that was not is found by its job."""
    s3.faults, s3.stale_lists = BreakSome(0.15, seed=1), 2
    threads = [
        threading.Thread(target=publish_all, args=(str(tmp_path / name), url, name, 3)) for name in ("one", "two")
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert Counter(fault for *_, fault in s3.requests).total() > 50
    s3.reset()
    check_published(url, tmp_path / "check", [f"{name}-{number}" for name in ("one", "two") for number in range(3)])


@pytest.mark.long
def test_twenty_publications_of_two_processes_under_faults(s3: S3, url: str, tmp_path: Path) -> None:
    """0 lost, 0 twice, 0 half: with a quarter of all requests broken, and old lists."""
    s3.faults, s3.stale_lists = BreakSome(0.25, seed=2), 3
    publish_in_processes(tmp_path, url, s3.environment)
    broken = Counter(fault for *_, fault in s3.requests if fault)
    assert set(broken) == set(FAULTS)
    s3.reset()
    check_published(
        url, tmp_path / "check", [f"{name}-{number}" for name in ("one", "two") for number in range(PUBLICATIONS)]
    )


@pytest.mark.parametrize("fault", ["503", "lost request", "lost answer"])
@pytest.mark.parametrize("part", ["versions/1.json", "saved_model.pb", "jobs/"])
def test_one_broken_write_is_repaired(s3: S3, url: str, tmp_path: Path, part: str, fault: Fault) -> None:
    """Whichever it is: the answer that was lost is looked up, and what was not done is done."""
    s3.faults = faults = BreakOne(fault, "PUT", part)
    store = open_shared(tmp_path / "one", url)
    assert publish_random(store, "job1").version == 1
    assert not faults.left
    assert store.find_version_of(MODEL, "job1")
    check_published(url, tmp_path / "check", ["job1"])


@pytest.mark.parametrize("part", ["saved_model.pb", "manifest.json", "rollout.json", "versions/1.json"])
def test_a_download_that_ends_in_the_middle_is_made_again(s3: S3, url: str, tmp_path: Path, part: str) -> None:
    """At once, or with a later pass."""
    store, clock = open_shared(tmp_path / "one", url), Clock()
    publish_random(store, size=100_000)
    change_rollout(store, MODEL, lambda now: now.promote(1, by="test", reason=""))
    s3.faults = faults = BreakOne("torn answer", "GET", part)
    server = open_shared(tmp_path / "two", url)
    follower = Follower(server, now=clock)
    follower.run_pass()
    clock.now = RETRY_S + 1
    assert not follower.run_pass().faults
    assert not faults.left
    server.verify(MODEL, 1)
    assert read_rollout(server, MODEL).stable == 1


def test_old_lists_only_delay(s3: S3, url: str, tmp_path: Path) -> None:
    """What was published and promoted after them comes with a later pass; what is here stays."""
    store, server = open_shared(tmp_path / "one", url), open_shared(tmp_path / "two", url)
    follower = Follower(server)
    publish_random(store)
    change_rollout(store, MODEL, lambda now: now.promote(1, by="test", reason=""))
    follower.run_pass()
    s3.stale_lists = 2
    publish_random(store)
    change_rollout(store, MODEL, lambda now: now.promote(2, by="test", reason=""))
    for _ in range(2):
        follower.run_pass()
        assert read_rollout(server, MODEL).stable == 1
    follower.run_pass()
    assert read_rollout(server, MODEL).stable == 2
    server.verify(MODEL, 2)


def test_a_torn_upload_is_found_before_anybody_sees_it(s3: S3, url: str, tmp_path: Path) -> None:
    """The server keeps half of a file, and says that all is well: the version does not become one."""
    s3.faults = BreakOne("torn", "PUT", "saved_model.pb")
    store = open_shared(tmp_path / "one", url)
    with pytest.raises(CorruptData, match=r"saved_model\.pb came out of the bucket changed"):
        publish_random(store, size=4096)
    other = open_shared(tmp_path / "two", url)
    assert Follower(other).run_pass().laid == ()
    assert publish_random(store).version == 2
    assert clean_model(store.bucket, MODEL) == 3
    assert Follower(other).run_pass().laid == ((MODEL, 2),)


def test_wrong_credentials_are_said_at_once_and_without_what_the_server_said(s3: S3, url: str, tmp_path: Path) -> None:
    """A server's answer may repeat who asked."""
    s3.faults = lambda _method, _path: "denied"
    store = open_shared(tmp_path / "one", url)
    for action in (store.prepare, Follower(store).run_pass):
        with pytest.raises(StorageFailed, match="it refuses these credentials") as caught:
            action()
        assert KEY_ID not in str(caught.value)
        assert KEY not in str(caught.value)
    assert len(s3.requests) < 10


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_said(tmp_path: Path) -> None:
    """By its name."""
    store = open_shared(tmp_path / "one", "s3://nobody-made-it/store")
    for action in (store.prepare, Follower(store).run_pass):
        with pytest.raises(StorageFailed, match="object store s3://nobody-made-it/store: there is no such bucket"):
            action()


def test_s3_writes_on_conditions(url: str) -> None:
    """Which is what everything here stands on."""
    check_conditions(Bucket(parse_location(url)))


def test_a_file_of_several_parts_comes_through(url: str, tmp_path: Path) -> None:
    """Large files are uploaded in parts."""
    store, other = open_shared(tmp_path / "one", url), open_shared(tmp_path / "two", url)
    publish_random(store, size=6 << 20)
    Follower(other).run_pass()
    other.verify(MODEL, 1)


def test_a_process_follows_and_others_are_asked_something(
    s3: S3, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass of its own; a file that is shared; and a check from outside a process that forks, with the reason."""
    publisher, folder = open_shared(tmp_path / "one", url), tmp_path / "two"
    publish_random(publisher)
    (publisher.root / "catalog.json").write_text("{}")
    monkeypatch.setenv("MODELYARD_STORE_URL", url)
    monkeypatch.setenv("MODELYARD_STORE", str(publisher.root))
    assert main([PREPARE]) == main([SHARE, str(publisher.root / "catalog.json")]) == 0
    command = [sys.executable, "-m", "modelyard.services.sync", ONCE]
    done = subprocess.run(
        command, env=os.environ | {"MODELYARD_STORE": str(folder)}, capture_output=True, text=True, check=True
    )
    assert '"event":"version synced"' in done.stdout + done.stderr
    Store(folder).verify(MODEL, 1)
    assert (folder / "catalog.json").read_text() == "{}"
    s3.faults = lambda _method, _path: "denied"
    with pytest.raises(StorageFailed, match="it refuses these credentials"):
        prepare_store(StoreSettings.load(store=publisher.root))


def test_a_process_that_follows_shows_how_far_behind_it_is(s3: S3, url: str, tmp_path: Path) -> None:
    """On its port: what it brought; that the bucket refuses; and that it is as the bucket says again."""
    store, port = open_shared(tmp_path / "one", url), free_port()
    publish_random(store)
    settings = {"STORE": str(tmp_path / "two"), "STORE_URL": url, "SYNC_S": "0.1", "METRICS_PORT": str(port)}
    named = {f"MODELYARD_{name}": value for name, value in settings.items()}

    def read(name: str) -> float:
        with suppress(httpx.TransportError):
            for line in httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text.splitlines():
                if line.startswith(f"modelyard_sync_{name} "):
                    return float(line.split()[-1])
        return 0.0

    with running(tmp_path / "sync.log", "modelyard.services.sync", **named) as process:
        wait_until(lambda: read('versions_total{outcome="laid"}') == 1, WAIT_S, "a version")
        assert read("bytes_total") > 0
        s3.faults = lambda _method, _path: "denied"
        wait_until(lambda: read('failures_total{reason="bucket"}') >= 1, WAIT_S, "a failure")
        then = read("followed_timestamp_seconds")
        s3.reset()
        wait_until(lambda: read("followed_timestamp_seconds") > then, WAIT_S, "the bucket again")
        assert read('failures_total{reason="damaged"}') == read('failures_total{reason="disk"}') == 0
        assert process.stop() == 0


def test_an_outage_takes_nothing_away_and_ends(s3: S3, url: str, tmp_path: Path) -> None:
    """A change is refused meanwhile; who serves goes on with what is here."""
    store, server = open_shared(tmp_path / "one", url), open_shared(tmp_path / "two", url)
    publish_random(store)
    change_rollout(store, MODEL, lambda now: now.promote(1, by="test", reason=""))
    follower = Follower(server)
    follower.run_pass()
    s3.faults = lambda _method, _path: "lost request"
    for action in (follower.run_pass, lambda: publish_random(store)):
        with pytest.raises(BucketFailed):
            action()
    with pytest.raises(StorageFailed):
        change_rollout(store, MODEL, lambda now: now.preload(9))
    assert read_rollout(server, MODEL).stable == read_rollout(store, MODEL).stable == 1
    s3.reset()
    with suppress(StorageFailed):
        publish_random(store)
    follower.run_pass()
    assert max(server.versions(MODEL)) > 1
