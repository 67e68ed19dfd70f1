"""Notifications: what is told, exactly how often, and what a receiver that fails changes."""

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard.models.registry.history import Head
from modelyard.services.ledger import Entry, Job, JobRequest, Kind, Ledger, State
from modelyard.services.ledger.notifications import Notification, name_job
from modelyard.services.ledger.observations import Drift
from modelyard.services.scheduler.canary_analysis import BY
from modelyard.services.scheduler.notifications.notifier import MAX_ATTEMPTS, Notifier, notify, pause_s
from modelyard.services.scheduler.notifications.settings import Event
from modelyard.services.scheduler.notifications.webhook import Webhook
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.settings import InvalidSettings
from tests.support.ledgers import new_ledger_file
from tests.support.waiting import wait_until
from tests.support.webhook import PATH, Receiver

TOKEN = "a-token-of-the-receiver"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """On one database: what differs between them is claimed and found in tests of its own."""
    with closing(Ledger(f"sqlite:///{new_ledger_file(tmp_path / 'ledger.db')}")) as found:
        yield found


@pytest.fixture
def outcomes() -> "Counter[str]":
    return Counter()


@pytest.fixture
def make(ledger: Ledger, receiver: Receiver, outcomes: "Counter[str]") -> Iterator[Callable[..., Notifier]]:
    """A notifier, which has begun: what the test does afterwards is told. It tries again at once."""
    opened: list[Webhook] = []

    def open_one(pause: Callable[[int], float] = lambda _: 0.0, **given: Any) -> Notifier:
        settings = SchedulerSettings.load(**{"notify_url": receiver.url, **given})
        opened.append(Webhook(settings))
        ledger.notifications.begin()
        return Notifier(ledger, settings, opened[-1], lambda outcome: outcomes.update([outcome]), pause)

    yield open_one
    for webhook in opened:
        webhook.close()


def end_job(ledger: Ledger, state: State, reason: str = "a reason", group: str | None = None) -> Job:
    job = ledger.jobs.add(JobRequest(model="m"), by="ann", group=group)
    claimed = ledger.jobs.claim(job.id, "worker")
    assert claimed
    if state is State.SUCCEEDED:
        assert ledger.jobs.begin_publishing(claimed)
    assert ledger.jobs.finish(claimed, state, {"reason": reason})
    return ledger.jobs.get(job.id)


def decide(ledger: Ledger, action: str, by: str = BY) -> None:
    """As the scheduler carries it from a rollout's history into the trail."""
    known = ledger.audit.read_history_head("m")
    entry = Entry(Kind.ROLLOUT, action, by, model="m", version=3, detail={"reason": "nothing spoke against it"})
    assert ledger.audit.record_history("m", known, Head(known.count + 1, "a" * 64), [entry])


def drift(ledger: Ledger, psi: float) -> None:
    shifts = {"answer class": {"psi": psi}, "input ink": {"psi": psi / 2}}
    ledger.observations.put_drift(Drift("m", 3, 500, shifts, datetime.now(UTC)))


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


@pytest.mark.parametrize("answer", [(500, {}), (302, {"Location": "http://127.0.0.1:9/"}), (404, {}), (429, {})])
def test_what_is_not_taken_is_sent_again_under_its_id(
    answer: tuple[int, dict[str, str]],
    ledger: Ledger,
    make: Callable[..., Notifier],
    receiver: Receiver,
    outcomes: "Counter[str]",
) -> None:
    """Marked as another attempt, in the text too. A redirection is not followed: the URL is the operator's."""
    notifier = make()
    job = end_job(ledger, State.FAILED)
    receiver.answers.append(answer)
    notifier.tell()
    notifier.tell()
    notifier.tell()
    assert [(post.body["id"], post.body["attempt"]) for post in receiver.posts] == [
        (f"job {job.id}", n) for n in (1, 2)
    ]
    assert "attempt 2" in receiver.posts[1].body["text"]
    assert "attempt" not in receiver.posts[0].body["text"]
    assert outcomes == {"failed": 1, "sent": 1}


def test_a_redirection_elsewhere_is_not_followed(
    ledger: Ledger, make: Callable[..., Notifier], receiver: Receiver
) -> None:
    """Neither the event nor the token goes to a receiver that the operator did not name."""
    with Receiver() as other:
        notifier = make(notify_token=TOKEN)
        end_job(ledger, State.FAILED)
        receiver.answers.extend([(status, {"Location": other.url}) for status in (301, 302, 303, 307, 308)])
        for _ in range(6):
            notifier.tell()
    assert other.posts == []
    assert [post.body["attempt"] for post in receiver.posts] == [1, 2, 3, 4, 5, 6]


def test_a_receiver_that_does_not_answer_is_left_in_time(
    ledger: Ledger, make: Callable[..., Notifier], receiver: Receiver, outcomes: "Counter[str]"
) -> None:
    """And one that nobody listens at any more."""
    notifier = make(notify_timeout_s=0.2)
    end_job(ledger, State.FAILED)
    receiver.open.clear()
    notifier.tell()
    assert outcomes == {"failed": 1}
    away = make(notify_url="http://127.0.0.1:9/hooks/gone")
    away.tell()
    assert outcomes == {"failed": 2}
    receiver.open.set()
    make().tell()
    assert outcomes == {"failed": 2, "sent": 1}


def test_whoever_ends_in_the_middle_of_an_attempt_leaves_it_to_the_next(
    ledger: Ledger, make: Callable[..., Notifier], receiver: Receiver
) -> None:
    """At least once: the next one says that it may have come before."""
    notifier = make()
    end_job(ledger, State.FAILED)
    receiver.answers.append((500, {}))
    notifier.tell()
    (due,) = ledger.notifications.list_due(10)
    assert ledger.notifications.claim(due, 0.0)  # and nothing more: killed here
    make().tell()
    assert [post.body["attempt"] for post in receiver.posts] == [1, 3]


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


def test_what_is_never_taken_is_given_up(
    ledger: Ledger, make: Callable[..., Notifier], receiver: Receiver, outcomes: "Counter[str]"
) -> None:
    """After a day of tries, with pauses that double up to an hour."""
    notifier = make()
    end_job(ledger, State.FAILED)
    receiver.answers.extend([(500, {})] * 5)
    notifier.tell()
    for _ in range(MAX_ATTEMPTS - 3):
        (due,) = ledger.notifications.list_due(10)
        ledger.notifications.claim(due, 0.0)
    for _ in range(4):
        notifier.tell()
    assert [post.body["attempt"] for post in receiver.posts] == [1, MAX_ATTEMPTS - 1, MAX_ATTEMPTS]
    assert outcomes == {"failed": 2, "given up": 1}
    assert timedelta(hours=20) < timedelta(seconds=sum(map(pause_s, range(1, MAX_ATTEMPTS)))) < timedelta(days=2)


def test_a_receiver_may_ask_for_a_pause(ledger: Ledger, make: Callable[..., Notifier], receiver: Receiver) -> None:
    """Chat services count what they are sent (RFC 9110, section 10.2.3)."""
    notifier = make()
    end_job(ledger, State.FAILED)
    receiver.answers.append((429, {"Retry-After": "600"}))
    for _ in range(3):
        notifier.tell()
    assert len(receiver.posts) == 1


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
