"""Entries of the audit trail as sentences: who did what to what, and where that is shown."""

import json
from collections.abc import Mapping
from typing import Any

from modelyard.services.gateway.console.templates import link

SENTENCES: Mapping[tuple[str, str], str] = {
    ("job", "submit"): "asked for a job of {model}",
    ("job", "retry"): "tried a job of {model} again",
    ("job", "cancel"): "cancelled a job of {model}",
    ("search", "submit"): "asked for a search of {model}",
    ("search", "cancel"): "cancelled a search of {model}",
    ("trigger", "set"): "set the trigger {subject} of {model}",
    ("trigger", "remove"): "removed the trigger {subject} of {model}",
    ("version", "publish"): "published version {version} of {model}",
    ("rollout", "promote"): "made version {version} of {model} stable",
    ("rollout", "rollback"): "rolled {model} back to version {version}",
    ("rollout", "canary"): "began a canary of version {version} of {model}",
    ("rollout", "end canary"): "ended the canary of version {version} of {model}",
    ("rollout", "shadow"): "began a shadow of version {version} of {model}",
    ("rollout", "end shadow"): "ended the shadow of version {version} of {model}",
    ("rollout", "label"): "labelled version {version} of {model}",
    ("rollout", "unlabel"): "removed a label of version {version} of {model}",
    ("rollout", "remove"): "deleted version {version} of {model}",
    ("rollout", "reject"): "rejected version {version} of {model}",
    ("rollout", "import"): "imported version {version} of {model}",
    ("rollout", "allow fallback"): "let the version before answer for a damaged one of {model}",
    ("rollout", "forbid fallback"): "let no version before answer for a damaged one of {model}",
    ("rollout", "move"): "moved {model} to the pool {pool}",
    ("key", "create"): "created a key for {name} with the role {role}",
    ("key", "revoke"): "revoked a key of {name}",
    ("audit", "prune"): "deleted {entries} old entries of the kind {kind}",
    ("audit", "accept history"): "accepted the history of {model} as it is now",
}
REQUESTS: Mapping[str, str] = {
    "promote": "asked to make version {version} of {model} stable",
    "change": "asked to change the rollout of {model}",
    "move": "asked to move {model} to the pool {pool}",
}
"""Of a rollout: what was done follows in an entry of its own."""
DENIED: Mapping[str, str] = {
    "403 ForeignPage": "had a page of another site send {action}",
    "403 InvalidToken": "sent no valid token with {action}",
    "403": "tried what the role may not: {action}",
    "404": "tried what is not there, or not theirs: {action}",
}
FAULTS: Mapping[str, str] = {
    "none": "sent no key",
    "several": "sent several keys",
    "malformed": "sent what is no key",
    "unknown": "sent an unknown key",
    "wrong": "sent a wrong key",
    "expired": "sent an expired key",
    "revoked": "sent a revoked key",
    "session over": "used a session that was over",
}
NOBODY = "Somebody"


def describe_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry, its sentence, and where to look: ``who``, ``did``, ``href`` and ``reason`` beside its own fields."""
    reason = entry["detail"].get("reason")
    count = entry["detail"].get("count", 1)
    address = entry["detail"].get("address")
    return {
        **entry,
        "exact": json.dumps(entry, indent=2, ensure_ascii=False),
        "who": entry["by"] or (f"{NOBODY} at {address}" if address else NOBODY),
        "did": describe_action(entry) + (f", {count} times" if count > 1 else ""),
        "href": locate(entry),
        "reason": reason if entry["outcome"] != "denied" else None,
    }


def describe_action(entry: Mapping[str, Any]) -> str:
    """What was done, or tried; an action of another release in its own words."""
    kind, action = entry["kind"], entry["action"]
    if kind == "denied":
        return describe_denial(entry)
    known = REQUESTS.get(action) if entry["outcome"] == "requested" else SENTENCES.get((kind, action))
    about = " ".join(str(entry[name]) for name in ("model", "version", "subject") if entry[name] is not None)
    try:
        return (known or f"{action}: {about}").format(**entry["detail"] | fill(entry))
    except (KeyError, IndexError, ValueError):
        return f"{action}: {about}"


def fill(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a sentence may name; a detail of the same name is another thing."""
    return {name: entry[name] for name in ("model", "version", "subject") if entry[name] is not None}


def describe_denial(entry: Mapping[str, Any]) -> str:
    reason = str(entry["detail"].get("reason", ""))
    status, _, fault = reason.partition(" ")
    if status == "401":
        return FAULTS.get(fault, f"was not let in: {fault}")
    about = " ".join(str(entry[name]) for name in ("model", "version", "subject") if entry[name] is not None)
    tried = f"{entry['action']} {about}".strip()
    return DENIED.get(reason, f"was refused ({reason}): {{action}}").replace("{action}", tried)


def locate(entry: Mapping[str, Any]) -> str | None:
    """The page about what an entry is about; None where there is none."""
    kind, model, version, subject = (entry[name] for name in ("kind", "model", "version", "subject"))
    if kind == "key":
        return "/keys?show=all"
    if kind in ("job", "search") and subject:
        return link("jobs" if kind == "job" else "searches", subject)
    if model and kind == "trigger":
        return link("models", model, "triggers")
    if model and version:
        return link("models", model, "versions", version)
    return link("models", model) if model and kind != "denied" else None
