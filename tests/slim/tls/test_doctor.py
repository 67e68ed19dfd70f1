"""`modelyard doctor` and connections: a plain sentence for what is wrong with each."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.services.cli.commands.local.connections import check_connections
from modelyard.services.cli.commands.local.finding import Finding
from tests.support.certificates import Authority, settings_of
from tests.support.ports import held_port
from tests.support.tls_server import TlsServer, tls_server


@dataclass
class Kind:
    """How one of the three is set."""

    what: str
    postgresql: bool = False

    def variables(self, port: int, host: str = "127.0.0.1") -> dict[str, str]:
        return {
            "broker": {"MODELYARD_BROKER_URL": f"rediss://{host}:{port}/0"},
            "ledger": {"MODELYARD_LEDGER_URL": f"postgresql+psycopg://modelyard@{host}:{port}/modelyard"},
            "model server": {"MODELYARD_SERVING": f"{host}:{port}", "MODELYARD_SERVING_TLS": "true"},
        }[self.what]


KINDS = (Kind("broker"), Kind("ledger", postgresql=True), Kind("model server"))
on_kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def check(patch: pytest.MonkeyPatch, **variables: str) -> list[Finding]:
    for name, value in variables.items():
        patch.setenv(name, value)
    return list(check_connections())


@contextmanager
def serving(kind: Kind, files: TlsFiles | None, *, needs_client: bool = False) -> Iterator[TlsServer]:
    with tls_server(files, needs_client=needs_client, postgresql=kind.postgresql) as server:
        yield server


@on_kinds
def test_a_connection_that_is_sound_is_said_with_its_certificates_end(
    authority: Authority, patch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """With mutual TLS, too."""
    ours = authority.issue("doctor")
    with serving(kind, authority.issue("server"), needs_client=True) as server:
        port = server.port
        (found,) = check(patch, **kind.variables(port), **settings_of(ours))
    assert found.level == "ok"
    assert found.message.startswith(f"the {kind.what} at 127.0.0.1:{port}: TLSv1.3, its certificate is good until ")


@on_kinds
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("authority", "shows a certificate of no authority in "),
        ("name", "shows a certificate for another name than 127.0.0.1"),
        ("date", "shows a certificate that has expired"),
        ("plain", "speaks no TLS"),
    ],
)
def test_what_is_wrong_with_a_server_is_said(
    authority: Authority, stranger: Authority, patch: pytest.MonkeyPatch, kind: Kind, fault: str, words: str
) -> None:
    """In one sentence, with the way out."""
    shown = {
        "authority": stranger.issue("server"),
        "name": authority.issue("elsewhere", "elsewhere.example"),
        "date": authority.issue("late", expired=True),
        "plain": None,
    }
    with serving(kind, shown[fault]) as server:
        (found,) = check(patch, **kind.variables(server.port), **settings_of(TlsFiles(authority.file)))
    assert found.level == "bad"
    assert words in found.message
    assert found.remedy


@on_kinds
def test_what_is_wrong_with_ours_is_said(
    authority: Authority, stranger: Authority, patch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """None where one is wanted, and one that is not believed: by TLS 1.3 the server says so after the handshake."""
    with serving(kind, authority.issue("server"), needs_client=True) as server:
        (none,) = check(patch, **kind.variables(server.port), MODELYARD_TLS_CA=str(authority.file))
        foreign = stranger.issue("doctor")
        (wrong,) = check(patch, **settings_of(TlsFiles(authority.file, foreign.certificate, foreign.key)))
    assert "wants a certificate of its clients: MODELYARD_TLS_CERTIFICATE" in none.message
    assert f"does not believe the certificate {foreign.certificate}" in wrong.message


def test_model_servers_of_every_pool_are_asked(authority: Authority, patch: pytest.MonkeyPatch) -> None:
    """By the same files."""
    with (
        serving(KINDS[2], authority.issue("server")) as one,
        serving(KINDS[2], authority.issue("late", expired=True)) as two,
    ):
        address = f"127.0.0.1:{two.port}"
        pools, ours = json.dumps({"gpu": address}), settings_of(TlsFiles(authority.file))
        found = check(patch, **KINDS[2].variables(one.port), MODELYARD_SERVING_POOLS=pools, **ours)
    assert [each.level for each in found] == ["ok", "bad"]
    assert f"the model server at {address} shows a certificate that has expired" in found[1].message


def test_nobody_there_is_said(authority: Authority, patch: pytest.MonkeyPatch) -> None:
    """By each kind, and by a name that nobody knows."""
    with held_port() as port:
        for kind in KINDS:
            check(patch, **kind.variables(port))
        found = check(patch, MODELYARD_TLS_CA=str(authority.file))
    assert [each.level for each in found] == ["bad"] * 3
    assert all("cannot be reached: Connection refused" in each.message for each in found)
    patch.setenv("MODELYARD_BROKER_URL", "rediss://nobody.invalid/0")
    assert "is not known by its name nobody.invalid" in next(check_connections()).message


def test_a_bad_file_is_the_one_finding(patch: pytest.MonkeyPatch) -> None:
    """The setting is named."""
    (found,) = check(patch, MODELYARD_TLS_CA="/none")
    assert (found.level, found.message) == ("bad", "MODELYARD_TLS_CA: /none cannot be read: No such file or directory")


def test_a_plain_connection_that_nobody_allowed_is_found(patch: pytest.MonkeyPatch) -> None:
    """As processes would say at their start."""
    found = check(patch, MODELYARD_BROKER_URL="redis://redis.invalid/0")
    assert found[0].message.startswith("MODELYARD_ALLOW_PLAIN: the broker is on another machine (redis.invalid)")
    allowed = check(patch, MODELYARD_ALLOW_PLAIN="broker")
    assert len(allowed) == 1
    assert "cannot be reached" in allowed[0].message


def test_nothing_is_said_of_what_is_not_set() -> None:
    """One machine has sockets and files."""
    assert list(check_connections()) == []
