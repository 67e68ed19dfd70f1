"""Token buckets in a real Redis, which several gateways share."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.services.cli.processes import redis_server
from modelyard.services.gateway.http.errors import RateLimited
from modelyard.services.gateway.limits.rate_limits import RateLimits
from modelyard.services.gateway.limits.shared_buckets import LimitsUnavailable, SharedBuckets
from modelyard.services.gateway.limits.token_bucket import Rate
from modelyard.services.gateway.settings import GatewaySettings
from tests.support.waiting import wait_until

SLOW = Rate(per_s=0.001, burst=5)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    socket = tmp_path / "redis.sock"
    command = redis_server.build_command(redis_server.find_server(), socket, tmp_path)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(socket.exists)
        yield redis_server.make_broker_url(socket)
    finally:
        process.kill()
        process.wait()


def test_gateways_share_one_bucket(url: str) -> None:
    """Five in all, whoever is asked; another client has its own; what is taken elsewhere counts."""
    first, second = SharedBuckets(url), SharedBuckets(url)
    taken = [shared.take("submissions", "ann", SLOW).allowed for shared in (first, second) * 3]
    assert taken == [True] * 5 + [False]
    assert first.record("submissions", {"bob": 3, "eve": 9}, SLOW) == {
        "bob": pytest.approx(2),
        "eve": pytest.approx(-4),
    }
    assert [second.take("submissions", "bob", SLOW).allowed for _ in range(3)] == [True, True, False]
    first.close()
    second.close()


def test_what_one_gateway_lets_in_another_one_knows_soon(url: str) -> None:
    """Failed keys, as predictions, are counted in each and told to the others: the other one refuses before its 600."""
    settings = GatewaySettings(failed_keys_per_min=600, broker_url=url)
    first, second = (RateLimits(settings, SharedBuckets(url)) for _ in range(2))
    calls = 0

    def is_refused() -> bool:
        nonlocal calls
        calls += 1
        try:
            second.take_failed_key("192.0.2.1")
        except RateLimited:
            return True
        return False

    try:
        for _ in range(600):
            first.take_failed_key("192.0.2.1")
        wait_until(is_refused)
    finally:
        first.close()
        second.close()
    assert calls < 600


def test_nobody_is_counted_where_redis_does_not_answer() -> None:
    """And whoever asks is told so."""
    away = SharedBuckets("redis://127.0.0.1:1/0")
    with pytest.raises(LimitsUnavailable):
        away.take("submissions", "ann", SLOW)
