"""A connection to another machine without TLS: no process starts with one, unless somebody has said that it may."""

from pathlib import Path
from typing import Any

import pytest

from modelyard.services.cli.commands.local.imports import find_pools, split_addresses
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.settings import InvalidSettings, ServiceSettings, StoreSettings
from tests.support.certificates import Authority
from tests.support.slim_programs import modelyard, refusal

POSTGRES = "postgresql+psycopg://modelyard:p@"
LOCAL = (
    {"broker_url": "redis://localhost:6379/0"},
    {"broker_url": "redis://[::1]:6379/0"},
    {"broker_url": "redis+socket:///run/redis.sock"},
    {"broker_url": "rediss://redis:6379/0"},
    {"ledger_url": f"{POSTGRES}127.0.0.1:5432/m"},
    {"ledger_url": f"{POSTGRES}/m?host=/run/postgresql"},
    {"ledger_url": f"{POSTGRES}/m?host=127.0.0.1:5432,/run/postgresql"},
    {"ledger_url": f"{POSTGRES}ledger/m?sslmode=verify-full"},
    {"ledger_url": f"{POSTGRES}ledger/m?sslmode=verify-ca"},
    {},
)
SERVERS = ("unix:/run/x.sock", "127.0.0.1:8500", "[::1]:8500", "dns:localhost:8500", "local")
PLAIN = (
    ("broker", {"broker_url": "redis://redis:6379/0"}, r"\(redis\).*expected rediss://"),
    ("broker", {"broker_url": "redis://10.0.0.7/0"}, r"\(10\.0\.0\.7\)"),
    ("ledger", {"ledger_url": f"{POSTGRES}ledger:5432/m"}, r"\(ledger\).*asks for no TLS"),
    ("ledger", {"ledger_url": f"{POSTGRES}ledger/m?sslmode=require"}, "sslmode=require checks no certificate"),
    ("ledger", {"ledger_url": f"{POSTGRES}ledger/m?sslmode=prefer"}, "sslmode=prefer checks no certificate"),
    ("ledger", {"ledger_url": f"{POSTGRES}/m?host=ledger"}, r"\(ledger\)"),
    ("ledger", {"ledger_url": f"{POSTGRES}/m?host=127.0.0.1:5432,other:5432"}, r"\(other\)"),
    ("ledger", {"ledger_url": f"{POSTGRES}/m?hostaddr=10.0.0.8"}, r"\(10\.0\.0\.8\)"),
    ("serving", {"serving": "modelserver:8500"}, r"\(modelserver\).*MODELYARD_SERVING_TLS=true"),
    ("serving", {"serving": "127.0.0.1:8500,dns:modelserver:8500"}, r"\(modelserver\)"),
    ("serving", {"serving": "10.0.0.9:8500"}, r"\(10\.0\.0\.9\)"),
    ("serving", {"serving_pools": '{"gpu": "127.0.0.1:8501,gpu-1:8500"}'}, r"\(gpu-1\)"),
)


def require(**given: Any) -> None:
    settings = GatewaySettings.load(**given)
    settings.require_protected(settings.list_servers(settings.serving))


@pytest.mark.parametrize("given", LOCAL)
def test_this_machine_and_what_is_checked_need_no_leave(given: dict[str, str]) -> None:
    """Loopback, sockets, files, and TLS with a checked certificate."""
    require(**given)


@pytest.mark.parametrize("address", SERVERS)
def test_model_servers_of_this_machine_need_none_either(address: str) -> None:
    """Nor does the one inside the process."""
    require(serving=address)


@pytest.mark.parametrize(("kind", "given", "words"), PLAIN)
def test_a_plain_connection_elsewhere_is_refused_unless_it_is_named(
    kind: str, given: dict[str, str], words: str
) -> None:
    """The text has the machine, and the way out; what is allowed is that connection alone."""
    others = ",".join({"broker", "ledger", "serving"} - {kind})
    with pytest.raises(InvalidSettings, match=rf"MODELYARD_ALLOW_PLAIN: .*{words}.*or name `{kind}` here"):
        require(**given, allow_plain=others)
    require(**given, allow_plain=kind)


def test_a_password_is_in_no_refusal() -> None:
    """Of the URL only its host is said."""
    with pytest.raises(InvalidSettings) as refused:
        require(ledger_url="postgresql+psycopg://modelyard:hunter2@ledger/m")
    assert "hunter2" not in str(refused.value)


def test_an_authority_is_enough(authority: Authority) -> None:
    """With it the ledger is checked, unless its URL says otherwise; model servers where it is said."""
    remote = {"ledger_url": f"{POSTGRES}ledger/m", "broker_url": "rediss://redis/0", "serving": "dns:modelserver:8500"}
    require(**remote, tls_ca=authority.file, serving_tls=True)
    with pytest.raises(InvalidSettings, match="sslmode=disable"):
        require(
            **remote | {"ledger_url": f"{POSTGRES}ledger/m?sslmode=disable"}, tls_ca=authority.file, serving_tls=True
        )


@pytest.mark.parametrize("serving", ["modelserver:8500,other:8500", None])
def test_an_import_connects_as_processes_do(authority: Authority, tmp_path: Path, serving: str | None) -> None:
    """By the files of the settings, to every pool; plain and elsewhere it does not."""
    files, given = authority.issue("import"), {"store": tmp_path, "serving_pools": '{"gpu": "gpu-1:8500"}'}
    named = {"tls_ca": files.ca, "tls_certificate": files.certificate, "tls_key": files.key, "serving_tls": True}
    pools = find_pools(StoreSettings.load(**given, **named), serving, tmp_path)
    assert pools.addresses == {"default": split_addresses(serving or ""), "gpu": ("gpu-1:8500",)}
    assert pools.tls == files
    with pytest.raises(InvalidSettings, match="MODELYARD_ALLOW_PLAIN: a model server is on another machine"):
        find_pools(StoreSettings.load(**given), serving, tmp_path)


def test_an_unknown_word_is_refused() -> None:
    """A misspelt one must not pass for leave, nor be silent."""
    with pytest.raises(
        InvalidSettings, match="MODELYARD_ALLOW_PLAIN: expected broker, ledger, serving; received 'all'"
    ):
        ServiceSettings.load(allow_plain="all")


def test_no_process_starts_with_one(tmp_path: Path) -> None:
    """Neither a gateway nor a command that works on the ledger itself; each says why in one line."""
    found = refusal(home=tmp_path, broker_url="redis://redis.invalid:6379/0")
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].startswith("MODELYARD_ALLOW_PLAIN: the broker is on another machine")
    found = refusal(home=tmp_path, serving_pools='{"gpu": "gpu.invalid:8500"}')
    assert "MODELYARD_ALLOW_PLAIN: a model server is on another machine (gpu.invalid)" in found.stderr
    done = modelyard("keys", "list", ledger_url=f"{POSTGRES}ledger.invalid/m")
    assert done.returncode == InvalidSettings.exit_code
    assert "MODELYARD_ALLOW_PLAIN: the ledger is on another machine" in done.stderr
