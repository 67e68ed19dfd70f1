"""Token buckets, on a clock of their own."""

from modelyard.services.gateway.limits.token_bucket import MAX_CLIENTS, Rate, TokenBuckets


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_full_bucket_gives_its_burst_and_then_its_rate() -> None:
    """Five at once, then one for each second of waiting; other clients have buckets of their own."""
    clock = Clock()
    buckets = TokenBuckets(Rate(per_s=1, burst=5), clock)
    assert [buckets.take("ann").allowed for _ in range(6)] == [True] * 5 + [False]
    assert buckets.take("bob").allowed
    clock.now += 2
    assert [buckets.take("ann").allowed for _ in range(3)] == [True, True, False]
    clock.now += 1000
    assert sum(buckets.take("ann").allowed for _ in range(10)) == 5


def test_headers_say_what_is_left_and_when_there_will_be_more() -> None:
    """draft-ietf-httpapi-ratelimit-headers; Retry-After only where it was refused."""
    buckets = TokenBuckets(Rate(per_s=0.1, burst=2), Clock())
    first, second, third = (dict(buckets.take("ann").headers()) for _ in range(3))
    assert [found["ratelimit-limit"] for found in (first, second, third)] == ["2", "2", "2"]
    assert [found["ratelimit-remaining"] for found in (first, second, third)] == ["1", "0", "0"]
    assert first["ratelimit-reset"] == "10"
    assert first["ratelimit-policy"] == '"default";q=2;w=20'
    assert second["ratelimit"] == '"default";r=0;t=20'
    assert ("retry-after" in second, third["retry-after"]) == (False, "10")


def test_what_others_have_let_in_counts_here_too() -> None:
    """Told once, and what is taken meanwhile comes off what they say."""
    buckets = TokenBuckets(Rate(per_s=1, burst=10), Clock())
    for _ in range(3):
        buckets.take("ann")
    assert buckets.pop_taken() == {"ann": 3}
    buckets.take("ann")
    buckets.set_level("ann", 2)
    assert [buckets.take("ann").allowed for _ in range(2)] == [True, False]
    assert buckets.pop_taken() == {"ann": 2}


def test_as_many_clients_as_want_to_be_known_take_bounded_memory() -> None:
    """Addresses come from outside: full buckets are forgotten first, then the oldest."""
    clock = Clock()
    buckets = TokenBuckets(Rate(per_s=1, burst=5), clock)
    for number in range(3 * MAX_CLIENTS):
        clock.now += 0.0001
        buckets.take(str(number))
        assert len(buckets) <= MAX_CLIENTS
    newest = str(3 * MAX_CLIENTS - 1)
    assert sum(buckets.take(newest).allowed for _ in range(10)) == 4


def test_what_costs_more_is_charged_though_it_is_not_there() -> None:
    """The client waits until it has come back; other gateways are told."""
    clock = Clock()
    buckets = TokenBuckets(Rate(per_s=1, burst=5), clock)
    assert buckets.take("ann").allowed
    buckets.charge("ann", 10)
    clock.now += 6
    assert not buckets.take("ann").allowed
    clock.now += 1
    assert buckets.take("ann").allowed
    assert buckets.pop_taken() == {"ann": 12}
