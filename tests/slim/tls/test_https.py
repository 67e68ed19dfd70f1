"""A gateway that speaks HTTPS itself: a real process, with granian's TLS."""

import ssl
from pathlib import Path

import httpx
import pytest

from tests.support.certificates import Authority
from tests.support.ports import held_port
from tests.support.processes import START_S, running
from tests.support.waiting import wait_until


def test_a_gateway_speaks_https_and_nothing_else(authority: Authority, tmp_path: Path) -> None:
    """Plain HTTP gets no answer; a client that does not know the authority leaves; TLS 1.2 will do."""
    files = authority.issue("https")
    with held_port() as port:
        variables = {
            "MODELYARD_HOME": str(tmp_path),
            "MODELYARD_PORT": str(port),
            "MODELYARD_KEY_SECRET": "x" * 32,
            "MODELYARD_HTTPS_CERTIFICATE": str(files.certificate),
            "MODELYARD_HTTPS_KEY": str(files.key),
        }
        with running(tmp_path / "log", "modelyard.services.gateway", **variables) as gateway:
            wait_until(lambda: "listening" in gateway.printed, START_S, "the gateway")
            url = f"https://127.0.0.1:{port}"
            assert url in gateway.printed
            context = ssl.create_default_context(cafile=str(authority.file))
            assert httpx.get(f"{url}/healthz", verify=context).status_code == 200
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                httpx.get(f"{url}/healthz")
            with pytest.raises(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/healthz")
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            assert httpx.get(f"{url}/version", verify=context).status_code == 401
