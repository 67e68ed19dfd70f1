"""URLs of broker and ledger, with the files of their connections over TLS."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from modelyard.models.tfserving.tls_files import TlsFiles

SECURE_BROKER, POSTGRESQL = "rediss", "postgresql"
BROKER_NAMES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""As kombu and redis-py read them from a URL."""
LEDGER_NAMES = ("sslrootcert", "sslcert", "sslkey")
"""As libpq does (PostgreSQL, 34.1.2)."""
MODE, CHECKED = "sslmode", "verify-full"


def add_broker_files(url: str, files: TlsFiles) -> str:
    """Of ``rediss://`` with the files that the URL does not name itself; any other as it is."""
    return add_missing(url, name_files(files, BROKER_NAMES)) if urlsplit(url).scheme == SECURE_BROKER else url


def add_ledger_files(url: str, files: TlsFiles) -> str:
    """Of a PostgreSQL: where authorities are known, and the URL says nothing else, its certificate is checked.

    Not through a socket of this machine, which is never spoken to by TLS.
    """
    if not is_postgresql(url) or all(map(is_socket, list_hosts(url))):
        return url
    checked = {MODE: CHECKED} if files.ca else {}
    return add_missing(url, checked | name_files(files, LEDGER_NAMES))


def is_postgresql(url: str) -> bool:
    return urlsplit(url).scheme.partition("+")[0] == POSTGRESQL


def name_files(files: TlsFiles, names: tuple[str, str, str]) -> dict[str, str]:
    """Paths of those that there are, by their names in a URL."""
    found: Mapping[str, Path | None] = dict(zip(names, (files.ca, files.certificate, files.key), strict=True))
    return {name: str(path) for name, path in found.items() if path}


def add_missing(url: str, wanted: Mapping[str, str]) -> str:
    """Adds to a URL's query what it does not say. A key goes with its certificate: with neither, or with both."""
    parts = urlsplit(url)
    said = dict(parse_qsl(parts.query, keep_blank_values=True))
    names = BROKER_NAMES if parts.scheme == SECURE_BROKER else LEDGER_NAMES
    pair = set(names[1:]) if said.keys() & set(names[1:]) else set()
    missing = {name: value for name, value in wanted.items() if name not in said.keys() | pair}
    if not missing:
        return url
    added = urlencode(missing, quote_via=quote, safe="/")
    return f"{url.removesuffix('?')}{'&' if parts.query else '?'}{added}"


def list_hosts(url: str) -> Iterator[str]:
    """Hosts of a PostgreSQL, as libpq and SQLAlchemy take them from a URL: in their place, or in the query."""
    parts = urlsplit(url)
    for name, value in parse_qsl(parts.query):
        if name in ("host", "hostaddr"):
            yield from map(drop_port, value.split(","))
    if parts.hostname:
        yield parts.hostname


def drop_port(host: str) -> str:
    """SQLAlchemy's ``host:port`` without the port; an address of IPv6 has more colons."""
    return host.partition(":")[0] if host.count(":") == 1 else host


def is_socket(host: str) -> bool:
    """Whether it is a path of this machine, or an abstract name on it."""
    return host.startswith(("/", "@"))
