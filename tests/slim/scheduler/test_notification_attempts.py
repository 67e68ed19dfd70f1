"""Notifications whose receiver fails: tried again under the same id, at least once, and given up after a day."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from modelyard.services.ledger import Ledger, State
from modelyard.services.scheduler.notifications.notifier import MAX_ATTEMPTS, Notifier, pause_s
from tests.support.notifying import TOKEN, end_job, ledger, make, outcomes, receiver
from tests.support.webhook import Receiver

__all__ = ["ledger", "make", "outcomes", "receiver"]


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
