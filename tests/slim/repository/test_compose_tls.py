"""Compose with TLS between all processes: who has which certificate."""

import re
import shutil
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from modelyard.services.settings import ServiceSettings
from tests.support.compose import MAIN, read
from tests.support.repository import ROOT

TLS = read(ROOT / "deploy/compose.tls.yml")["services"]
FILES_OF_TLS = {"CA": "/certificates/ca.crt", "CERTIFICATE": "/certificates/tls.crt", "KEY": "/certificates/tls.key"}


@pytest.mark.parametrize("name", ["gateway", "trainer", "scheduler", "migrate", "operator"])
def test_with_tls_every_client_has_a_certificate_and_no_leave_to_do_without(name: str) -> None:
    """Of its own; the operator's is the gateway's, as its role in the database."""
    variables = TLS[name]["environment"]
    assert {key: variables[f"MODELYARD_TLS_{key}"] for key in FILES_OF_TLS} == FILES_OF_TLS
    assert (variables["MODELYARD_BROKER_URL"], variables["MODELYARD_ALLOW_PLAIN"]) == ("rediss://redis:6379/0", "")
    own = "gateway" if name == "operator" else name
    assert TLS[name]["volumes"] == [f"./certificates/{own}:/certificates:ro"]


def test_with_tls_every_server_shows_a_certificate() -> None:
    """And lets nobody in without; which process has whose key is in no doubt."""
    assert set(TLS) == set(read(MAIN)["services"])
    for name in ("postgres", "redis", "modelserver"):
        assert f"./certificates/{name}:/certificates:ro" in TLS[name]["volumes"]
    assert {"ssl=on", "hba_file=/etc/modelyard/pg_hba.conf"} <= set(TLS["postgres"]["command"])
    assert TLS["modelserver"]["entrypoint"] == ["sh", "/etc/modelyard/start-tls"]
    script = (ROOT / "deploy/redis/start").read_text()
    assert {"port 0", "tls-port 6379", "tls-auth-clients yes"} <= set(re.split("[\n']", script))


def test_certificates_are_made_for_every_service(tmp_path: Path) -> None:
    """By names that the compose file has, all of one authority; a second run changes nothing."""
    if shutil.which("openssl") is None:
        pytest.skip("the script calls openssl")
    made = [
        subprocess.run([ROOT / "deploy/make-certificates", tmp_path], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    wanted = {name for name in TLS if name != "operator"}
    assert ({Path(line.removeprefix("made ")).name for line in made[0].splitlines()}, made[1]) == (wanted, "")
    for name in wanted:
        own = tmp_path / name
        ServiceSettings.load(tls_ca=own / "ca.crt", tls_certificate=own / "tls.crt", tls_key=own / "tls.key")
        context = ssl.create_default_context(cafile=str(own / "ca.crt"))
        assert (own / "ca.crt").read_bytes() == (tmp_path / "ca.crt").read_bytes()
        require_handshake(context, own, name)
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def require_handshake(context: ssl.SSLContext, own: Path, name: str) -> None:
    """In memory: a client of the authority believes that it is called by this name."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(own / "tls.crt", own / "tls.key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there, server_hostname=name)
    server = server_context.wrap_bio(there, back, server_side=True)
    for side in (client, server, client):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.version() == "TLSv1.3"
