"""One system for all tests: images built, started from nothing, both first versions trained."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.engine import IMAGES, ROOT, Engine, NoEngine, find, wait_for
from tests.support.load import INPUTS, Golden
from tests.support.ports import free_port

FIRST_VERSIONS_S = 1200.0
MARK = "pl4nted"
"""Part of every secret of the test: it must turn up nowhere."""
ROLES = ("gateway", "scheduler", "trainer")
SECRETS = ("ledger_password", *(f"{role}_ledger_password" for role in ROLES), "broker_password", "key_secret", "key")


@dataclass
class System:
    """What runs, and a key to it."""

    engine: Engine
    key: str = ""
    golden: Golden = field(init=False)
    times: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.golden = Golden(self.engine)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.engine.port}"

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=self._headers, timeout=10, trust_env=False)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def serves(self, model: str, version: int) -> bool:
        return is_stable(self.get, model, version)

    def ready(self) -> bool:
        return self.is_ok("/readyz")

    def is_ok(self, path: str) -> bool:
        return is_ok(self.url + path, **self._headers)

    def make_key(self) -> None:
        """As docs/deploy.md has it: the first one comes from the operator's container, into the file that it reads."""
        create = ("keys", "create", "ops", "--role", "admin")
        self.key = wait_for("a key", lambda: self.engine.cli(*create, check=False), 180).strip()
        (self.engine.secrets / "modelyard_key").write_text(self.key)


def is_stable(get: Callable[[str], httpx.Response], model: str, version: int) -> bool:
    """Whether a gateway says that this version is the stable one and is loaded; ``get`` is a request of its path."""
    try:
        answer = get(f"/api/models/{model}")
    except httpx.HTTPError:
        return False
    if answer.status_code != httpx.codes.OK:
        return False
    found = answer.json()
    states = {entry["version"]: entry["state"] for entry in found["versions"]}
    return found["rollout"]["stable"] == version and states.get(version) == "AVAILABLE"


@pytest.fixture(scope="session")
def engine_name() -> str:
    try:
        return find()
    except NoEngine as error:
        pytest.exit(str(error), returncode=2)


def make_secrets(folder: Path) -> Path:
    """Fills a folder with the files that the compose file names; the one for the key is for whoever makes it."""
    for name in SECRETS:
        path = folder / f"modelyard_{name}"
        path.write_text("" if name == "key" else f"{MARK}-{secrets.token_hex(24)}\n")
        path.chmod(0o444 if name != "key" else 0o644)
    return folder


@pytest.fixture(scope="session")
def engine(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A project of its own, with secrets that only it has."""
    folder = make_secrets(tmp_path_factory.mktemp("secrets"))
    found = Engine(engine_name, f"mytest{secrets.token_hex(2)}", folder, free_port())
    yield found
    found.destroy()


@pytest.fixture(scope="session")
def image_build_s(engine: Engine) -> dict[str, float]:
    """Seconds that each image took."""
    times = {}
    for image in IMAGES:
        begun = time.monotonic()
        tag = f"modelyard/{image}:latest"
        engine.run("build", "-q", "-t", tag, "-f", f"deploy/{image}/Dockerfile", "--build-arg", "REVISION=test", ".")
        times[image] = time.monotonic() - begun
    return times


@pytest.fixture(scope="session")
def system(engine: Engine, image_build_s: dict[str, float]) -> System:
    """From nothing to both models serving."""
    begun, system = time.monotonic(), System(engine)
    engine.compose("up", "-d")
    wait_for("the gateway", lambda: system.is_ok("/healthz"), 300)
    system.times["the gateway answers"] = time.monotonic() - begun
    system.make_key()
    for model in INPUTS:
        wait_for(f"{model} 1", partial(system.serves, model, 1), FIRST_VERSIONS_S, 2)
    system.times["both models serve"] = time.monotonic() - begun
    print(f"\nbuilt in {image_build_s}\nup: {system.times}")
    return system


@pytest.fixture
def proxy(system: System, tmp_path: Path) -> Iterator[str]:
    """URL of the example proxy in front of the gateway, without TLS."""
    if not (caddy := shutil.which("caddy")):
        pytest.skip("caddy is not installed")
    url = f"http://127.0.0.1:{free_port()}"
    # Its own folders, too: it would else write into those of whoever runs the test.
    folders = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(tmp_path))
    settings = {"MODELYARD_DOMAIN": url, "MODELYARD_UPSTREAM": f"127.0.0.1:{system.engine.port}"}
    command = [caddy, "run", "--config", str(ROOT / "deploy" / "proxy" / "Caddyfile"), "--adapter", "caddyfile"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | folders | settings, stdout=log, stderr=log)
    try:
        wait_for("the proxy", lambda: is_ok(f"{url}/healthz"), 60)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def is_ok(url: str, **headers: str) -> bool:
    """An engine listens in the gateway's place before it does, and hangs up."""
    try:
        return httpx.get(url, headers=headers, timeout=10, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="session")
def secret_values(engine: Engine) -> list[str]:
    return [path.read_text().strip() for path in Path(engine.secrets).iterdir()]
