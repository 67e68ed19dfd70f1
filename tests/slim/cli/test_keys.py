"""API keys in the ledger, and the command that makes the first one."""

import threading
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import text

from modelyard.models.errors import UnknownName
from modelyard.services.keys import KEY_PATTERN, Key, KeyRequest, Role, TooManyKeys, hash_key, mask_keys
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.keys import Keys
from modelyard.services.ledger.sql.engine import open_engine
from tests.support.keyed import expire
from tests.support.slim_programs import modelyard

SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def keys(ledger: Ledger) -> Keys:
    return ledger.keys


def create(keys: Keys, name: str = "ann", role: Role = Role.VIEWER, days: int = 1) -> tuple[Key, str]:
    return keys.create(KeyRequest(name=name, role=role, days=days), "test", SECRET)


def test_a_key_holds_256_random_bits_and_the_ledger_holds_none_of_them(keys: Keys, ledger_url: str) -> None:
    """Only a hash under the server's secret, of which the same key has another under another secret."""
    key, shown = create(keys)
    mark, prefix, secret = shown.split("_", 2)
    assert (mark, prefix, len(secret)) == ("myd", key.prefix, 43)
    assert KEY_PATTERN.fullmatch(shown)
    assert len({create(keys, name)[1] for name in "abcdef"}) == 6
    engine = open_engine(ledger_url)
    with engine.connect() as connection:
        assert secret not in str(connection.execute(text("SELECT * FROM keys")).all())
    engine.dispose()
    assert key.digest == hash_key(shown, SECRET) != hash_key(shown, SECRET[::-1])


def test_a_name_has_two_keys_while_one_takes_the_others_place(keys: Keys) -> None:
    """Not three; one that was revoked, or has expired, does not count, and other names have their own."""
    old, _ = create(keys)
    new, _ = create(keys)
    with pytest.raises(TooManyKeys, match="ann has 2 active keys already; revoke one first"):
        create(keys)
    create(keys, "bob")
    keys.revoke(old.prefix, "test")
    newest, _ = create(keys)
    assert {key.prefix: key.state for key in keys.list_keys() if key.name == "ann"} == {
        newest.prefix: "active",
        new.prefix: "active",
        old.prefix: "revoked",
    }


def test_of_many_who_create_at_once_two_do(ledger_url: str) -> None:
    """As when two admins rotate the same key."""
    barrier, failures = threading.Barrier(6), []

    def race() -> None:
        with closing(Ledger(ledger_url)) as mine:
            barrier.wait()
            try:
                create(mine.keys)
            except TooManyKeys as error:
                failures.append(error)

    with closing(Ledger(ledger_url)) as ledger:
        keys = ledger.keys
        assert keys.list_keys() == ()
        racers = [threading.Thread(target=race) for _ in range(6)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert (len(keys.list_keys()), len(failures)) == (2, 4)


def test_a_key_expires_by_the_databases_clock(keys: Keys, ledger_url: str) -> None:
    """What is left is counted there, too; an expired one makes room for another."""
    key, shown = create(keys, days=2)
    create(keys)
    assert (key.state, round(key.left_s)) == ("active", 2 * 24 * 3600)
    expire(ledger_url, shown)
    assert {found.prefix: found.state for found in keys.list_keys()}[key.prefix] == "expired"
    assert key.prefix not in {found.prefix for found in keys.list_keys(ended_within_s=30)}
    assert key.prefix in {found.prefix for found in keys.list_keys(ended_within_s=3600)}
    create(keys)


def test_revoking_again_changes_nothing(keys: Keys) -> None:
    """It stays when it was first; an unknown prefix is an error."""
    key, _ = create(keys)
    first = keys.revoke(key.prefix, "test")
    assert first.state == "revoked"
    assert keys.revoke(key.prefix, "test").revoked_at == first.revoked_at
    with pytest.raises(UnknownName, match="unknown key 'f00'"):
        keys.revoke("f00", "test")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": "Ann"}, {"name": "trigger: m"}, {"name": "a" * 65}, {"role": "root"}, {"days": 0},
        {"days": 3651}, {"models": ["a/b"]}, {"models": [""]}, {"role": "admin", "models": ["neuron"]}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_key_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    """Names like the system's own, roles that there are not, an admin of some models."""
    with pytest.raises(ValidationError):
        KeyRequest.model_validate({"name": "ann", "role": "viewer", **wrong})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("unknown model 'myd_0123456789ab_abc-_'", "unknown model 'myd_0123456789ab_***'"),
        ("myd_0123456789ab_x myd_0123456789ab_y", "myd_0123456789ab_*** myd_0123456789ab_***"),
        ("MYD_0123456789AB_ABC", "MYD_0123456789AB_***"),
        ("myd_short_x", "myd_short_x"),
    ],
)
def test_no_key_can_be_read_in_a_text(text: str, shown: str) -> None:
    """Nor what is left of one that was cut off."""
    assert mask_keys(text) == shown


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_key_alone_and_once(ledger_url: str, keys: Keys) -> None:
    """So that a shell can take it; words for people go to standard error, and know no secret."""
    said = {"ledger_url": ledger_url, "key_secret": SECRET.decode()}
    made = modelyard("keys", "create", "ann", "--role", "predictor", "--model", "neuron", "--days", "30", **said)
    assert made.returncode == 0, made.stderr
    text = made.stdout.removesuffix("\n")
    assert KEY_PATTERN.fullmatch(text)
    (key,) = keys.list_keys()
    assert (key.digest, key.name, key.role, key.models) == (
        hash_key(text, SECRET),
        "ann",
        "predictor",
        ("neuron",),
    )
    listed = modelyard("keys", "list", **said)
    assert (key.prefix in listed.stdout, text in listed.stdout + made.stderr) == (True, False)
    assert modelyard("keys", "revoke", key.prefix, **said).returncode == 0
    assert keys.list_keys()[0].state == "revoked"


@pytest.mark.parametrize(
    ("arguments", "settings", "text"),
    [
        (("create", "ann", "--role", "viewer"), {}, "MODELYARD_KEY_SECRET: there are no API keys without it"),
        (("create", "ann", "--role", "viewer"), {"key_secret": "short"}, "expected at least 32 characters"),
        (("create", "A n", "--role", "viewer"), {"key_secret": SECRET.decode()}, "error: name: "),
        (("revoke", "f00"), {}, "unknown key 'f00'"),
    ],
)
def test_the_command_refuses_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], settings: dict[str, str], text: str
) -> None:
    """With what to do."""
    refused = modelyard("keys", *arguments, ledger_url=f"sqlite:///{tmp_path}/ledger.db", **settings)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert text in refused.stderr
