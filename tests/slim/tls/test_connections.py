"""Broker and ledger behind TLS, by the real clients: whom they believe, and what they say to whom they do not."""

from collections.abc import Callable
from contextlib import closing, suppress

import pytest

from modelyard.models.errors import StorageFailed
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.services.broker import QueueUnavailable, make_sender, require_broker
from modelyard.services.gateway.api.training.broker_probe import AWAY, BrokerProbe
from modelyard.services.gateway.limits.shared_buckets import LimitsUnavailable, SharedBuckets
from modelyard.services.gateway.limits.token_bucket import Rate
from modelyard.services.ledger import Ledger
from modelyard.services.settings import ServiceSettings
from tests.support.certificates import Authority
from tests.support.tls_server import TlsServer, tls_server

PASSWORD = "hunter2"
Connect = Callable[[TlsServer, TlsFiles], None]


def load(server: TlsServer, files: TlsFiles, host: str = "127.0.0.1") -> ServiceSettings:
    return ServiceSettings.load(
        tls_ca=files.ca,
        tls_certificate=files.certificate,
        tls_key=files.key,
        broker_url=f"rediss://{host}:{server.port}/0",
        broker_password=PASSWORD,
        ledger_url=f"postgresql+psycopg://modelyard@{host}:{server.port}/modelyard",
        ledger_password=PASSWORD,
    )


def send(server: TlsServer, files: TlsFiles) -> None:
    require_broker(make_sender(load(server, files).broker))


def ask(server: TlsServer, files: TlsFiles) -> None:
    if BrokerProbe(load(server, files).broker).read() == AWAY:
        raise QueueUnavailable


def limit(server: TlsServer, files: TlsFiles) -> None:
    with closing(SharedBuckets(load(server, files).broker)) as buckets:
        buckets.take("predict", "ann", Rate(1, 1))


CLIENTS: dict[str, Connect] = {"queue": send, "probe": ask, "limits": limit}
on_clients = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
Unreachable = (QueueUnavailable, LimitsUnavailable)


@on_clients
def test_every_client_of_the_broker_shows_its_certificate(authority: Authority, client: Connect) -> None:
    """Where the server wants one: the queue's, the probe's and that of limits."""
    with tls_server(authority.issue("redis"), needs_client=True) as server:
        with suppress(*Unreachable):  # the server answers everything as a ping
            client(server, authority.issue("gateway"))
        assert PASSWORD.encode() in b"".join(server.heard)


@on_clients
def test_without_a_certificate_it_is_not_let_in(authority: Authority, client: Connect) -> None:
    """Nothing is heard of it."""
    with tls_server(authority.issue("redis"), needs_client=True) as server:
        with pytest.raises(Unreachable):
            client(server, TlsFiles(authority.file))
        assert server.heard == []


@pytest.mark.parametrize(
    ("client", "fault"),
    [(send, "date"), (ask, "authority"), *((limit, fault) for fault in ("authority", "name", "date", "plain"))],
)
def test_a_broker_that_is_not_believed_hears_nothing(
    authority: Authority, stranger: Authority, client: Connect, fault: str
) -> None:
    """Of another authority, for another name, expired, or without TLS: neither password nor job."""
    shown = {
        "authority": stranger.issue("redis"),
        "name": authority.issue("elsewhere", "elsewhere.example"),
        "date": authority.issue("late", expired=True),
        "plain": None,
    }
    with tls_server(shown[fault]) as server:
        with pytest.raises(Unreachable):
            client(server, TlsFiles(authority.file))
        assert server.heard == []
        assert PASSWORD.encode() not in b"".join(server.overheard)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("authority", "certificate verify failed"),
        ("name", "does not match host name"),
        ("date", "certificate verify failed"),
        ("plain", "does not support SSL"),
    ],
)
def test_a_ledger_that_is_not_believed_hears_nothing(
    authority: Authority, stranger: Authority, fault: str, words: str
) -> None:
    """Least of all one that says that it does without: libpq's own default would go on."""
    shown = {
        "authority": stranger.issue("postgres"),
        "name": authority.issue("elsewhere", "elsewhere.example"),
        "date": authority.issue("late", expired=True),
        "plain": None,
    }
    with tls_server(shown[fault], postgresql=True) as server:
        with (
            closing(Ledger(load(server, TlsFiles(authority.file)).ledger)) as ledger,
            pytest.raises(StorageFailed, match=words),
        ):
            ledger.prepare()
        assert (server.heard, server.overheard) == ([], [])


def test_a_ledger_that_is_believed_is_spoken_to(authority: Authority) -> None:
    """It hears who comes; what it says to that is its affair."""
    with tls_server(authority.issue("postgres"), needs_client=True, postgresql=True) as server:
        with closing(Ledger(load(server, authority.issue("gateway")).ledger)) as ledger, pytest.raises(StorageFailed):
            ledger.prepare()
        assert b"modelyard" in b"".join(server.heard)
