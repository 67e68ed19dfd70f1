"""Settings: frozen, documented, masked, and wrong ones named."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from modelyard.services.cli.reference.settings_page import PROCESSES
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.settings import InvalidSettings, KeySettings, ServiceSettings, Settings, mask_password
from modelyard.services.trainer.settings import TrainerSettings


def test_addresses_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Separated by commas."""
    monkeypatch.setenv("MODELYARD_SERVING", "a:1, b:2")
    assert TrainerSettings.load().serving == ("a:1", "b:2")


def test_pools_are_beside_the_default_one_and_may_state_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for every process that places or routes models; a misspelt one is named with the one that is meant."""
    monkeypatch.setenv("MODELYARD_SERVING_POOLS", '{"gpu": "b:2,c:3"}')
    monkeypatch.setenv("MODELYARD_POOL_MEMORY", "default=2g,gpu=512m")
    for kind in (GatewaySettings, TrainerSettings, SchedulerSettings):
        found = kind.load()
        pools = found.pools(found.serving, None)
        assert pools.addresses == {"default": ("127.0.0.1:8500",), "gpu": ("b:2", "c:3")}
        assert pools.memory == {"default": 2 << 30, "gpu": 512 << 20}
    assert TrainerSettings.load().locations().pools == pools
    monkeypatch.setenv("MODELYARD_POOL_MEMORY", "gup=2g")
    with pytest.raises(InvalidSettings, match=r"MODELYARD_POOL_MEMORY: .*did you mean gpu\?"):
        GatewaySettings.load()
    monkeypatch.setenv("MODELYARD_SERVING_POOLS", "gpu=b:2")
    with pytest.raises(InvalidSettings, match="MODELYARD_SERVING_POOLS: expected JSON such as"):
        GatewaySettings.load()


def test_a_model_server_in_the_process_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its flags are words as in a shell."""
    monkeypatch.setenv("MODELYARD_SERVING", "local")
    monkeypatch.setenv("MODELYARD_SERVING_FLAGS", "--port=1 '--model_config_file=/a b/c'")
    found = GatewaySettings.load()
    assert (found.has_model_server, found.serving_flags) == (True, ("--port=1", "--model_config_file=/a b/c"))
    monkeypatch.setenv("MODELYARD_SERVING", "local,a:1")
    with pytest.raises(InvalidSettings, match="local alone"):
        GatewaySettings.load()


@pytest.mark.parametrize("settings", [TrainerSettings, SchedulerSettings])
def test_other_processes_need_the_socket_of_a_model_server_inside_the_gateway(settings: type[ServiceSettings]) -> None:
    """Not a machine named local."""
    with pytest.raises(InvalidSettings, match="local is for gateways"):
        settings.load(serving="local")


def test_a_wrong_value_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a validation library's traceback."""
    monkeypatch.setenv("MODELYARD_CONCURRENCY", "many")
    with pytest.raises(InvalidSettings, match="MODELYARD_CONCURRENCY"):
        TrainerSettings.load()


def test_passwords_in_urls_are_masked() -> None:
    """What is logged at the start shows everything but them."""
    shown = TrainerSettings.load(broker_url="redis://user:hunter2@host:6379/0").mask_secrets()
    assert shown["broker_url"] == "redis://user:***@host:6379/0"
    assert "hunter2" not in str(shown)
    assert mask_password("plain text") == "plain text"


@pytest.mark.parametrize("password", ["a@b", "a/b@", "a#b", "a?b:c@d", "@", ":"])
def test_passwords_that_are_not_encoded_are_masked_too(password: str) -> None:
    """Up to the last @, of whatever kind of URL."""
    for url in ("redis://user:{}@host:6379/0", "postgresql+psycopg://user:{}@host/ledger", "REDISS://:{}@host"):
        assert mask_password(url.format(password)) == url.format("***")


@pytest.mark.parametrize(
    "url",
    [
        "redis://:a/b@host:6379/0",
        "redis://:a#b@host:6379/0",
        "redis://:a@b@host:6379/0",
        "redis://:a?b@host:6379/0",
        "redis://host:port/0",
        "redis://host:99999/0",
        "redis:///0",
        "redis+socket://host/path",
        "http://host:6379/0",
        "host:6379",
        "",
    ],
)
def test_a_broker_url_that_means_something_else_is_refused_at_the_start(url: str) -> None:
    """With the way out, and without the URL: it may hold a password."""
    with pytest.raises(InvalidSettings, match=r"MODELYARD_BROKER_URL: .*percent-encoded") as refused:
        TrainerSettings.load(broker_url=url)
    assert not url or url not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:a%2Fb%40@host:6379/0",
        "rediss://host/1?ssl_cert_reqs=none",
        "redis+socket:///run/redis.sock",
        "redis+socket://:p@/r.sock",
        "redis://[::1]:6379/0",
    ],
)
def test_broker_urls_of_every_form_are_accepted(url: str) -> None:
    """A password is percent-encoded."""
    assert TrainerSettings.load(broker_url=url).broker == url


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ("rediss://host/1", "rediss://host/1?ssl_cert_reqs=required"),
        ("rediss://:p%40@host:6380/1?", "rediss://:p%40@host:6380/1?ssl_cert_reqs=required"),
        ("rediss://host/1?ssl_ca_certs=/ca.pem", "rediss://host/1?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"),
        ("rediss://host/1?ssl_cert_reqs=optional", "rediss://host/1?ssl_cert_reqs=optional"),
        ("REDISS://host/1", "rediss://host/1?ssl_cert_reqs=required"),
    ],
)
def test_a_broker_with_tls_needs_a_valid_certificate_unless_it_says_otherwise(given: str, means: str) -> None:
    """kombu would accept any. The password comes from its file as before."""
    assert TrainerSettings.load(broker_url=given).broker == means
    assert "ssl_cert_reqs=" in TrainerSettings.load(broker_url=given, broker_password="s").broker


