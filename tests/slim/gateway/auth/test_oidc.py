"""Tokens of an OpenID Connect issuer: which are accepted, as whom, and what an issuer that is away changes."""

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth.key_cache import InvalidKey, KeysNotRead
from modelyard.services.gateway.auth.oidc.issuer_keys import MAX_BYTES, IssuerKeys
from modelyard.services.gateway.auth.oidc.tokens import NoRole, Tokens
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Role
from tests.slim.conftest import open_app
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.issuer import AUDIENCE, Issuer
from tests.support.keyed import KEY_SECRET, bearer_header, key_for, keyed_settings
from tests.support.ledgers import new_ledger_file
from tests.support.waiting import wait_until

ROLES = {"ml-team": Role.TRAINER, "ml-admins": Role.ADMIN, "shop": Role.PREDICTOR}
PREDICT = f"/v1/models/{HALF_PLUS}:predict"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


def settings_of(issuer: Issuer, **more: Any) -> dict[str, Any]:
    return {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_roles": ROLES, **more}


@contextmanager
def reading(issuer: Issuer, refresh_s: float = 60.0, **more: Any) -> Iterator[Tokens]:
    """Tokens whose keys are fetched anew soon."""
    keys = IssuerKeys(issuer.url, refresh_s, anew_s=0.05)
    keys.start()
    yield Tokens(GatewaySettings(key_secret=KEY_SECRET, **settings_of(issuer, **more)), keys)
    keys.close()


@pytest.fixture(scope="module")
def steady() -> Iterator[Issuer]:
    """An issuer that no test changes."""
    with Issuer() as running:
        yield running


@pytest.fixture(scope="module")
def tokens(steady: Issuer) -> Iterator[Tokens]:
    """Its own."""
    with reading(steady) as found:
        yield found


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_good_token_has_the_role_of_its_groups(steady: Issuer, tokens: Tokens) -> None:
    """The one of most permissions; its name resembles no key's, and no author of the system's own."""
    found = tokens.find_principal(steady.sign(groups=["unknown", "shop", "ml-team"]))
    assert (found.name, found.role) == ("oidc/ann", Role.TRAINER)
    assert tokens.find_principal(steady.sign(groups="ml-admins")).role is Role.ADMIN
    assert tokens.find_principal(steady.sign(aud=["other", AUDIENCE])).role is Role.TRAINER
    assert found.is_valid()


@pytest.mark.parametrize("claim", ["realm_access.roles", "https://example.org/roles"])
def test_groups_may_be_in_another_claim(claim: str, steady: Issuer) -> None:
    """Within another one, or with a dot in its name."""
    within: Mapping[str, Any] = {"realm_access": {"roles": ["shop"]}, "https://example.org/roles": ["shop"]}
    with reading(steady, oidc_roles_claim=claim, oidc_name_claim="email") as tokens:
        found = tokens.find_principal(steady.sign(**within, email="ann@example.org"))
    assert (found.name, found.role) == ("oidc/ann@example.org", Role.PREDICTOR)


def encode(part: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def forge_unsigned(issuer: Issuer) -> str:
    """`none`, as in RFC 7518, section 3.6."""
    _, payload, _ = issuer.sign().split(".")
    return f"{encode({'alg': 'none', 'typ': 'JWT', 'kid': 'one'})}.{payload}."


def forge_by_public_key(issuer: Issuer) -> str:
    """An HMAC whose secret is the issuer's public key: RFC 8725, section 2.1."""
    import hashlib
    import hmac

    public = issuer.keys["one"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _, payload, _ = issuer.sign().split(".")
    signed = f"{encode({'alg': 'HS256', 'kid': 'one'})}.{payload}"
    mark = base64.urlsafe_b64encode(hmac.digest(public, signed.encode(), hashlib.sha256)).rstrip(b"=").decode()
    return f"{signed}.{mark}"


def change_payload(issuer: Issuer) -> str:
    head, _, mark = issuer.sign().split(".")
    claims = jwt.decode(issuer.sign(), options={"verify_signature": False}) | {"groups": ["ml-admins"]}
    return f"{head}.{encode(claims)}.{mark}"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda issuer: issuer.sign(exp=time.time() - 60), "token expired"),
        (lambda issuer: issuer.sign(nbf=time.time() + 60), "token early"),
        (lambda issuer: issuer.sign(aud="another-service"), "token audience"),
        (lambda issuer: issuer.sign(iss="https://login.example.org"), "token issuer"),
        (lambda issuer: issuer.sign(key=ec.generate_private_key(ec.SECP256R1())), "token signature"),
        (lambda issuer: issuer.sign("two", key=issuer.keys["one"]), "token unknown key"),
        (lambda issuer: issuer.sign(exp=None), "token malformed"),
        (lambda issuer: issuer.sign(aud=None), "token malformed"),
        (lambda issuer: issuer.sign(sub=None), "token malformed"),
        (lambda issuer: issuer.sign(sub="job: of somebody"), "token name"),
        (lambda issuer: issuer.sign(sub="x" * 200), "token name"),
        (lambda issuer: issuer.sign(padding="x" * 8000), "token malformed"),
        (lambda _: "a.b.c", "token malformed"),
        (forge_unsigned, "token algorithm"),
        (forge_by_public_key, "token algorithm"),
        (change_payload, "token signature"),
    ],
)
def test_every_other_token_is_refused(
    make: Callable[[Issuer], str], reason: str, steady: Issuer, tokens: Tokens
) -> None:
    """With the reason, which is for the log."""
    with pytest.raises(InvalidKey, match=f"^{reason}$"):
        tokens.find_principal(make(steady))


