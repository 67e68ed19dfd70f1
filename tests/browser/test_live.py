"""The page of what happens right now."""

import re
from collections.abc import Sequence
from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import LONG_MS, OpenPage
from tests.browser.stack import OwnGateway
from tests.support.http import http
from tests.support.waiting import wait_until
from tests.system.conftest import System

EVERY_MS = 3000
MODULE = "document.querySelector('script[type=module]').src.replace('app.js', 'prometheus.js')"


def ask(system: System, count: int = 20) -> None:
    for number in range(count):
        body = {"instances": [[number / count]] * 2}
        http.post(f"{system.url}/v1/models/neuron:predict", json=body, timeout=60).raise_for_status()


def read_again(page: Page) -> None:
    """The page reads every few seconds of its clock."""
    with page.expect_response("**/metrics"):
        page.clock.fast_forward(EVERY_MS)


def test_what_happens_is_shown_while_it_does(system: System, page: Page) -> None:
    """Rates, rows per call and model servers; the model that is chosen is in the address, and stays."""
    ask(system, 1)
    page.clock.install()
    page.goto("/live")
    expect(page.locator("#now-replicas")).to_have_text("1 of 1")
    rate = page.locator("#now-predictions")

    def shows_a_rate() -> bool:
        ask(system)
        read_again(page)
        return re.fullmatch(r"[\d.]+", rate.inner_text()) is not None and float(rate.inner_text()) > 0

    wait_until(shows_a_rate, what="a rate")
    row = page.locator("#models tr", has_text="neuron")
    expect(row.locator("td")).to_have_count(7)
    expect(page.locator("#chart-requests .u-over")).to_be_visible()
    page.locator("#model").select_option("neuron")
    expect(page).to_have_url(re.compile("model=neuron"))
    expect(page.locator("#chart-predictions .u-legend")).to_contain_text("version")
    page.reload()
    expect(page.locator("#model")).to_have_value("neuron")


def test_it_pauses_when_told_to(page: Page) -> None:
    """Nothing is asked meanwhile."""
    page.clock.install()
    with page.expect_response("**/metrics"):
        page.goto("/live")
    page.get_by_role("button", name="Pause").click()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.fast_forward(LONG_MS)
    with page.expect_response("**/metrics"):
        page.get_by_role("button", name="Go on").click()
    assert len([url for url in asked if url.endswith("/metrics")]) == 1


def test_several_gateways_behind_one_address_are_said_plainly(
    system: System, gateway: OwnGateway, open_page: OpenPage
) -> None:
    """Each reading is of one of them, in turn: counters of two are never taken for one that fell."""
    page, turn = open_page(), 0

    def balance(route: Route) -> None:
        nonlocal turn
        turn += 1
        url = [system.url, gateway.url][turn % 2]
        route.fulfill(response=route.fetch(url=f"{url}/metrics"))

    page.route("**/metrics", balance)
    ask(system)
    page.clock.install()
    page.goto("/live")
    for _ in range(3):  # with the first one, two of each
        read_again(page)
    expect(page.locator("#several")).to_contain_text("2 gateways answer at this address")
    expect(page.locator("#now-requests")).to_have_text(re.compile(r"^\d+(\.\d+)?$"))


TEXT = """# HELP a_total x
a_total{model="m\\"\\\\n",version="1"} 5
a_total 3
s_bucket{le="0.1"} 2
s_bucket{le="1.0"} 4
s_bucket{le="+Inf"} 4
g NaN
"""


EXPECTED: Sequence[tuple[str, Any]] = (
    (
        "p.parse(text).a_total",
        [{"labels": {"model": 'm"\\n', "version": "1"}, "value": 5}, {"labels": {}, "value": 3}],
    ),
    ("p.growth(p.parse('a 5'), p.parse('a 7'), 'a')[0].value", 2),
    ("p.growth(p.parse('a 5'), p.parse('a 2'), 'a')[0].value", 2),
    ("p.growth(p.parse(''), p.parse('a 4'), 'a')[0].value", 4),
    ("p.quantile(0.5, p.parse(text).s_bucket)", 0.1),
    ("p.quantile(0.75, p.parse(text).s_bucket)", 0.55),
    ('p.quantile(0.99, p.parse(\'s{le="1"} 0\\ns{le="+Inf"} 3\').s)', 1),
    ("p.quantile(0.5, p.parse('s{le=\"1\"} 0').s)", None),
    ("p.quantile(0.5, [])", None),
)


def test_prometheus_text_is_read_as_prometheus_does(page: Page) -> None:
    """Labels with every escape; a counter that fell began again; quantiles within buckets, and above all bounds."""
    page.goto("/")
    for expression, expected in EXPECTED:
        found = page.evaluate(f"async (text) => {{ const p = await import({MODULE}); return {expression}; }}", TEXT)
        assert found == expected, expression
