"""What is refused is said in our words, without those of the library that found it."""

from collections.abc import Callable

import pytest

from modelyard.models.errors import ModelyardError
from modelyard.models.recipes import Recipe
from modelyard.services.cli.commands.keys import parse_key
from modelyard.services.gateway.api.rollout_changes import CanaryRequest
from modelyard.services.gateway.http.json_body import parse_json_body
from modelyard.services.keys import Role
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.triggers import Trigger

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a trigger's body": (lambda: parse_json_body(Trigger, b'{"cron": "x"}'), "cron: expected five fields"),
    "a canary's body": (
        lambda: parse_json_body(CanaryRequest, b'{"version": 1, "percent": 5, "steps": [50, 5]}'),
        "field 'steps': expected ascending shares; received 50, 5",
    ),
    "a setting": (lambda: SchedulerSettings.load(audit_days="job"), "MODELYARD_AUDIT_DAYS: expected KIND=DAYS"),
    "a key's model": (lambda: parse_key("ann", Role.ADMIN, ["neuron"], 9), "key: "),
    "a recipe's value": (lambda: Recipe().override({"epochs": "x"}), "recipe key 'epochs': "),
}


@pytest.mark.parametrize(("refused", "text"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_what_was_expected_and_no_exception(refused: Callable[[], object], text: str) -> None:
    """Of a body, a setting, a key and a recipe."""
    with pytest.raises(ModelyardError) as raised:
        refused()
    assert str(raised.value).startswith(text)
    assert "Value error" not in str(raised.value)
