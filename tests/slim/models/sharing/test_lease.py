"""Locks that hold on all machines."""

import pytest
from obstore.store import MemoryStore

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.bucket.bucket import Bucket
from modelyard.models.registry.bucket.lease import LeaseRecord, hold_lease
from modelyard.models.registry.bucket.location import parse_location
from tests.support.waiting import wait_until

KEY = ".leases/promote-digits.json"


@pytest.fixture
def bucket() -> Bucket:
    return Bucket(parse_location("s3://memory/store"), MemoryStore())


def test_one_process_at_a_time_holds_it(bucket: Bucket) -> None:
    """A second one is told; when the first has ended, it may."""
    with hold_lease(bucket, "promote-digits", 0), pytest.raises(StorageFailed, match="promote-digits is held"):
        hold_lease(bucket, "promote-digits", 0).__enter__()
    with hold_lease(bucket, "promote-digits", 0):
        pass


def test_whoever_died_with_it_loses_it_and_who_lives_does_not(bucket: Bucket) -> None:
    """By the waiter's own clock: no two clocks are compared."""
    bucket.create(KEY, LeaseRecord(holder="dead", beat=1).model_dump_json().encode())
    with hold_lease(bucket, "promote-digits", 30, renew_s=0.05, expiry_s=0.5):
        held = bucket.read(KEY)
        with pytest.raises(StorageFailed):
            hold_lease(bucket, "promote-digits", 1.5, renew_s=0.05, expiry_s=0.5).__enter__()
        now = bucket.read(KEY)
        assert held
        assert now
        assert held.data != now.data
    released = bucket.read(KEY)
    assert released
    assert LeaseRecord.model_validate_json(released.data).holder == ""


def test_a_lease_that_was_taken_over_is_not_given_back(bucket: Bucket) -> None:
    """It is another one's by then."""
    with hold_lease(bucket, "promote-digits", 0, renew_s=0.01):
        other = LeaseRecord(holder="other", beat=1).model_dump_json().encode()

        def take() -> bool:
            found = bucket.read(KEY)
            return found is not None and bucket.replace(KEY, other, found.tag) is not None

        wait_until(take)
    found = bucket.read(KEY)
    assert found
    assert found.data == other
