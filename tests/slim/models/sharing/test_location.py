"""URLs of buckets."""

import pytest

from modelyard.models.registry.bucket.location import parse_location

SECRET = "wJalrXUtnFEMI"


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://models", "models", ""),
        ("s3://models/prod/store/", "models", "prod/store"),
        ("gs://my-models/a", "my-models", "a"),
        ("az://container/a.b_c-d", "container", "a.b_c-d"),
    ],
)
def test_a_url_names_a_bucket_and_a_prefix(url: str, bucket: str, prefix: str) -> None:
    """Slashes at the prefix's ends do not matter."""
    found = parse_location(url)
    assert (found.bucket, found.prefix) == (bucket, prefix)
    assert found.url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        f"s3://AKIA:{SECRET}@models/prod",
        f"s3://{SECRET}@models/prod",
        f"s3://models/prod?secret_access_key={SECRET}",
        f"s3://models/prod#{SECRET}",
        f"s3://AKIA:{SECRET}/x@models",
        f"http://models/{SECRET}",
        f"file:///{SECRET}",
        f"/{SECRET}",
        f"s3:///{SECRET}",
        f"s3://models/../{SECRET}",
        f"s3://models/.index/{SECRET}",
        f"s3://models/a//{SECRET}",
        f"s3://models/{SECRET} b",
        "",
    ],
)
def test_anything_else_is_refused_and_not_repeated(url: str) -> None:
    """A URL with credentials, or of another form: the error has nothing of it, as it is logged."""
    with pytest.raises(ValueError, match="expected s3://") as caught:
        parse_location(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
