"""What is in an image, and what is not."""

import json
from typing import Any

import pytest

from tests.support.engine import IMAGES, Engine

pytestmark = pytest.mark.usefixtures("image_build_s")
MAX_BYTES = 200_000_000


def config(engine: Engine, image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine.run("image", "inspect", f"modelyard/{image}").stdout)[0]
    return found


def in_gateway(engine: Engine, code: str) -> tuple[int, str]:
    done = engine.run("run", "--rm", "modelyard/gateway", "python", "-c", code, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_the_gateway_is_small(engine: Engine) -> None:
    """All of it, with Python: 200 MB at most."""
    assert config(engine, "gateway")["Size"] <= MAX_BYTES


def test_the_gateway_has_no_tensorflow_and_no_shell(engine: Engine) -> None:
    """The message classes are all that it has of it."""
    status, said = in_gateway(engine, "import tensorflow")
    assert status == 1
    assert "ImportError" in said
    assert in_gateway(engine, "import modelyard.models.tfserving.messages")[0] == 0
    assert engine.run("run", "--rm", "modelyard/gateway", "sh", "-c", "true", check=False).returncode != 0


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_labels_and_runs_as_an_unprivileged_user(engine: Engine, image: str) -> None:
    """OCI's labels, a user that is not root, a health check."""
    found = config(engine, image)
    labels = found["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == "test"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"].get("Healthcheck") or found.get("Healthcheck")


@pytest.mark.parametrize("image", IMAGES)
def test_no_image_holds_a_secret_or_more_than_it_needs(engine: Engine, image: str) -> None:
    """What .dockerignore lets through is all that can get in."""
    code = "import pathlib; print(sorted(path.name for path in pathlib.Path('/app/code').iterdir()))"
    done = engine.run("run", "--rm", f"modelyard/{image}", "python", "-c", code).stdout.decode()
    assert "tests" not in done
    assert "secrets" not in done
