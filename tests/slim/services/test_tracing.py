"""Trace contexts in and out, which traces are recorded, and how spans get to a receiver that is well, ill or away."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.testing import capture_logs

from modelyard.services.settings import InvalidSettings
from modelyard.services.tracing.context import TraceContext, parse_context
from modelyard.services.tracing.otlp import CLOSE_S, MAX_QUEUED, open_tracing
from modelyard.services.tracing.settings import TracingSettings
from modelyard.services.tracing.spans import JoinedSpan, Kind, RecordedSpan, Tracing
from tests.support.otlp import OtlpReceiver
from tests.support.ports import free_port
from tests.support.waiting import wait_until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as running:
        yield running


def open_to(url: str, **more: object) -> Tracing:
    tracing = open_tracing(TracingSettings.load(otlp_endpoint=url, **more), "test")
    assert tracing
    return tracing


# --- trace contexts ---------------------------------------------------------------------------------------------------


def test_a_callers_span_is_the_parent_and_goes_out_as_it_came() -> None:
    found = parse_context([PARENT], ["vendor=a:1,other@sys=b"])
    assert found == TraceContext(int(TRACE, 16), int(SPAN, 16), True, "vendor=a:1,other@sys=b")
    assert found.headers == (("traceparent", PARENT), ("tracestate", "vendor=a:1,other@sys=b"))


def test_a_later_version_of_the_standard_is_read_as_far_as_it_is_known() -> None:
    found = parse_context([f"cc-{TRACE}-{SPAN}-03-what.the.future.brings"])
    assert found == TraceContext(int(TRACE, 16), int(SPAN, 16), True)


@pytest.mark.parametrize(
    "parents",
    [
        (),
        ("",),
        ("garbage",),
        (PARENT, PARENT),
        (f"ff-{TRACE}-{SPAN}-01",),
        (f"00-{'0' * 32}-{SPAN}-01",),
        (f"00-{TRACE}-{'0' * 16}-01",),
        (f"00-{TRACE.upper()}-{SPAN}-01",),
        (f"00-{TRACE}-{SPAN}-01-more",),
        (f"00-{TRACE}-{SPAN}-1",),
        (f"{PARENT}\n",),
        (PARENT.replace("0af7", "\u0660af7"),),
        (f"{PARENT},{PARENT}",),
    ],
)
def test_a_malformed_parent_is_none(parents: tuple[str, ...]) -> None:
    assert parse_context(parents) is None


@pytest.mark.parametrize(
    "states",
    [
        ("=1",),
        ("A=1",),
        ("a=1,a=2",),
        ("a=\x00",),
        ("a=b=c",),
        tuple(f"k{n}=v" for n in range(33)),
        (f"a={'x' * 257}",),
    ],
)
def test_a_malformed_state_is_dropped_and_the_parent_stays(states: tuple[str, ...]) -> None:
    found = parse_context([PARENT], states)
    assert found
    assert (found.traceparent, found.state) == (PARENT, "")


HEX = st.text("0123456789abcdefF", min_size=14, max_size=34)
PARTS = st.one_of(st.sampled_from(["00", "01", "ff", "cc", TRACE, SPAN, "0" * 32, "0" * 16, "", "x"]), HEX)


@given(st.lists(PARTS, min_size=3, max_size=5))
@example(["00", TRACE, SPAN, "01"])
@example(["01", TRACE, SPAN, "00", "x"])
def test_a_parent_is_read_as_opentelemetry_reads_it(parts: list[str]) -> None:
    """Its propagator: the same ids, or none."""
    text = "-".join(parts)
    context = TraceContextTextMapPropagator().extract({"traceparent": text})
    theirs, ours = trace.get_current_span(context).get_span_context(), parse_context([text])
    assert (ours is not None) is theirs.is_valid
    if ours:
        assert (ours.trace_id, ours.span_id, ours.sampled) == (
            theirs.trace_id,
            theirs.span_id,
            bool(theirs.trace_flags.sampled),
        )


# --- which are recorded -----------------------------------------------------------------------------------------------


@given(st.integers(1, 2**128 - 1), st.floats(0, 1))
def test_our_share_is_that_of_opentelemetrys_sampler(trace_id: int, share: float) -> None:
    """Processes with the same share agree, whatever they are written in."""
    said: list[RecordedSpan] = []
    span = Tracing(share, said.append, lambda: None).begin("x", None, kind=Kind.SERVER, trace_id=trace_id)
    theirs = TraceIdRatioBased(share).should_sample(None, trace_id, "x").decision.is_sampled()
    edge = abs((trace_id & (2**64 - 1)) - share * 2**64) <= 2**12  # where they round otherwise
    assert span.is_recorded is theirs or edge


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("sampled", [False, True])
def test_the_callers_choice_wins(share: float, sampled: bool) -> None:  # a parameter
    said: list[RecordedSpan] = []
    span = Tracing(share, said.append, lambda: None).begin("x", TraceContext(1, 2, sampled), kind=Kind.SERVER)
    child = span.begin("y")
    assert child.context.sampled is sampled
    for each in (child, span):
        each.end()
    assert [each.name for each in said] == (["y", "x"] if sampled else [])


def test_what_several_share_is_linked_both_ways() -> None:
    said: list[RecordedSpan] = []
    tracing = Tracing(1.0, said.append, lambda: None)
    calls = [tracing.begin(f"call {number}", None, kind=Kind.INTERNAL) for number in range(3)]
    shared = JoinedSpan(calls).begin("shared")
    for span in (shared, *calls):
        span.end()
        span.end()  # once is enough
    ended = {span.name: span for span in said}
    assert len(said) == 4
    assert ended["shared"].parent == calls[0].context
    assert ended["shared"].links == [calls[1].context, calls[2].context]
    assert [ended[f"call {number}"].links for number in range(3)] == [[], [shared.context], [shared.context]]


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_url", "traces"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("https://otlp.example/tempo/", "https://otlp.example/tempo/v1/traces"),
        ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
    ],
)
def test_spans_go_below_the_receivers_url(given_url: str, traces: str) -> None:
    assert TracingSettings.load(otlp_endpoint=given_url).otlp_endpoint == traces


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:4318",
        "grpc://host:4317",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://user:s3cret@host",
        "http://host?api-key=s3cret",
        "file:///tmp/s3cret",
        "http://ho st/s3cret",
    ],
)
def test_a_wrong_url_is_refused_in_one_line_without_its_secrets(url: str) -> None:
    with pytest.raises(InvalidSettings, match="MODELYARD_OTLP_ENDPOINT: expected") as refused:
        TracingSettings.load(otlp_endpoint=url)
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


HIDING = """
import sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"{name} is hidden", name=name)