@pytest.mark.parametrize("groups", [None, [], ["strangers"], {"ml-admins": True}, [["ml-admins"]], 7])
def test_a_good_token_without_a_role_may_do_nothing(groups: Any, steady: Issuer, tokens: Tokens) -> None:
    """403, with what is missing."""
    with pytest.raises(NoRole, match="expected one of the groups that have a role here, in the claim groups"):
        tokens.find_principal(steady.sign(groups=groups))


def test_a_token_that_was_checked_ends_all_the_same(steady: Issuer, tokens: Tokens) -> None:
    """Also for a response that takes long."""
    token = steady.sign(exp=time.time() - 29)  # clocks may differ by 30 s
    found = tokens.find_principal(token)
    wait_until(lambda: not found.is_valid())
    with pytest.raises(InvalidKey, match="token expired"):
        tokens.find_principal(token)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_are_rotated(issuer: Issuer) -> None:
    """A new one is fetched when its first token comes; one that was withdrawn ends, with tokens that were checked."""
    with reading(issuer) as tokens:
        old = issuer.sign()
        tokens.find_principal(old)
        issuer.keys = {"two": rsa.generate_private_key(65537, 2048)}
        new = issuer.sign("two", algorithm="RS256")

        def accepted(token: str) -> bool:
            try:
                return bool(tokens.find_principal(token))
            except InvalidKey:
                return False

        assert not accepted(new)
        wait_until(lambda: accepted(new))
        assert not accepted(old)


def test_many_tokens_with_unknown_keys_bring_few_fetches(issuer: Issuer) -> None:
    """Anybody can send them."""
    keys = IssuerKeys(issuer.url, 60.0, anew_s=30.0)
    keys.start()
    found = Tokens(GatewaySettings(key_secret=KEY_SECRET, **settings_of(issuer)), keys)
    asked = issuer.asked
    for number in range(200):
        with pytest.raises(InvalidKey):
            found.find_principal(issuer.sign(f"k{number}", key=issuer.keys["one"]))
    assert issuer.asked == asked
    keys.close()


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, b"{}"),
        (302, {"Location": "http://127.0.0.1:9/"}, b""),
        (200, {}, b"no json"),
        (200, {}, b"[]"),
        (200, {}, b"{}"),
        (200, {}, json.dumps({"issuer": "https://login.example.org", "jwks_uri": "https://x"}).encode()),
        (200, {}, b" " * (MAX_BYTES + 1)),
    ],
)
def test_while_keys_cannot_be_read_tokens_are_unavailable(
    answer: tuple[int, Mapping[str, str], bytes], issuer: Issuer
) -> None:
    """503, not a refusal; and it is well again by itself."""
    issuer.change = lambda _, __: answer
    with reading(issuer) as tokens:
        with pytest.raises(KeysNotRead):
            tokens.find_principal(issuer.sign())
        issuer.change = lambda _, body: (200, {}, body)
        wait_until(lambda: tokens.keys.are_known)
        assert tokens.find_principal(issuer.sign()).role is Role.TRAINER


def test_keys_come_from_no_address_without_tls(issuer: Issuer) -> None:
    """Whoever answers there would sign tokens."""
    issuer.change = lambda _, __: (
        200,
        {},
        json.dumps({"issuer": issuer.url, "jwks_uri": "http://example.org"}).encode(),
    )
    with reading(issuer) as tokens, pytest.raises(KeysNotRead):
        tokens.find_principal(issuer.sign())


# --- a gateway --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return new_ledger_file(tmp_path / "ledger.db")


@pytest.fixture
def client(filled: Store, server: FakeModelServer, ledger: Path, issuer: Issuer) -> Iterator[FlaskClient]:
    with open_app(keyed_settings(filled, server, ledger, **settings_of(issuer))) as app:
        yield app.test_client(use_cookies=False)
        app.extensions["guard"].close()


def test_tokens_and_keys_count_side_by_side(client: FlaskClient, ledger: Path, issuer: Issuer) -> None:
    """Each with its permissions; a bad token is told no more than a bad key; the trail names who did what."""
    body = {"instances": [[1.0]]}
    key, token = key_for(ledger, Role.ADMIN), issuer.sign(groups=["shop"])
    assert client.post(PREDICT, json=body, headers=bearer_header(key)).status_code == 200
    assert client.post(PREDICT, json=body, headers=bearer_header(token)).status_code == 200
    assert client.get("/api/jobs", headers=bearer_header(token)).status_code == 403
    made = client.post(
        "/api/keys",
        json={"name": "shop", "role": "predictor"},
        headers=bearer_header(issuer.sign(sub="eve", groups=["ml-admins"])),
    )
    assert made.status_code == 201, made.text
    entries = client.get("/api/audit?kind=key", headers=bearer_header(key)).json["entries"]
    assert (entries[0]["by"], entries[0]["role"]) == ("oidc/eve", "admin")
    refused = client.get("/api/models", headers=bearer_header(issuer.sign(exp=time.time() - 60)))
    assert refused.status_code == 401
    assert refused.json == client.get("/api/models", headers=bearer_header("myd_x")).json
    assert client.get("/api/models", headers=bearer_header(issuer.sign(groups=[]))).status_code == 403