@pytest.mark.parametrize("said", ["", "yes", "CERT_REQUIRED", "None", "required&ssl_cert_reqs=no"])
def test_a_check_of_certificates_that_would_be_none_is_refused(said: str) -> None:
    """kombu takes what it does not know for no check."""
    with pytest.raises(InvalidSettings, match="ssl_cert_reqs: expected required, optional, none"):
        TrainerSettings.load(broker_url=f"rediss://host/1?ssl_cert_reqs={said}")


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELYARD_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_passwords_come_from_files_and_are_never_printed(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file each, as container engines mount them; a line's end does not count."""
    (secrets / "modelyard_ledger_password").write_text("p@ss/word\n")
    (secrets / "modelyard_broker_password").write_text("hunter2")
    monkeypatch.setenv("MODELYARD_LEDGER_URL", "postgresql+psycopg://modelyard@postgres:5432/modelyard")
    monkeypatch.setenv("MODELYARD_BROKER_URL", "redis://redis:6379/0")
    settings = TrainerSettings.load()
    assert settings.ledger == "postgresql+psycopg://modelyard:p%40ss%2Fword@postgres:5432/modelyard"
    assert settings.broker == "redis://:hunter2@redis:6379/0"
    said = f"{settings!r} {settings.mask_secrets()}"
    assert "p@ss" not in said
    assert "hunter2" not in said


def test_an_empty_secret_is_refused_by_its_name(secrets: Path) -> None:
    """A file that was made and never filled must not mean that there is no password."""
    (secrets / "modelyard_broker_password").write_text("\n")
    with pytest.raises(InvalidSettings, match=r"MODELYARD_BROKER_PASSWORD: .*is empty"):
        GatewaySettings.load()


def test_a_folder_of_secrets_that_is_not_there_is_an_error(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names one means it."""
    monkeypatch.setenv("MODELYARD_SECRETS_DIR", str(secrets / "none"))
    with pytest.raises(InvalidSettings, match=r"MODELYARD_SECRETS_DIR: .*none is no folder"):
        GatewaySettings.load()


@pytest.mark.parametrize("settings", [settings for _, settings in PROCESSES])
def test_every_setting_is_described_and_has_a_default(settings: type[Settings]) -> None:
    """An empty environment is enough to start."""
    assert [name for name, field in settings.model_fields.items() if not field.description] == []
    settings.load()


@pytest.mark.parametrize("settings", [GatewaySettings, TrainerSettings, SchedulerSettings, KeySettings])
def test_every_process_finds_its_files_in_the_home_folder(
    settings: type[ServiceSettings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Unless a setting of its own says otherwise; without the variable, or an empty one, in the working directory."""
    assert settings.load().ledger == "sqlite:///.modelyard/ledger.db"
    monkeypatch.setenv("MODELYARD_HOME", "")
    assert settings.load().ledger == "sqlite:///.modelyard/ledger.db"
    home = tmp_path / "a b%?"
    monkeypatch.setenv("MODELYARD_HOME", str(home))
    found = settings.load()
    assert make_url(found.ledger).database == str(home / "ledger.db")
    folders = {"store": "store", "data_dir": "data", "work_dir": "work"}
    for name, folder in folders.items():
        assert getattr(found, name, home / folder) == home / folder
    monkeypatch.setenv("MODELYARD_LEDGER_URL", "sqlite:///other.db")
    assert settings.load().ledger == "sqlite:///other.db"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODELYARD_MODELS", raising=False)
    return tmp_path / "modelyard.toml"


def test_a_project_has_settings_of_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any, by their names in small letters; the environment wins over them."""
    project.write_text('models = ["models", "../more"]\nconcurrency = 2\nlog_level = "debug"\n')
    found = TrainerSettings.load()
    assert (found.models, found.concurrency, found.log_level) == ((Path("models"), Path("../more")), 2, "debug")
    monkeypatch.setenv("MODELYARD_MODELS", "one:two words")
    monkeypatch.setenv("MODELYARD_LOG_LEVEL", "info")
    found = TrainerSettings.load()
    assert (found.models, found.log_level) == ((Path("one"), Path("two words")), "info")
    assert [str(folder) for folder in found.sources().folders] == [
        str(project.parent / "one"),
        str(project.parent / "two words"),
    ]
    monkeypatch.setenv("MODELYARD_MODELS", "")
    assert TrainerSettings.load().models == ()


def test_one_folder_may_be_a_text(project: Path) -> None:
    """As in the environment."""
    project.write_text('models = "models"\n')
    assert TrainerSettings.load().models == (Path("models"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("home = 1\nmodels = ]\n", r"modelyard\.toml: expected TOML: .*line 2"),
        ("concurrency = 0", "MODELYARD_CONCURRENCY: Input should be greater than or equal to 1"),
        ("models = 3", "MODELYARD_MODELS: Input should be a valid tuple"),
    ],
)
def test_a_wrong_value_of_a_project_is_named(project: Path, text: str, expected: str) -> None:
    """By the file, or by its variable."""
    project.write_text(text)
    with pytest.raises(InvalidSettings, match=expected):
        TrainerSettings.load()
