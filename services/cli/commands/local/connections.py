"""Checks of ``modelyard doctor``: whether the connections that are set can be made, and are protected."""

import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from modelyard.models.errors import ModelyardError
from modelyard.models.tfserving.addresses import is_name, list_servers, split_name
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.services.cli.commands.local.finding import Finding
from modelyard.services.cli.settings import ConnectionSettings
from modelyard.services.settings import LOCAL
from modelyard.services.tls.probe import TIMEOUT_S, Endpoint, Unprotected, probe
from modelyard.services.tls.urls import BROKER_NAMES, LEDGER_NAMES, MODE, SECURE_BROKER, is_postgresql

SOON = timedelta(days=14)
BROKER_PORT, LEDGER_PORT = 6379, 5432
HOW = "docs/deploy.md, TLS between processes, has which files each process needs"
UNCHECKED = ("disable", "allow", "prefer")
"""libpq's modes that may go on without TLS."""


def check_connections() -> Iterator[Finding]:
    """Broker, ledger and model servers, as far as they are set; nothing of sockets and files of this machine."""
    try:
        settings = ConnectionSettings.load()
    except ModelyardError as error:
        yield Finding("bad", str(error), HOW)
        return
    try:
        settings.require_protected(settings.list_servers(settings.serving))
    except ModelyardError as error:
        yield Finding("bad", str(error), HOW)
    if "broker_url" in settings.model_fields_set:
        yield from check_broker(settings.broker)
    if is_postgresql(settings.ledger):
        yield from check_ledger(settings.ledger)
    yield from check_servers(settings.list_servers(settings.serving), settings.serving_files)


def check_broker(url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    if parts.hostname is None:
        return
    endpoint = Endpoint(parts.hostname, parts.port or BROKER_PORT, "redis")
    files = read_files(url, BROKER_NAMES, wanted=parts.scheme == SECURE_BROKER)
    yield check(f"the broker at {show(endpoint)}", endpoint, files)


def check_ledger(url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    if parts.hostname is None:
        return
    endpoint = Endpoint(parts.hostname, parts.port or LEDGER_PORT, "postgresql")
    mode = dict(parse_qsl(parts.query)).get(MODE, UNCHECKED[-1])
    files = read_files(url, LEDGER_NAMES, wanted=mode not in UNCHECKED)
    yield check(f"the ledger at {show(endpoint)}", endpoint, files)


def check_servers(addresses: Sequence[str], tls: TlsFiles | None) -> Iterator[Finding]:
    for given in addresses:
        if given == LOCAL or given.startswith("unix:"):
            continue
        try:
            found = list_servers([given])
        except (OSError, ValueError) as error:
            yield Finding("bad", f"the model servers {given} cannot be looked up: {error}")
            continue
        if is_name(given) and not found:
            yield Finding("bad", f"the name {split_name(given)[0]} stands for no model server")
        for server in found:
            host, _, port = server.address.rpartition(":")
            endpoint = Endpoint(host.strip("[]"), int(port), "grpc", server.name)
            yield check(f"the model server at {server.address}", endpoint, tls)


def read_files(url: str, names: tuple[str, str, str], *, wanted: bool) -> TlsFiles | None:
    """The files that a URL names; None if it asks for no TLS."""
    said, fields = dict(parse_qsl(urlsplit(url).query)), ("ca", "certificate", "key")
    found = {field: said[name] for field, name in zip(fields, names, strict=True) if name in said}
    return TlsFiles.from_texts(found) if wanted else None


def show(endpoint: Endpoint) -> str:
    return f"{endpoint.host}:{endpoint.port}"


def check(what: str, endpoint: Endpoint, tls: TlsFiles | None) -> Finding:
    """Whether it can be reached, and believed."""
    if tls is None:
        return check_plain(what, endpoint)
    try:
        found = probe(endpoint, tls)
    except Unprotected as error:
        return Finding("bad", f"{what} {error}", HOW)
    left = found.until - datetime.now(UTC)
    return Finding(
        "note" if left < SOON else "ok",
        f"{what}: {found.version}, its certificate is good until {found.until:%Y-%m-%d}",
    )


def check_plain(what: str, endpoint: Endpoint) -> Finding:
    try:
        socket.create_connection((endpoint.host, endpoint.port), TIMEOUT_S).close()
    except OSError as error:
        return Finding("bad", f"{what} cannot be reached: {error.strerror or error}")
    return Finding("ok", f"{what} can be reached, without TLS")
