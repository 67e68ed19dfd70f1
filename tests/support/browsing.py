"""What a browser sends beside a request, and how it signs in."""

from collections.abc import Mapping
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

NAVIGATION: Mapping[str, str] = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
"""Somebody goes to an address."""
OWN_SCRIPT: Mapping[str, str] = {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}
"""A page of ours calls the API."""


def sign_in(client: FlaskClient, key: str, **headers: str) -> TestResponse:
    """The client's jar keeps the cookie."""
    return client.post("/api/session", json={"key": key}, headers={**OWN_SCRIPT, **headers})


def with_token(session: Any) -> dict[str, str]:
    """Headers of a page of ours that changes something."""
    return {**OWN_SCRIPT, "X-CSRF-Token": session["csrf_token"]}
