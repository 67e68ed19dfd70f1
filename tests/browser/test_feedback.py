"""The page of drift and feedback, while feedback comes."""

import re

from playwright.sync_api import Page, expect

from tests.support.http import http
from tests.support.waiting import wait_until
from tests.system.conftest import System

REFRESH_MS = 10_000


def predict(system: System, text: str) -> str:
    """Returns the request's id when the prediction is kept."""
    response = http.post(
        f"{system.url}/v1/models/sentiment_lstm:predict",
        content=text,
        headers={"Content-Type": "text/plain"},
        timeout=60,
    )
    found: str = response.raise_for_status().headers["X-Request-Id"]
    wait_until(lambda: http.get(f"{system.url}/api/answers/{found}").is_success, what="it is kept")
    return found


def test_feedback_shows_up_by_itself(system: System, page: Page) -> None:
    """A wrong one with its text, which is not run; bars and accuracy; the chosen days are in the address."""
    page.clock.install()
    page.goto("/models/sentiment_lstm/feedback")
    markup = "<script>document.title = 'run'</script> I loved every minute of it"
    origin = predict(system, markup)
    predicted = http.get(f"{system.url}/api/answers/{origin}").json()["predicted"]
    other = "negative" if predicted == "positive" else "positive"
    body = {"request_id": origin, "label": other}
    http.post(f"{system.url}/api/feedback", json=body).raise_for_status()
    page.get_by_label("Time", exact=True).select_option("7")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("days=7"))
    card = page.locator("#wrong article", has_text="I loved every minute")
    expect(card).to_contain_text(f"is really {other}")
    expect(page.locator("svg.days rect.wrong").first).to_be_attached()
    body = {"request_id": predict(system, "a dull film"), "label": other}
    labels = page.locator("#over-time tbody").first.locator("td").first
    before = labels.inner_text()
    http.post(f"{system.url}/api/feedback", json=body).raise_for_status()
    page.clock.fast_forward(REFRESH_MS)
    expect(labels).not_to_have_text(before)
    assert page.title() != "run"
