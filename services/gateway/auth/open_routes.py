"""Routes that need no key, as a pattern for the RSGI app, which knows no views."""

import re

from werkzeug.routing import Map, Rule


def build_route_pattern(rules: Map, endpoints: frozenset[str]) -> re.Pattern[str]:
    """Methods and paths of some views, with and without a slash at their end; of a variable part, whatever follows."""
    open_rules = [rule for rule in rules.iter_rules() if rule.endpoint in endpoints]
    return re.compile("|".join(sorted({describe_route(rule) for rule in open_rules})))


def describe_route(rule: Rule) -> str:
    """The pattern of a rule's methods and paths."""
    methods = "|".join(sorted(rule.methods or ()))
    head = re.escape(rule.rule.partition("<")[0].rstrip("/"))
    return f"(?:{methods}) {head}{'/.*' if rule.arguments else '/?'}"
