"""Gateway and model server as processes, over SavedModels that nobody of us made: right answers, whatever happens."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.system.conftest import wait_until
from tests.system.serving import (
    Served,
    config_of,
    gateway_and_servers,
    listens,
    modelyard_serve,
    more,
    put,
    remove,
    serve_command,
    traffic,
)

MODEL = "half_plus"
DEADLINE_S = 0.5
SLACK_S = 0.3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of saved versions, to be copied."""
    root = tmp_path_factory.mktemp("made")
    subprocess.run([sys.executable, "-m", "tests.system.make_models", str(root)], check=True, timeout=120)
    return root


@pytest.fixture(scope="module")
def mixed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``modelyard serve`` over a folder with good models and a broken one."""
    root = tmp_path_factory.mktemp("mixed")
    models = root / "models"
    for name in ("half_plus_two", "inverse", "ratio"):
        put(made / name, models / name)
    put(made / MODEL / "1", models / MODEL / "1")
    put(made / MODEL / "1", models / "broken" / "1")
    (models / "broken" / "1" / "saved_model.pb").write_bytes(b"no graph")
    with modelyard_serve(root / "home", "--models-dir", str(models)) as served:
        yield served


# --- modelyard serve --------------------------------------------------------------------------------------------------


def test_a_model_in_tensorflow_servings_layout_answers_as_its_own_documentation_shows(mixed: Served) -> None:
    """The zero-padded version folder of its example: rows, columns, metadata and status."""
    rows = mixed.predict("half_plus_two", [1.0, 2.0, 5.0])
    assert (rows.json(), rows.headers["X-Model-Version"]) == ({"predictions": [2.5, 3.0, 4.5]}, "123")
    columns = mixed.post("/v1/models/half_plus_two:predict", json={"inputs": {"x": [1.0, 2.0, 5.0]}})
    assert columns.json() == {"outputs": [2.5, 3.0, 4.5]}
    metadata = mixed.get("/v1/models/half_plus_two/metadata")
    assert metadata["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    assert "serving_default" in metadata["metadata"]["signature_def"]["signature_def"]
    (state,) = mixed.get("/v1/models/half_plus_two")["model_version_status"]
    assert state == {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


def test_a_broken_model_is_shown_with_its_reason_and_the_others_serve(mixed: Served) -> None:
    """In the printed table, and in its status; a prediction of it says 404 or 503, and nothing of the inside."""
    (row,) = (line for line in mixed.gateway.printed.splitlines() if line.startswith("broken "))
    (state,) = mixed.get("/v1/models/broken")["model_version_status"]
    reason = state["status"]["error_message"]
    assert state["state"] == "END"
    assert len(reason) > 10
    assert reason[:40] in row
    assert mixed.predict("broken", [1.0]).status_code in (404, 503)
    assert mixed.predict("half_plus_two", [1.0]).json() == {"predictions": [2.5]}


@pytest.mark.parametrize(("model", "number"), [("inverse", 0.0), ("ratio", 0.0)])
def test_an_answer_that_json_cannot_hold_is_a_clear_error(mixed: Served, model: str, number: float) -> None:
    """Infinity and NaN: a server error with valid JSON that says which output it was. Finite answers go on."""
    for response in (
        mixed.predict(model, [2.0, number]),
        mixed.post(f"/v1/models/{model}:predict", json={"inputs": {"x": [number]}}),
        mixed.post(f"/v2/models/{model}/infer", json={"inputs": [fp32([number])]}),
    ):
        assert 500 <= response.status_code < 503, response.text
        assert "finite" in strict_json(response)["error"]
    assert mixed.predict(model, [2.0]).status_code == httpx.codes.OK


def fp32(numbers: list[float]) -> dict[str, Any]:
    return {"name": "x", "shape": [len(numbers)], "datatype": "FP32", "data": numbers}


def strict_json(response: httpx.Response) -> Any:
    """The body by the letter of RFC 8259, which knows no NaN."""

    def refuse(word: str) -> None:
        pytest.fail(f"not JSON: {word}")

    return json.loads(response.text, parse_constant=refuse)


ROW = b'{"instances": [1.0]}'
V2 = json.dumps({"inputs": [fp32([1.0])]}).encode()
REFUSED = [
    ("POST", "/v1/models/nothing:predict", ROW, 404),
    ("POST", f"/v1/models/{MODEL}/versions/99:predict", ROW, 404),
    ("POST", f"/v1/models/{MODEL}/labels/nothing:predict", ROW, 400),
    ("POST", f"/v1/models/{MODEL}:predict", b'{"signature_name": "nothing", "instances": [1.0]}', 400),
    ("POST", f"/v1/models/{MODEL}:guess", ROW, 400),
    ("POST", f"/v1/models/{MODEL}:predict", b'{"instances": ["one"]}', 400),
    ("POST", f"/v1/models/{MODEL}:predict", b'{"instances": [[1.0]', 400),
    ("POST", f"/v1/models/{MODEL}:predict", b"", 400),
    ("PUT", f"/v1/models/{MODEL}:predict", ROW, 4),
    ("GET", "/v1/models/nothing", b"", 404),
    ("GET", f"/v1/models/{MODEL}/versions/99", b"", 404),
    ("GET", "/v1/models/nothing/metadata", b"", 404),
    ("GET", "/v1/nothing", b"", 4),
    ("GET", "/nothing", b"", 404),
    ("GET", "/v1/models/../../etc/passwd", b"", 4),
    ("POST", "/v2/models/nothing/infer", V2, 404),
    ("POST", f"/v2/models/{MODEL}/versions/99/infer", V2, 404),
    ("POST", f"/v2/models/{MODEL}/versions/x/infer", V2, 4),
    ("POST", f"/v2/models/{MODEL}/guess", V2, 404),
    ("POST", f"/v2/models/{MODEL}/infer", b'{"inputs": []}', 400),
    ("POST", f"/v2/models/{MODEL}/infer", V2.replace(b"FP32", b"FP99"), 400),
    ("POST", f"/v2/models/{MODEL}/infer", V2.replace(b'"x"', b'"z"'), 400),
    ("GET", "/v2/models/nothing", b"", 404),
    ("GET", "/v2/models/nothing/ready", b"", 4),
    ("GET", "/v2/nothing", b"", 404),
]
INSIDE = re.compile(
    r"Traceback|File \"|/(?:home|tmp|usr|root|opt)/|site-packages|\.py\b|\d+\.\d+\.\d+|tensorflow",
    re.IGNORECASE,
)


@pytest.mark.parametrize(("method", "path", "body", "status"), REFUSED)
def test_what_is_not_there_is_refused_in_one_form(
    mixed: Served, method: str, path: str, body: bytes, status: int
) -> None:
    """4xx, ``{"error": text}``, a request id; no stack trace, path or version of a library in text or headers."""
    response = httpx.request(method, mixed.url + path, content=body, headers={"Content-Type": "application/json"})
    assert str(response.status_code).startswith(str(status)), response.text
    answer = strict_json(response)
    assert list(answer) == ["error"]
    assert answer["error"]
    assert not INSIDE.search(answer["error"]), answer
    assert response.headers["X-Request-Id"]
    assert not re.search(r"\d", response.headers.get("Server", ""))


def test_an_empty_folder_is_one_line_with_what_was_expected(tmp_path: Path) -> None:
    """Exit status 2, before any process is started."""
    empty = tmp_path / "empty"
    empty.mkdir()
    _, _, command = serve_command(tmp_path / "home", "--models-dir", str(empty))
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"COLUMNS": "500"},
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert "holds no model" in line
    assert "saved_model.pb" in line


def test_new_versions_are_picked_up_without_a_restart(made: Path, tmp_path: Path) -> None:
    """A folder that appears by rename answers soon, by TensorFlow Serving's own configuration file too."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    file = tmp_path / "my.config"
    file.write_text(config_of(tmp_path / "models", MODEL, policy="latest { num_versions: 1 }"))
    with modelyard_serve(tmp_path / "home", "--model-config", str(file)) as served:
        assert served.predict(MODEL, [2.0]).json() == {"predictions": [2.0]}
        put(made / MODEL / "2", tmp_path / "models" / MODEL / "2")
        served.await_state(MODEL, 2, "AVAILABLE")
        wait_until(lambda: served.predict(MODEL, [2.0]).json() == {"predictions": [3.0]}, 5, "the new version answers")
        served.await_state(MODEL, 1, None)


