"""An OpenID Connect issuer over HTTP: its configuration, its keys, and tokens signed by them."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "modelyard"
POLL_S = 0.05
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Issuer:
    """On a free port of loopback, in this process."""

    def __init__(self) -> None:
        self.keys: dict[str, PrivateKey] = {"one": ec.generate_private_key(ec.SECP256R1())}
        self.asked = 0
        self.change: Callable[[str, bytes], tuple[int, Mapping[str, str], bytes]] = lambda _, body: (200, {}, body)
        """What becomes of the answer to a path."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/realm"

    def __enter__(self) -> "Issuer":
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="issuer", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sign(self, key_id: str = "one", key: Any = None, algorithm: str = "ES256", **claims: Any) -> str:
        """A token; claims that are None are left out."""
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 300, "groups": ["ml-team"]}
        given = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(given, key or self.keys[key_id], algorithm, headers={"kid": key_id})

    def describe(self, path: str) -> dict[str, Any]:
        if path == "/realm/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return {"keys": [describe_key(name, key) for name, key in self.keys.items()]}

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the library's name
                issuer.asked += 1
                status, headers, body = issuer.change(self.path, json.dumps(issuer.describe(self.path)).encode())
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Tests print nothing."""

        return Handler


def describe_key(name: str, key: PrivateKey) -> dict[str, Any]:
    """Its public part as a JWK (RFC 7517)."""
    public = key.public_key()
    found = (
        ECAlgorithm.to_jwk(public, as_dict=True)
        if isinstance(public, ec.EllipticCurvePublicKey)
        else RSAAlgorithm.to_jwk(public, as_dict=True)
    )
    return {**found, "kid": name, "use": "sig"}
