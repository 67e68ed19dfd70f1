"""Limits through a gateway over real sockets; Redis is away, so each gateway counts alone, and takes no submission."""

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from modelyard.models.registry.store import Store
from modelyard.services.gateway.http.client_address import find_client_address
from modelyard.services.keys import Role
from modelyard.services.ledger import Ledger
from tests.slim.gateway.inference.test_explain import WORDS, explained, weigh_words
from tests.slim.gateway.test_process import PREDICT
from tests.support.fakes import HALF_PLUS, REVIEWS, FakeModelServer, publish
from tests.support.http import http
from tests.support.keyed import KEY_SECRET, key_for
from tests.support.ledgers import new_ledger_file
from tests.support.slim_programs import gateway

BODY = {"instances": [[1.0]]}
NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    path = new_ledger_file(tmp_path / "ledger.db")
    ledger = Ledger(f"sqlite:///{path}")
    ledger.migrate()
    ledger.close()
    return path


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def keyed(ledger: Path, filled: Store, server: FakeModelServer) -> Mapping[str, object]:
    return {
        "store": filled.root,
        "serving": server.address,
        "ledger_url": f"sqlite:///{ledger}",
        "key_secret": KEY_SECRET,
        "broker_url": NOBODY,
    }


def test_a_key_over_its_predictions_is_429_and_others_go_on(
    filled: Store, server: FakeModelServer, ledger_file: Path
) -> None:
    """On the fast path and on Flask's: the same bucket, with the same headers; the model is not called."""
    ann, bob = (key_for(ledger_file, Role.PREDICTOR, name=name) for name in ("ann", "bob"))
    with gateway(**keyed(ledger_file, filled, server), predictions_per_s=3) as (_, client):
        paths = [PREDICT, f"{PREDICT}?labels=false", f"/v1/models/{HALF_PLUS}:classify", PREDICT]
        answers = [client.post(path, json=BODY, headers=bearer(ann)) for path in paths]
        assert [answer.headers["RateLimit-Limit"] for answer in answers] == ["3"] * 4
        assert answers[0].status_code == answers[1].status_code == 200
        refused = next(answer for answer in answers + burst(client, ann) if answer.status_code == 429)
        calls = len(server.calls)
        assert client.post(PREDICT, json=BODY, headers=bearer(bob)).status_code == 200
        assert len(server.calls) == calls + 1
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.headers["RateLimit-Remaining"] == "0"
    assert "expected at most 3 predictions a second" in refused.json()["error"]


def burst(client: httpx.Client, key: str) -> list[httpx.Response]:
    return [client.post(PREDICT, json=BODY, headers=bearer(key)) for _ in range(20)]


def test_without_keys_addresses_have_buckets_and_only_trusted_proxies_may_name_them(
    filled: Store, server: FakeModelServer
) -> None:
    """A forged address makes no new bucket unless it comes from a proxy of ours."""
    settings = {"store": filled.root, "serving": server.address, "predictions_per_s": 2}
    for proxies, expected in (("", {429}), ("127.0.0.0/8", {200})):
        with gateway(**settings, trusted_proxies=proxies) as (_, client):
            for _ in range(20):
                client.post(PREDICT, json=BODY, headers={"X-Forwarded-For": "192.0.2.1"})
            found = client.post(PREDICT, json=BODY, headers={"X-Forwarded-For": "192.0.2.2"})
        assert {found.status_code} == expected


def test_no_limit_and_no_headers_unless_set(filled: Store, server: FakeModelServer) -> None:
    """As a gateway on a laptop."""
    with gateway(store=filled.root, serving=server.address) as (_, client):
        answers = [client.post(PREDICT, json=BODY) for _ in range(200)]
    assert {answer.status_code for answer in answers} == {200}
    assert not [name for answer in answers for name in answer.headers if name.startswith("ratelimit")]


