"""Files of TLS, as settings have them: what is wrong with one is said at the start, by the setting's name."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization

from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.settings import InvalidSettings, ServiceSettings
from modelyard.services.trainer.settings import TrainerSettings
from tests.support.certificates import Authority

PROCESSES = (GatewaySettings, SchedulerSettings, TrainerSettings)
POSTGRES = "postgresql+psycopg://modelyard@ledger.example:5432/modelyard"


def load(files: TlsFiles, **more: Any) -> ServiceSettings:
    return ServiceSettings.load(tls_ca=files.ca, tls_certificate=files.certificate, tls_key=files.key, **more)


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> TlsFiles:
    """Copies that a test may spoil."""
    given = authority.issue("settings")
    assert given.ca
    assert given.certificate
    assert given.key
    copies = (Path(shutil.copy2(path, tmp_path / path.name)) for path in (given.ca, given.certificate, given.key))
    return TlsFiles(*copies)


def test_the_same_files_are_the_brokers_the_ledgers_and_the_model_servers(files: TlsFiles) -> None:
    """By the names that kombu, libpq and gRPC have for them."""
    settings = load(files, broker_url="rediss://redis:6379/0", ledger_url=POSTGRES, serving_tls=True)
    broker, ledger = (parse_qs(urlsplit(url).query) for url in (settings.broker, settings.ledger))
    assert broker == {
        "ssl_cert_reqs": ["required"],
        "ssl_ca_certs": [str(files.ca)],
        "ssl_certfile": [str(files.certificate)],
        "ssl_keyfile": [str(files.key)],
    }
    assert ledger == {
        "sslmode": ["verify-full"],
        "sslrootcert": [str(files.ca)],
        "sslcert": [str(files.certificate)],
        "sslkey": [str(files.key)],
    }
    assert settings.serving_files == files


def test_what_a_url_says_itself_wins(files: TlsFiles) -> None:
    """Managed services have authorities of their own; a key never goes with a certificate that is not its own."""
    own = f"{POSTGRES}?sslmode=verify-ca&sslrootcert=/theirs.pem&sslcert=/mine.pem&sslkey=/mine.key"
    assert load(files, ledger_url=own).ledger == own
    broker = parse_qs(urlsplit(load(files, broker_url="rediss://r/0?ssl_certfile=/mine.pem").broker).query)
    assert broker["ssl_certfile"] == ["/mine.pem"]
    assert "ssl_keyfile" not in broker
    assert broker["ssl_ca_certs"] == [str(files.ca)]


def test_nothing_of_it_reaches_plain_urls(files: TlsFiles) -> None:
    """A file's ledger, a plain broker and unset settings stay as they are."""
    settings = load(files, broker_url="redis://127.0.0.1:6379/0")
    assert (settings.broker, settings.serving_files) == ("redis://127.0.0.1:6379/0", None)
    assert settings.ledger == "sqlite:///.modelyard/ledger.db"
    assert ServiceSettings.load(ledger_url=POSTGRES).ledger == POSTGRES
    for socket in ("postgresql+psycopg:///m?host=/run/postgresql", "postgresql+psycopg://me@/m"):
        assert load(files, ledger_url=socket).ledger == socket


@pytest.mark.parametrize("setting", ["tls_ca", "tls_certificate", "tls_key"])
@pytest.mark.parametrize("kind", PROCESSES)
def test_a_missing_file_is_named(files: TlsFiles, tmp_path: Path, setting: str, kind: type[ServiceSettings]) -> None:
    """By the setting, with its path."""
    given = {"tls_ca": files.ca, "tls_certificate": files.certificate, "tls_key": files.key} | {
        setting: tmp_path / "none"
    }
    with pytest.raises(InvalidSettings, match=rf"MODELYARD_{setting.upper()}: .*none cannot be read: No such file"):
        kind.load(**given)


def test_a_key_that_others_can_read_is_refused(files: TlsFiles) -> None:
    """By libpq's rule: what root owns a group may read, what a user owns nobody else."""
    assert files.key
    files.key.chmod(0o644)
    with pytest.raises(InvalidSettings, match=r"MODELYARD_TLS_KEY: others can use .*settings\.key.*received 0644"):
        load(files)
    files.key.chmod(0o660)
    with pytest.raises(InvalidSettings, match=r"MODELYARD_TLS_KEY: others can use"):
        load(files)
    files.key.chmod(0o640)
    if files.key.stat().st_uid == 0:
        load(files)
    files.key.chmod(0o400)
    load(files)