sys.meta_path.insert(0, Hidden())
from modelyard.services.settings import InvalidSettings
from modelyard.services.tracing.otlp import open_tracing
from modelyard.services.tracing.settings import TracingSettings

assert open_tracing(TracingSettings.load(), "test") is None
try:
    open_tracing(TracingSettings.load(otlp_endpoint="http://127.0.0.1:4318"), "test")
except InvalidSettings as error:
    print(error)
"""


def test_a_missing_extra_is_said_in_one_line() -> None:
    """With what to type."""
    done = subprocess.run([sys.executable, "-c", HIDING], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "MODELYARD_OTLP_ENDPOINT: expected the packages of the extra tracing with it, which are not installed: "
        "pip install 'modelyard[tracing]'\n"
    )


# --- to the receiver --------------------------------------------------------------------------------------------------


def test_spans_arrive_whole_with_the_headers_that_opentelemetry_is_told(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids, times, kinds, attributes, links, state and outcome; the secret in a variable of OpenTelemetry's own."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=s3cret")
    tracing = open_to(receiver.url)
    caller = parse_context([PARENT], ["vendor=a"])
    span = tracing.begin("GET", caller, {"http.request.method": "GET"}, kind=Kind.SERVER)
    child = span.begin("run", kind=Kind.CLIENT, at_ns=5, links=[TraceContext(1, 2, True)])
    child.end({"modelyard.rows": 3}, failed=True, at_ns=9)
    span.end(name="GET /x")
    tracing.close()
    (run,), (get,) = receiver.find("run"), receiver.find("GET /x")
    assert (get.service, get.kind, get.trace_id, get.parent_id, get.state) == (
        "test",
        "SERVER",
        TRACE,
        SPAN,
        "vendor=a",
    )
    assert get.attributes == {"http.request.method": "GET"}
    assert (run.kind, run.trace_id, run.parent_id, run.failed) == ("CLIENT", TRACE, get.span_id, True)
    assert (run.began_ns, run.ended_ns, run.links, run.attributes) == (5, 9, (f"{2:016x}",), {"modelyard.rows": 3})
    assert not get.failed
    assert receiver.paths == {"/v1/traces"}
    assert receiver.requests[0]["x-token"] == "s3cret"


def end_many(tracing: Tracing, count: int) -> None:
    for number in range(count):
        tracing.begin(f"span {number}", None, kind=Kind.INTERNAL).end()


def test_a_receiver_that_is_away_costs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """However many spans are lost; and nothing that OpenTelemetry itself would say."""
    with capture_logs() as said:
        tracing = open_to(f"http://127.0.0.1:{free_port()}")
        end_many(tracing, 3 * MAX_QUEUED)
        wait_until(lambda: said, what="a warning")
        end_many(tracing, 1)
        tracing.close()
    assert [line["log_level"] for line in said] == ["warning"]
    assert caplog.records == []


def test_an_answer_of_500_loses_spans_and_later_ones_arrive(receiver: OtlpReceiver) -> None:
    receiver.status = 500
    tracing = open_to(receiver.url)
    with closing(tracing):
        end_many(tracing, 1)
        wait_until(lambda: receiver.requests, what="a try")
        receiver.status = 200
        wait_until(lambda: end_many(tracing, 1) or receiver.spans, what="delivery")


def test_a_slow_receiver_holds_nobody_up_and_the_end_is_limited(receiver: OtlpReceiver) -> None:
    """Spans go into a queue of limited length while one message is under way; the end waits only so long."""
    receiver.answers.clear()
    tracing = open_to(receiver.url)
    end_many(tracing, 2 * MAX_QUEUED)
    assert receiver.asked.wait(30)
    end_many(tracing, 2 * MAX_QUEUED)
    assert receiver.spans == []
    closing_thread = threading.Thread(target=tracing.close)
    closing_thread.start()
    closing_thread.join(10 * CLOSE_S)
    assert not closing_thread.is_alive()
    receiver.answers.set()
