"""Pages of other sites: what they make a browser send changes nothing, with keys and without."""

from collections.abc import Mapping

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.services.gateway.http.origins import ForeignPage, Origins, is_local
from modelyard.services.gateway.settings import GatewaySettings
from tests.slim.conftest import open_app
from tests.support.browsing import OWN_SCRIPT
from tests.support.fakes import HALF_PLUS, FakeModelServer

FOREIGN: Mapping[str, Mapping[str, str]] = {
    "another site": {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"},
    "another port of this host": {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    "a site, of a browser that sends its origin alone": {"Origin": "http://evil.example"},
    "another port, the same": {"Origin": "http://localhost:3000"},
    "a frame without an origin": {"Origin": "null"},
    "no origin at all": {"Sec-Fetch-Site": "cross-site"},
    "this host within a longer name": {"Origin": "http://localhost.evil.example"},
    "an odd word": {"Sec-Fetch-Site": "Same-Origin"},
}
OWN: Mapping[str, Mapping[str, str]] = {
    "no browser": {},
    "a page of ours": OWN_SCRIPT,
    "a page of ours, of an older browser": {"Origin": "http://localhost"},
    "behind TLS": {"Origin": "https://localhost"},
    "typed in": {"Sec-Fetch-Site": "none"},
    "behind a proxy that changes Host": {"Sec-Fetch-Site": "same-origin", "Origin": "https://models.example.org"},
}
CHANGES = (
    ("POST", f"/api/models/{HALF_PLUS}:rollback"),
    ("POST", "/api/jobs"),
    ("PUT", f"/api/models/{HALF_PLUS}/triggers/nightly"),
    ("DELETE", f"/api/models/{HALF_PLUS}/triggers/nightly"),
    ("POST", "/api/feedback"),
    ("POST", "/api/session"),
    ("POST", f"/v1/models/{HALF_PLUS}:predict"),
    ("POST", f"/v2/models/{HALF_PLUS}/infer"),
    ("POST", f"/v2/repository/models/{HALF_PLUS}/unload"),
)


@pytest.mark.parametrize("sender", FOREIGN)
@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_a_page_of_another_site_changes_nothing(
    shared_client: FlaskClient, method: str, path: str, sender: str
) -> None:
    """Though as text/plain it needs no preflight request, and here are no keys. The text says what to do."""
    kind = {"Content-Type": "text/plain"}
    refused = shared_client.open(path, method=method, data='{"reason": "mine"}', headers={**FOREIGN[sender], **kind})
    assert refused.status_code == 403
    assert "a client that is no browser" in refused.json["error"]
    assert "MODELYARD_CORS_ORIGINS" in refused.json["error"]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("sender", OWN)
def test_pages_of_ours_and_clients_are_let_in(client: FlaskClient, sender: str) -> None:
    """Whatever little a browser says."""
    answer = client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[1.0]]}, headers=OWN[sender])
    assert answer.json == {"predictions": [[2.5]]}
    assert client.post(f"/api/models/{HALF_PLUS}:rollback", json={}, headers=OWN[sender]).status_code == 200


@pytest.mark.parametrize("sender", FOREIGN)
def test_what_only_reads_is_answered(shared_client: FlaskClient, sender: str) -> None:
    """A link from another site leads here; its scripts cannot read the answer."""
    for path in ("/", "/api/models"):
        assert shared_client.get(path, headers=FOREIGN[sender]).status_code == 200


def test_origins_that_were_named_predict_and_do_nothing_else(
    settings: GatewaySettings, server: FakeModelServer
) -> None:
    """As before: also under the names that TensorFlow Serving tolerates."""
    with open_app(settings.model_copy(update={"cors_origins": ("http://page",)})) as app:
        client, headers = app.test_client(), {"Origin": "http://page", "Sec-Fetch-Site": "cross-site"}
        body = {"instances": [[1.0]]}
        for path in (f"/v1/models/{HALF_PLUS}:predict", f"/V1/Models/{HALF_PLUS}:predict"):
            assert client.post(path, json=body, headers=headers).json == {"predictions": [[2.5]]}
            assert client.post(path, json=body, headers={**headers, "Origin": "http://other"}).status_code == 403
        assert client.post(f"/api/models/{HALF_PLUS}:rollback", json={}, headers=headers).status_code == 403
        assert server.calls


# --- names that are led here ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "LOCALHOST:1", "localhost.", "a.localhost:80", "127.0.0.1", "127.9.9.9:80",
     "[::1]", "[::1]:8080", "192.168.1.5:8080", "models.example.org", "Models.Example.org:443"],
)  # fmt: skip
def test_an_address_or_localhost_is_what_it_says(host: str) -> None:
    """No site can make these its own; nor a name that was allowed."""
    assert is_local(host, ("models.example.org",))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost", "1.2.3",
     "[evil]", "[::1", "localhost:80:80", "evil.example#localhost", "localhost@evil.example", " localhost",
     "a.models.example.org"],
)  # fmt: skip
def test_any_other_name_may_be_led_here(host: str) -> None:
    assert not is_local(host, ("models.example.org",))


def test_a_name_that_was_led_here_reads_and_changes_nothing(shared_client: FlaskClient) -> None:
    """Its pages would be of the same origin, so that neither Origin nor Sec-Fetch-Site tells them."""
    own = {"Host": "evil.example:8080", "Origin": "http://evil.example:8080", "Sec-Fetch-Site": "same-origin"}
    for method, path in (("GET", "/"), ("GET", "/api/models"), ("HEAD", "/metrics"), *CHANGES):
        refused = shared_client.open(path, method=method, headers=own)
        assert (method, path, refused.status_code) == (method, path, 403)
    assert "MODELYARD_ALLOWED_HOSTS" in shared_client.get("/api/models", headers=own).json["error"]


def test_where_there_are_keys_any_name_is_good(filled: Store) -> None:
    """A page of a name that was led here has neither key nor cookie: the check is for gateways without keys."""
    asked = ("GET", "/api/models", "models.example.org", None, None)
    Origins(GatewaySettings(store=filled.root, key_secret="x" * 32)).check(*asked)
    Origins(GatewaySettings(store=filled.root, allowed_hosts=("Models.Example.ORG",))).check(*asked)
    with pytest.raises(ForeignPage):
        Origins(GatewaySettings(store=filled.root)).check(*asked)


def test_a_client_without_a_host_is_no_browser(settings: GatewaySettings) -> None:
    """HTTP/1.0 needs none."""
    Origins(settings).check("POST", "/api/jobs", None, None, None)