# --- versions change --------------------------------------------------------------------------------------------------


def test_versions_come_and_go_under_load_without_a_wrong_or_lost_answer(made: Path, tmp_path: Path) -> None:
    """Five swaps and a rollback; every answer equals x/2 + the version in its header, pinned or latest."""
    folder = tmp_path / "models" / MODEL
    put(made / MODEL / "1", folder / "1")
    file = tmp_path / "my.config"
    file.write_text(config_of(folder.parent, MODEL))
    with (
        modelyard_serve(tmp_path / "home", "--model-config", str(file)) as served,
        traffic(served, MODEL, pinned=1) as seen,
    ):
        for version in range(2, 7):
            put(made / MODEL / str(version), folder / str(version))
            served.await_state(MODEL, version, "AVAILABLE")
            seen.pinned = version
            wait_until(more(seen, 40), 10, f"answers beside version {version}")  # nobody asks for the old one any more
            if version < 6:
                remove(folder / str(version - 1))
                served.await_state(MODEL, version - 1, None)
        seen.pinned = 5
        wait_until(more(seen, 40), 10, "nobody pins version 6")
        remove(folder / "6")
        served.await_state(MODEL, 6, None)
        wait_until(more(seen, 40), 10, "answers after the rollback")
        assert served.predict(MODEL, [0.0]).headers["X-Model-Version"] == "5"
    assert (seen.wrong, seen.failed, seen.refused, seen.late) == ([], [], [], [])
    assert set(seen.versions) == {1, 2, 3, 4, 5, 6}


# --- processes end or stand still -------------------------------------------------------------------------------------