def test_a_key_of_another_certificate_is_refused(files: TlsFiles, authority: Authority) -> None:
    """A pair that was exchanged by half."""
    other = authority.issue("other")
    with pytest.raises(InvalidSettings, match=r"MODELYARD_TLS_KEY: .*does not belong to the certificate"):
        load(TlsFiles(files.ca, files.certificate, other.key))


def test_certificate_and_key_go_together(files: TlsFiles) -> None:
    """Each names what is missing."""
    with pytest.raises(InvalidSettings, match="MODELYARD_TLS_KEY: expected the file of the key of MODELYARD_TLS_CERT"):
        load(TlsFiles(files.ca, files.certificate))
    with pytest.raises(InvalidSettings, match="MODELYARD_TLS_KEY: expected MODELYARD_TLS_CERTIFICATE with it"):
        load(TlsFiles(files.ca, None, files.key))


def test_a_key_with_a_passphrase_is_refused(files: TlsFiles) -> None:
    """Nobody is there to type it; OpenSSL would ask at the terminal."""
    assert files.key
    plain = serialization.load_pem_private_key(files.key.read_bytes(), None)
    how = serialization.BestAvailableEncryption(b"secret")
    files.key.write_bytes(
        plain.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, how)
    )
    with pytest.raises(InvalidSettings, match="MODELYARD_TLS_KEY: the key is encrypted"):
        load(files)


def test_files_of_something_else_are_refused(files: TlsFiles) -> None:
    """With the path, and nothing of what is in them."""
    assert files.ca
    assert files.key
    files.ca.write_text("hunter2")
    with pytest.raises(InvalidSettings, match=r"MODELYARD_TLS_CA: .*ca\.crt holds no certificate in PEM") as refused:
        load(files)
    assert "hunter2" not in str(refused.value)
    files.key.write_text("hunter2")
    with pytest.raises(InvalidSettings, match=r"MODELYARD_TLS_KEY: .*settings\.key holds no key in PEM") as refused:
        load(TlsFiles(None, files.certificate, files.key))
    assert "hunter2" not in str(refused.value)


def test_a_key_in_the_place_of_its_path_is_refused_without_a_word_of_it(
    files: TlsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of that name among the secrets is read as the setting itself."""
    assert files.key
    (tmp_path / "modelyard_tls_key").write_text(files.key.read_text())
    monkeypatch.setenv("MODELYARD_SECRETS_DIR", str(tmp_path))
    with pytest.raises(InvalidSettings, match="MODELYARD_TLS_KEY: expected the path of a file") as refused:
        ServiceSettings.load(tls_certificate=files.certificate)
    assert "BEGIN" not in str(refused.value)


def test_model_servers_need_an_authority() -> None:
    """gRPC would believe any public one."""
    with pytest.raises(InvalidSettings, match="MODELYARD_SERVING_TLS: expected MODELYARD_TLS_CA"):
        GatewaySettings.load(serving_tls=True)


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As compose files have them."""
    for name in ("MODELYARD_TLS_CA", "MODELYARD_TLS_CERTIFICATE", "MODELYARD_TLS_KEY", "MODELYARD_ALLOW_PLAIN"):
        monkeypatch.setenv(name, "")
    assert ServiceSettings.load().tls_files == TlsFiles()


def test_https_needs_both_files(files: TlsFiles) -> None:
    """Of the gateway itself."""
    assert GatewaySettings.load().scheme == "http"
    assert GatewaySettings.load(https_certificate=files.certificate, https_key=files.key).scheme == "https"
    with pytest.raises(InvalidSettings, match="MODELYARD_HTTPS_KEY: expected the file of the key of MODELYARD_HTTPS_"):
        GatewaySettings.load(https_certificate=files.certificate)
    assert files.key
    files.key.chmod(0o666)
    with pytest.raises(InvalidSettings, match="MODELYARD_HTTPS_KEY: others can use"):
        GatewaySettings.load(https_certificate=files.certificate, https_key=files.key)
