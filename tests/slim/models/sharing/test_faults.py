"""What is said of a bucket that fails: the cause, and nothing that the server has said."""

import pytest
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError

from modelyard.models.registry.bucket.faults import describe_fault

SIGNED = "<StringToSign>AKIAIOSFODNN7EXAMPLE</StringToSign>"
FAILED = (
    "Generic S3 error: Error performing PUT https://models.s3.amazonaws.com/a in 10ms, after 6 retries, "
    "max_retries: 6, retry_timeout: 8s  - "
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionDeniedError(f"{FAILED}{SIGNED}"), "it refuses these credentials, or they may not do this"),
        (GenericError(f"{FAILED}Server returned non-2xx status code: 403 Forbidden: {SIGNED}"), "it refuses these"),
        (
            GenericError("Error performing PUT http://169.254.169.254/latest/api/token in 3s"),
            "no credentials were found",
        ),
        (GenericError(f"{FAILED}Server returned non-2xx status code: 503: {SIGNED}"), "it answers with status 503"),
        (GenericError(f"{FAILED}Server returned non-2xx status code: 503: <Code>SlowDown</Code>"), "fewer requests"),
        (GenericError(f"{FAILED}status code: 400 <Code>RequestTimeTooSkewed</Code> {SIGNED}"), "clock is wrong"),
        (GenericError(f"{FAILED}HTTP error: error sending request"), "it cannot be reached"),
        (GenericError(f"{FAILED}HTTP error: request or response body error"), "the connection broke off"),
        (GenericError(SIGNED), "it failed (GenericError)"),
    ],
)
def test_the_cause_is_named_and_the_servers_words_are_not(error: BaseError, said: str) -> None:
    """They may repeat who asked, and how it was signed."""
    found = describe_fault(error)
    assert said in found
    assert "AKIA" not in found
    assert "https://" not in found
