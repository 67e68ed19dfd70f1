"""Why, through a real gateway; the asynchronous client does the same."""

from typing import Any

import pytest

from modelyard.client import InvalidInput, WrongKind
from tests.slim.client.conftest import Gateway
from tests.slim.gateway.inference.test_explain import WORDS, explained, weigh_words
from tests.support.fakes import KINDS, REVIEWS, publish

MODEL = "reasons"


def test_an_answer_says_why_on_request(client: Any, served: Gateway) -> None:
    """A text as it is, and a text in JSON; without asking there is nothing to read."""
    fields = {**KINDS[REVIEWS], "signatures": explained(REVIEWS, explain=WORDS)}
    served.server.loaded.add((MODEL, publish(served.store, MODEL, **fields)))
    served.server.explain = weigh_words
    for given in ({"signature": "serving_default"}, {}):
        found = client.predict(MODEL, "a good film", explain=True, **given)
        assert (found.label, found.explanation["label"]) == ("positive", "positive")
        assert [entry["word"] for entry in found.explanation["words"]] == ["a", "good", "film"]
    with pytest.raises(WrongKind, match="not with explanation"):
        _ = client.predict(MODEL, "a good film").explanation


def test_a_version_that_explains_nothing_is_named(client: Any) -> None:
    """As the gateway says it."""
    with pytest.raises(InvalidInput, match="has no signature that explains"):
        client.predict(REVIEWS, "good", explain=True)
