"""URLs of buckets: which are accepted. Credentials are never part of one."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

FORMS = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
SCHEMES = ("s3", "gs", "az")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Location:
    """Where a bucket's objects are."""

    scheme: str
    bucket: str
    prefix: str
    """Without slashes at its ends; empty for the whole bucket."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    def __str__(self) -> str:
        return self.url


def parse_location(url: str) -> Location:
    """The place that a URL names.

    Raises:
        ValueError: it is of another form, or holds more than a place; the text has nothing of it.
    """
    try:
        parts = urlsplit(url)
        has_more = bool(parts.query or parts.fragment or parts.username or parts.password or parts.port)
    except ValueError:  # a port that is no number, as of a key with a slash
        raise ValueError(f"expected {FORMS}") from None
    if has_more or "@" in url:
        raise ValueError(
            f"expected {FORMS} and nothing else: credentials and endpoint come from the environment or the platform"
        )
    prefix = parts.path.strip("/")
    if parts.scheme not in SCHEMES or not NAME.fullmatch(parts.netloc):
        raise ValueError(f"expected {FORMS}")
    if prefix and not all(PART.fullmatch(part) for part in prefix.split("/")):
        raise ValueError(
            f"expected {FORMS}, with a prefix of letters, digits, dot, - and _, and no part that begins with a dot"
        )
    return Location(parts.scheme, parts.netloc, prefix)
