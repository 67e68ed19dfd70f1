"""How ``modelyard rollout`` reads what is asked for a canary."""

import pytest
import typer

from modelyard.services.cli.commands.rollouts import describe_plan, parse_steps


def test_steps_are_shares_with_numbers_of_answers() -> None:
    """A share alone takes the canary's number."""
    assert parse_steps("5:500, 25,50") == [{"percent": 5.0, "enough": 500}, {"percent": 25.0}, {"percent": 50.0}]
    assert parse_steps("") == []


@pytest.mark.parametrize("text", ["five", "5:", "5:many", "5;25"])
def test_what_is_no_step_is_refused(text: str) -> None:
    """With what was expected."""
    with pytest.raises(typer.BadParameter, match="expects PERCENT or PERCENT:ANSWERS"):
        parse_steps(text)


def test_a_canarys_plan_is_said_in_words() -> None:
    """Who decides, and the steps."""
    steps = [{"percent": 5.0, "enough": 1}, {"percent": 50.0, "enough": 1}]
    assert describe_plan({"judge": "abort-only", "steps": steps}) == "analysis that only ends it, steps 5 → 50 %"
    assert describe_plan({"judge": "off", "steps": []}) == "manual analysis"
