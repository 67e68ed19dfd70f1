"""The page of alerts: what each means, and what to do."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

import modelyard

RULES = Path(modelyard.__file__).parent.parent / "deploy" / "prometheus" / "alerts.yml"
HEAD = """# Alerts

Written by `make docs` from `deploy/prometheus/alerts.yml`. **page**: somebody has to act now; **ticket**: by tomorrow.
`promtool test rules deploy/prometheus/alerts_test.yml` makes each of them fire. How Prometheus gets at the metrics:
[deploy](deploy.md#what-to-watch); what they are: [metrics](metrics.md)."""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        lines += ["", f"## {group['name'].capitalize()}"]
        for rule in group["rules"]:
            lines += describe(rule)
    return "\n".join([*lines, ""])


def describe(rule: Mapping[str, Any]) -> Iterator[str]:
    said = rule["annotations"]
    wait = f", for {rule['for']}" if "for" in rule else ""
    yield from ("", f"### {rule['alert']}", "", f"**{rule['labels']['severity']}**{wait}:")
    yield from ("", "```", *rule["expr"].splitlines(), "```", "")
    yield from (f"{said['meaning']}", "", f"**Do:** {said['action']}")
