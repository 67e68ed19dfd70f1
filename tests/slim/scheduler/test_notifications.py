"""Notifications: what is told, of what, exactly how often, and in which words."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from modelyard.services.ledger import Ledger, State
from modelyard.services.ledger.notifications import Notification, name_job
from modelyard.services.scheduler.notifications.notifier import Notifier, notify
from modelyard.services.scheduler.notifications.settings import Event
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.settings import InvalidSettings
from tests.support.ledgers import new_ledger_file
from tests.support.notifying import TOKEN, decide, drift, end_job, ledger, make, outcomes, receiver
from tests.support.waiting import wait_until
from tests.support.webhook import PATH, Receiver

__all__ = ["ledger", "make", "outcomes", "receiver"]


def test_a_failed_job_is_told_once(ledger: Ledger, make: Callable[..., Notifier], receiver: Receiver) -> None:
    """However often one looks; with its id, the reason, and a link if there is an address for it."""
    notifier = make(notify_token=TOKEN, notify_console="https://models.example.org/")
    job = end_job(ledger, State.FAILED, "no disk")
    for _ in range(3):
        notifier.tell()
    (post,) = receiver.posts
    assert post.path == PATH
    assert post.headers["Authorization"] == f"Bearer {TOKEN}"
    assert post.headers["Idempotency-Key"] == f"job {job.id}"
    assert job.finished_at
    assert post.body == {
        "id": f"job {job.id}",
        "event": "job.failed",
        "attempt": 1,
        "at": job.finished_at.isoformat(),
        "model": "m",
        "job": job.id,
        "by": "ann",
        "reason": "no disk",
        "link": f"https://models.example.org/jobs/{job.id}",
        "text": f"m: {job.id} failed\nno disk\nhttps://models.example.org/jobs/{job.id}",
    }


def test_everything_that_may_be_told_is(ledger: Ledger, make: Callable[..., Notifier], receiver: Receiver) -> None:
    """Rejected versions, decisions about canaries, drift; nothing of what succeeds or what people do themselves."""
    notifier = make()
    end_job(ledger, State.REJECTED, "accuracy 0.5 < 0.9")
    end_job(ledger, State.REJECTED, group="search-1")
    end_job(ledger, State.SUCCEEDED)
    decide(ledger, "promote")
    decide(ledger, "end canary")
    decide(ledger, "promote", by="ann")
    drift(ledger, 0.31)
    for _ in range(2):
        notifier.tell()
    assert sorted((post.body["event"], post.body["text"].splitlines()[0][:30]) for post in receiver.posts) == [
        ("canary", "m: canary 3 was ended"),
        ("canary", "m: canary 3 was promoted"),
        ("drift", "m: requests to version 3 drift"),
        ("job.rejected", receiver.posts[0].body["text"][:30]),
    ]
    (told,) = (post.body for post in receiver.posts if post.body["event"] == "drift")
    assert (told["series"], told["psi"], told["version"]) == ("answer class", 0.31, 3)


def test_only_what_is_chosen_is_told(ledger: Ledger, make: Callable[..., Notifier], receiver: Receiver) -> None:
    """And drift only above its limit."""
    few = make(notify_drift=0.4)
    drift(ledger, 0.31)
    few.tell()
    assert receiver.posts == []
    end_job(ledger, State.FAILED)
    decide(ledger, "promote")
    make(notify_events="drift").tell()
    assert [post.body["event"] for post in receiver.posts] == ["drift"]


def test_what_happened_before_somebody_was_told_is_not(
    ledger: Ledger, make: Callable[..., Notifier], receiver: Receiver
) -> None:
    """Else the first start would tell of years."""
    end_job(ledger, State.FAILED)
    make().tell()
    assert receiver.posts == []


def test_several_schedulers_tell_of_each_event_once(
    ledger: Ledger, make: Callable[..., Notifier], receiver: Receiver
) -> None:
    """Whoever claims an attempt makes it; here another one would follow within a minute."""
    notifiers = [make(pause=lambda _: 60.0) for _ in range(4)]
    jobs = [end_job(ledger, State.FAILED) for _ in range(5)]
    decide(ledger, "promote")
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(notifier.tell) for notifier in notifiers]:
            done.result()
    told = [post.body["id"] for post in receiver.posts]
    assert sorted(told) == sorted([*(f"job {job.id}" for job in jobs), "rollout 1"])


def test_an_attempt_is_made_by_one(ledger_url: str) -> None:
    """A claim that comes second finds that it is not the last attempt any more. On either database."""
    with closing(Ledger(ledger_url)) as ledger:
        begun = ledger.notifications.begin()
        assert ledger.notifications.begin() == begun
        job = end_job(ledger, State.FAILED)
        end_job(ledger, State.REJECTED, group="search-1")
        (found,) = ledger.notifications.list_untold_jobs([State.FAILED, State.REJECTED], begun)
        assert found == job
        for _ in range(2):
            ledger.notifications.add([Notification(name_job(job.id), Event.JOB_FAILED, {"text": "t"})])
        assert ledger.notifications.list_untold_jobs([State.FAILED, State.REJECTED], begun) == ()
        (due,) = ledger.notifications.list_due(10)
        assert due.event == "job.failed"
        claimed = ledger.notifications.claim(due, 60.0)
        assert claimed
        assert ledger.notifications.claim(due, 60.0) is None
        assert ledger.notifications.list_due(10) == ()
        ledger.notifications.end(claimed, sent=True)
        ledger.notifications.prune(timedelta(0))
        assert ledger.notifications.begin() == begun
        assert ledger.notifications.list_untold_jobs([State.FAILED], begun) == (job,)


def test_a_text_calls_nobody_and_shows_no_key(
    ledger: Ledger, make: Callable[..., Notifier], receiver: Receiver
) -> None:
    """What a job's error says is not markup for a chat service; `text` alone is what some of them take."""
    notifier = make(notify_format="text")
    end_job(ledger, State.FAILED, "<!channel> & myd_0123456789ab_" + "0" * 40)
    notifier.tell()
    (post,) = receiver.posts
    assert set(post.body) == {"text"}
    assert "&lt;!channel&gt; &amp; myd_" in post.body["text"]
    assert "0" * 40 not in post.body["text"]


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/secret-path",
        "ftp://127.0.0.1/secret-path",
        "https://user:secret-path@hooks.example.org/",
        "https:///secret-path",
        "https://hooks.example.org:0/secret-path",
        "https://hooks.example.org:secret-path/",
        "https://hooks.example.org/secret-path#part",
        "https://hooks.example.org/secret-path with spaces",
        "secret-path",
    ],
)
def test_a_bad_url_is_refused_without_showing_it(url: str) -> None:
    """Only https, or this machine; secrets are not written into the log of a failed start."""
    with pytest.raises(InvalidSettings, match="MODELYARD_NOTIFY_URL: ") as caught:
        SchedulerSettings.load(notify_url=url)
    assert "secret-path" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://hooks.example.org/x", "http://127.0.0.1:8/x", "http://[::1]:8/x"])
