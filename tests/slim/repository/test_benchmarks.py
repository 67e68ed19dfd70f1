"""What the serving benchmark counts, and how it judges."""

import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.serving import goals, report
from benchmarks.serving.answers import Checker, Expected, instances_body, parse, request, v2_body
from benchmarks.serving.load import Load, Plan
from benchmarks.serving.tally import percentile

EXPECTED = (Expected((0.25, 0.75), 1), Expected((0.9, 0.1), 0))
RIGHT = (
    b'{"predictions":[{"probabilities":[0.25,0.75],"class_id":1}]}',
    b'{"predictions":[{"probabilities":[0.9,0.10001],"class_id":0}]}',
)


class Answers(socketserver.StreamRequestHandler):
    """Right to the first input; to the second one in turn right, wrong, an error, and a closed connection."""

    turn = 0
    lock = threading.Lock()

    def handle(self) -> None:
        while line := self.rfile.readline():
            size = 0
            while (header := self.rfile.readline().lower()) != b"\r\n":
                if header.startswith(b"content-length:"):
                    size = int(header.split(b":")[1])
            self.rfile.read(size)
            if not self.answer(line.split()[1]):
                return

    def answer(self, path: bytes) -> bool:
        if path == b"/0":
            return self.send(200, RIGHT[0])
        with Answers.lock:
            Answers.turn += 1
            turn = Answers.turn % 4
        if turn == 3:
            return self.send(503, b"busy")
        return turn != 0 and self.send(200, RIGHT[1] if turn == 1 else RIGHT[0])

    def send(self, status: int, body: bytes) -> bool:
        self.wfile.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        return True


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def port() -> Iterator[int]:
    Answers.turn = 0
    with Server(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def plan(port: int, **changed: Any) -> Plan:
    requests = tuple(request(port, f"/{number}", "application/json", b"{}") for number in range(2))
    values: dict[str, Any] = {"connections": 2, "seconds": 0.3, "warm_s": 0.0} | changed
    return Plan(port=port, requests=requests, expected=EXPECTED, form="predictions", **values)


def test_wrong_responses_and_errors_are_not_counted_as_right(port: int) -> None:
    """Of eight requests five get a right response; one is wrong, one refused, one dropped."""
    found = Load(Plan.from_json(plan(port, seconds=2.0).to_json())).run()
    assert found["wrong"] > 0
    assert found["errors"] > 0
    assert found["right"] == pytest.approx(5 * found["wrong"], abs=8)
    assert found["errors"] == pytest.approx(2 * found["wrong"], abs=3)
    assert set(found["error_texts"]) == {"503 busy", "closed by the server"}


def test_open_loop_sends_at_its_rate_and_no_faster(port: int) -> None:
    """The rate times the time is the number of requests, however quick the server is."""
    found = Load(plan(port, rate=100.0, seconds=0.4, connections=64)).run()
    assert found["right"] + found["wrong"] + found["errors"] == 40


def test_requests_without_a_response_are_errors_of_an_open_loop() -> None:
    """A server that accepts and says nothing."""

    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(4096):
                pass

    with Server(("127.0.0.1", 0), Silent) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        found = Load(plan(server.server_address[1], rate=50.0, seconds=0.1)).run()
        server.shutdown()
        thread.join()
    assert (found["right"], found["errors"], found["p50_ms"]) == (0, 5, None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"predictions":[{"probabilities":[0.25,0.7502],"class_id":1}]}',
        b'{"predictions":[{"probabilities":[0.25,0.75],"class_id":0}]}',
        b'{"predictions":[{"probabilities":[0.25],"class_id":1}]}',
        b'{"predictions":[{"probabilities":[0.25,null],"class_id":1}]}',
        b'{"predictions":[]}',
        b'{"error":"no"}',
        b"[]",
        b"",
    ],
)
def test_a_response_that_is_not_the_models_is_wrong(body: bytes) -> None:
    """1e-4 off, another class, another shape, no number, nothing, or no JSON."""
    assert not Checker("predictions", list(EXPECTED)).right(0, body)


def test_every_form_of_a_right_response_is_right() -> None:
    """TensorFlow Serving's rows, a bare list, the Open Inference Protocol, and labels."""
    bodies = {
        "predictions": RIGHT[0],
        "list": b'[{"probabilities":[0.25,0.75],"class_id":1}]',
        "v2": b'{"outputs":[{"name":"class_id","data":[1]},{"name":"probabilities","data":[0.25,0.75]}]}',
        "labels": b'{"class_id":1,"scores":{"a":0.25,"b":0.75}}',
    }
    for form, body in bodies.items():
        checker = Checker(form, list(EXPECTED))
        assert checker.right(0, body)
        assert checker.right(0, body)
        assert not checker.right(1, body)


def test_responses_are_whole_or_not_yet_there() -> None:
    """With a length or in chunks, every byte but the last is not enough."""
    plain = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: close\r\n\r\n{}"
    chunked = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    for received, status, closes in ((plain, 200, True), (chunked, 503, False)):
        assert all(parse(received[:end]) is None for end in range(len(received)))
        found = parse(received)
        assert found is not None
        assert (found.status, found.body, found.closes) == (status, b"{}", closes)


