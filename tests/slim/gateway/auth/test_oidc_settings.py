"""Settings of tokens of an issuer: its keys come over TLS, and nothing is left to be guessed."""

import pytest

from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from modelyard.services.keys import Role
from modelyard.services.settings import InvalidSettings
from tests.support.issuer import AUDIENCE
from tests.support.keyed import KEY_SECRET


@pytest.mark.parametrize(
    "url", ["http://login.example.org", "ftp://x", "https://u:p@x", "https://x?y=1", "x", "https://"]
)
def test_an_issuer_without_tls_is_refused(url: str) -> None:
    """Its keys could be anybody's."""
    with pytest.raises(InvalidSettings, match=r"MODELYARD_OIDC_ISSUER: .*https://HOST/PATH"):
        GatewaySettings.load(oidc_issuer=url)


@pytest.mark.parametrize("missing", ["key_secret", "oidc_audience", "oidc_roles"])
def test_what_is_missing_ends_the_start(missing: str) -> None:
    """By name: a token without an audience would be one for any other service."""
    given = {
        "key_secret": KEY_SECRET,
        "oidc_issuer": "https://login.example.org",
        "oidc_audience": AUDIENCE,
        "oidc_roles": "ml-team=trainer",
    }
    del given[missing]
    with pytest.raises(InvalidSettings, match=f"MODELYARD_{missing.upper()}: "):
        create_app(GatewaySettings.load(**given))


def test_roles_are_read_by_group() -> None:
    """A group may have an equals sign; a role that there is not is named."""
    found = GatewaySettings.load(oidc_roles="cn=ml,dc=x=trainer, admins=admin".replace(",dc", ";dc"))
    assert found.oidc_roles == {"cn=ml;dc=x": Role.TRAINER, "admins": Role.ADMIN}
    with pytest.raises(InvalidSettings, match=r"MODELYARD_OIDC_ROLES: .*viewer, predictor.*'a=king'"):
        GatewaySettings.load(oidc_roles="a=king")