def test_sigterm_to_the_gateway_answers_all_hundred_in_flight(made: Path, tmp_path: Path) -> None:
    """The model server stands still until the gateway was told to stop; exit status 0, and nobody listens after."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    with gateway_and_servers(tmp_path, config_of(tmp_path / "models", MODEL), MODEL) as served:
        assert served.predict(MODEL, instances=[1.0]).json() == {"predictions": [1.5]}
        server = served.servers[0].process
        server.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor(100) as pool:
            calls = [pool.submit(patient_call, served, float(number)) for number in range(100)]
            wait_until(lambda: served.in_flight() >= 100, 20, "a hundred in flight")
            served.gateway.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "stopping" in served.gateway.printed, 10, "the gateway was told to stop")
            server.send_signal(signal.SIGCONT)
            answers = [call.result() for call in calls]
        assert [(answer.status_code, answer.json()) for answer in answers] == [
            (200, {"predictions": [number / 2 + 1]}) for number in range(100)
        ]
        assert served.gateway.process.wait(30) == 0
        assert not listens(served.port)


def patient_call(served: Served, value: float) -> httpx.Response:
    """On a connection of its own."""
    headers = {"X-Timeout-Ms": "30000"}
    body = {"instances": [value]}
    return httpx.post(
        f"{served.url}/v1/models/{MODEL}:predict", json=body, headers=headers, timeout=60, trust_env=False
    )


def test_a_model_server_that_stands_still_costs_a_deadline_then_nothing(made: Path, tmp_path: Path) -> None:
    """SIGSTOP: 504 or 503 within the deadline and a bit; soon at once, by the breaker; after SIGCONT right again."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    with gateway_and_servers(tmp_path, config_of(tmp_path / "models", MODEL), MODEL) as served:
        server = served.servers[0].process
        ask: dict[str, Any] = {"instances": [1.0], "headers": {"X-Timeout-Ms": f"{DEADLINE_S * 1000:.0f}"}}
        assert served.predict(MODEL, **ask).json() == {"predictions": [1.5]}
        server.send_signal(signal.SIGSTOP)
        took: list[tuple[float, httpx.Response]] = []

        def fast_refusal() -> bool:
            began = time.monotonic()
            response = served.predict(MODEL, **ask)
            took.append((time.monotonic() - began, response))
            return len(took) > 1 and took[-1][0] < 0.1 and response.status_code == 503

        wait_until(fast_refusal, 15, "the breaker opens")
        for _ in range(10):
            fast_refusal()
        server.send_signal(signal.SIGCONT)
        wait_until(lambda: served.predict(MODEL, **ask).status_code == 200, 5, "right again")
        for _ in range(20):
            assert served.predict(MODEL, **ask).json() == {"predictions": [1.5]}
        assert {response.status_code for _, response in took} <= {503, 504}
        assert all("Retry-After" in response.headers for _, response in took if response.status_code == 503)
        assert max(seconds for seconds, _ in took) < DEADLINE_S + SLACK_S, took
        assert served.gateway.process.poll() is None


def test_a_model_server_killed_again_and_again_comes_back_to_the_same_gateway(made: Path, tmp_path: Path) -> None:
    """Ten times: only right answers, 503 with Retry-After, or 504; right again soon after it listens."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    with modelyard_serve(tmp_path / "home", "--models-dir", str(tmp_path / "models")) as served:
        gateway = served.gateway.child("services.gateway")
        assert gateway
        back: list[float] = []
        with traffic(served, MODEL) as seen:
            for _ in range(10):
                wait_until(more(seen), 20, "answers")
                server = served.gateway.child("services.modelserver")
                assert server
                server.kill()
                wait_until(lambda: not listens(served.serving_port), 10, "gone")
                before = len(seen.right)
                wait_until(lambda: listens(served.serving_port), 30, "it listens again")
                listening = time.monotonic()
                wait_until(more(seen, 1), 30, "right again")
                back.append(seen.right[before] - listening)
        found = served.gateway.child("services.gateway")
        assert found
        assert found.pid == gateway.pid
    assert (seen.wrong, seen.failed) == ([], [])
    assert seen.refused
    assert max(back) < 4, back


def test_with_two_model_servers_the_death_of_one_loses_nothing(made: Path, tmp_path: Path) -> None:
    """Both work; after one is killed, each request is answered rightly by the other."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    config = config_of(tmp_path / "models", MODEL)
    with gateway_and_servers(tmp_path, config, MODEL, count=2) as served:
        before = [cpu_s(server.process.pid) for server in served.servers]
        with traffic(served, MODEL, clients=8) as seen:
            wait_until(more(seen, 600), 30, "answers of both")
            spent = [cpu_s(server.process.pid) - was for server, was in zip(served.servers, before, strict=True)]
            served.servers[0].process.kill()
            wait_until(more(seen, 600), 30, "answers of the other")
        assert min(spent) > 0.02, spent
    assert (seen.wrong, seen.failed, seen.refused, seen.late) == ([], [], [], [])


def cpu_s(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)