def test_failed_keys_are_429_after_a_while_and_a_valid_key_goes_on(
    filled: Store, server: FakeModelServer, ledger_file: Path
) -> None:
    """Behind one address there may be others; whoever sends a valid key is not refused for them."""
    good = key_for(ledger_file, Role.PREDICTOR)
    with gateway(**keyed(ledger_file, filled, server), failed_keys_per_min=5) as (_, client):
        found = [client.get("/api/models", headers=bearer(f"wrong-{number}")) for number in range(7)]
        assert [answer.status_code for answer in found[:5]] == [401] * 5
        assert found[6].status_code == 429
        assert int(found[6].headers["Retry-After"]) >= 1
        assert client.post(PREDICT, json=BODY, headers=bearer(good)).status_code == 200


def test_submissions_are_refused_while_nobody_can_count_them(
    filled: Store, server: FakeModelServer, ledger_file: Path
) -> None:
    """503 with Retry-After, and nothing in the ledger; a rollback goes on, as it asks nobody."""
    key = key_for(ledger_file, Role.OPERATOR)
    catalog = '{"digest": "", "trainable": {"half_plus": {"name": "half_plus", "task": "regression", "summary": "", '
    catalog += '"dataset": "", "homepage": "", "recipes": {"quick": {}}}}}'
    (filled.root / "catalog.json").write_text(catalog)
    with gateway(**keyed(ledger_file, filled, server)) as (_, client):
        answer = client.post("/api/jobs", json={"model": HALF_PLUS}, headers=bearer(key))
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert "rate limits cannot be checked" in answer.json()["error"]
        assert client.get("/api/jobs", headers=bearer(key)).json()["jobs"] == []
        assert client.post(f"/api/models/{HALF_PLUS}:rollback", json={}, headers=bearer(key)).status_code == 200


def test_one_key_cannot_take_all_places(filled: Store, server: FakeModelServer, ledger_file: Path) -> None:
    """Half of them, unless set otherwise: the next request of the same key is 429, that of another one is let in."""
    import threading

    ann, bob = (key_for(ledger_file, Role.PREDICTOR, name=name) for name in ("ann", "bob"))
    with gateway(**keyed(ledger_file, filled, server), max_in_flight=4) as (_, client):
        server.release.clear()
        answers: list[httpx.Response] = []
        busy = [threading.Thread(target=lambda: answers.append(post(client, ann))) for _ in range(6)]
        for thread in busy:
            thread.start()
        for thread in busy:
            thread.join(0.1)
        while sum(answer.status_code == 429 for answer in answers) < 4:
            busy[0].join(0.01)
        last = threading.Thread(target=lambda: answers.append(post(client, bob)))
        last.start()
        server.release.set()
        for thread in [*busy, last]:
            thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 429, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert "expected at most 2 predictions of half_plus at once" in refused.json()["error"]
    assert "Retry-After" in refused.headers


def post(client: httpx.Client, key: str) -> httpx.Response:
    return http.post(client.base_url.join(PREDICT), json=BODY, headers=bearer(key))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.9", ["198.51.100.1"], "192.0.2.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.5", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["nonsense, 10.0.0.2"], "10.0.0.2"),
        ("::ffff:10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_the_last_address_that_is_no_proxy_of_ours_is_the_client(
    peer: str, forwarded: list[str], expected: str
) -> None:
    """What a client writes into the header itself stands before it, and is not believed."""
    assert find_client_address(peer, forwarded, ("10.0.0.0/8",)) == expected


def test_an_explained_input_counts_as_ten_predictions(filled: Store, server: FakeModelServer) -> None:
    """By the signature or beside an answer, whoever the request says that it comes from."""
    server.loaded.add((REVIEWS, publish(filled, REVIEWS, signatures=explained(REVIEWS, explain=WORDS))))
    server.explain = weigh_words
    path = f"/v1/models/{REVIEWS}:predict"
    body = {"instances": ["good"]}
    for query, asked in (("", body | {"signature_name": "explain"}), ("?labels=true&explain=1", body)):
        with gateway(store=filled.root, serving=server.address, predictions_per_s=20) as (_, client):
            answer = client.post(f"{path}{query}", json=asked, headers={"X-Limited-Client": "somebody else"})
            assert answer.status_code == 200, answer.text
            left = int(client.post(path, json=body).headers["RateLimit-Remaining"])
        assert left < 20 - 2, "at most what came back within a moment"