def test_bodies_hold_the_same_input() -> None:
    """One row nested, or flat with its shape."""
    assert instances_body([[[1], [2]]]) == b'{"instances": [[[[1], [2]]]]}'
    assert b'"shape": [1, 1, 2, 1], "datatype": "FP32", "data": [1, 2]' in v2_body([[[1], [2]]])


@pytest.mark.parametrize(("share", "found"), [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)])
def test_percentiles_are_nearest_ranks(share: float, found: float) -> None:
    """Of 1 to 100, the 99th percentile is 99."""
    assert percentile([float(value) for value in range(1, 101)], share) == found


def test_percentile_of_nothing_is_nothing() -> None:
    """No answer has no latency."""
    assert percentile([], 0.5) is None


# --- goals ------------------------------------------------------------------------------------------------------------


def point(
    contender: str, rps: float, p99: float, connections: int = 32, workload: str = "mnist_json"
) -> dict[str, Any]:
    latencies = {"p50_ms": p99 / 2, "p95_ms": p99, "p99_ms": p99}
    asked = {"row": "load", "contender": contender, "workload": workload, "connections": connections, "rate": None}
    return asked | latencies | {"rps": rps, "right": int(rps), "wrong": 0, "errors": 0, "cpu_ms": 1.0}


def memory(contender: str, pss: float, **more: float) -> dict[str, Any]:
    return {"row": "memory", "contender": contender, "when": "loaded", "pss_mb": pss, "processes": 1} | more


def verdicts(rows: list[dict[str, Any]]) -> dict[str, bool | None]:
    return {each.goal: each.met for each in goals.judge(rows)}


def test_goals_are_judged_against_the_best_peer() -> None:
    """The frozen one is no documented peer: it has its own, lower bar."""
    rows = [point(goals.DEFAULT, 3500, 20), point("flask", 400, 90), point("mosec", 1000, 25)]
    found = verdicts([*rows, point("mosec-frozen", 2501, 19)])
    assert found["mnist_json at 32 connections: throughput ≥ 3.5 x best documented peer"] is True
    assert found["mnist_json at 32 connections: throughput ≥ 1.4 x best peer frozen by hand"] is False
    assert found["mnist_json at 32 connections: p99 ≤ 1 x that of the best documented peer"] is True
    assert found["mnist_json at 32 connections: p99 ≤ 1 x that of the best peer frozen by hand"] is False
    assert found["mnist_json at 64 connections: throughput ≥ 3.5 x best documented peer"] is None


def test_one_connection_is_judged_against_the_quickest_not_the_busiest() -> None:
    """The lowest median of all peers."""
    rows = [point(goals.DEFAULT, 300, 1.3, 1), point("flask", 500, 2.0, 1), point("mosec", 200, 8.0, 1)]
    assert verdicts(rows)["mnist_json at 1 connection: p50 ≤ 0.6 x the quickest documented peer's"] is False


def test_memory_is_judged_against_the_leanest() -> None:
    """The most that was seen of each."""
    rows = [memory(goals.DEFAULT, 600), memory(goals.DEFAULT, 650), memory(goals.OURS, 700, gateway_pss_mb=110.0)]
    found = verdicts([*rows, memory("flask", 640), memory("ray", 1700)])
    assert found["PSS with both models ≤ 0.87 x the leanest documented peer's"] is False
    assert found["PSS of the gateway ≤ 120 MB"] is True


def test_a_start_is_the_median_of_the_starts() -> None:
    rows = [{"row": "start", "contender": goals.DEFAULT, "first_s": seconds} for seconds in (0.8, 9.0, 1.1)]
    assert verdicts(rows)["first right answer ≤ 1 s after the start"] is False
    assert verdicts(rows[:1])["first right answer ≤ 1 s after the start"] is True
    assert verdicts([])["first right answer ≤ 1 s after the start"] is None


def test_a_peer_that_cannot_run_is_on_the_page_with_its_reason() -> None:
    """Never silently dropped."""
    machine = {"cores": 2, "processor": "x", "memory_gb": 1, "system": "Linux", "python": "3.11", "commit": "abc"}
    run = {"row": "run", "at": "2026-01-01T00:00:00", "command": "bench", "load_before": 0.0, "ours": {}} | machine
    mine = [point("modelyard", 1, 1.0), memory("modelyard", 1), memory("modelyard", 1) | {"when": "after load"}]
    start = {"row": "start", "contender": "modelyard", "first_s": 1.0, "both_s": 2.0}
    failed = {"row": "failed", "contender": "ray", "reason": "could not be installed: no wheel", "versions": {}}
    page = report.page_section([run, start, *mine, failed])
    assert "| Ray Serve | **not measured**: could not be installed: no wheel |" in page
    assert "| **Modelyard** | 1; 0.5/1.0/1.0; 1.00 | 0 |" in page