def test_a_good_url_is_taken_and_masked(url: str) -> None:
    """In the settings that are logged, too."""
    settings = SchedulerSettings.load(notify_url=url, notify_token=TOKEN)
    assert url not in str(settings.mask_secrets())
    assert TOKEN not in str(settings.mask_secrets())


def test_a_running_scheduler_tells_and_logs_no_secret(tmp_path: Path, receiver: Receiver) -> None:
    """URL and token from files; the receiver fails first. Neither is in the log at any level, nor in its answer."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "modelyard_notify_url").write_text(receiver.url + "\n")
    (folder / "modelyard_notify_token").write_text(TOKEN)
    url = f"sqlite:///{new_ledger_file(tmp_path / 'ledger.db')}"
    settings = {
        "MODELYARD_HOME": str(tmp_path),
        "MODELYARD_LEDGER_URL": url,
        "MODELYARD_SECRETS_DIR": str(folder),
        "MODELYARD_NOTIFY_S": "0.1",
        "MODELYARD_LOG_LEVEL": "debug",
    }
    receiver.answers.append((500, {}))
    command = [sys.executable, "-m", "modelyard.services.scheduler"]
    log = tmp_path / "log"
    with (
        log.open("wb") as out,
        closing(Ledger(url)) as ledger,
        subprocess.Popen(command, env=os.environ | settings, stderr=out) as process,
    ):
        try:
            wait_until(lambda: ledger.exists() and b'"running"' in log.read_bytes(), what="the scheduler")
            ledger.notifications.begin()
            end_job(ledger, State.FAILED)
            wait_until(lambda: b"notification not sent" in log.read_bytes(), what="an attempt")
        finally:
            process.terminate()
            assert process.wait(60) == 0
    written = log.read_text()
    assert "status 500" in written
    assert PATH.strip("/").partition("/")[2] not in written
    assert TOKEN not in written


def test_a_notifier_that_breaks_ends_the_process(ledger: Ledger, receiver: Receiver) -> None:
    """Else nobody would be told of anything any more, and nobody would know."""
    failed, settings = threading.Event(), SchedulerSettings.load(notify_url=receiver.url)

    def run(over: threading.Event, tell: Callable[[], None]) -> None:
        del over, tell
        raise RuntimeError("a fault")

    with notify(ledger, settings, lambda _: None, run, failed.set):
        wait_until(failed.is_set)
