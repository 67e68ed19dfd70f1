"""Posts notifications to the operator's URL. Nothing of the URL, the token or the response is ever logged."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from modelyard.models.errors import ModelyardError
from modelyard.services.ledger.notifications import Notification
from modelyard.services.scheduler.notifications.settings import NotificationSettings

MAX_AGAIN_S = 3600
"""Longest pause that a receiver may ask for."""
OK, REDIRECTED, CLIENT_ERROR = 200, 300, 400


class NotDelivered(ModelyardError):
    """A post that the receiver did not take; the text has why, and nothing of the URL."""

    def __init__(self, text: str, again_s: float = 0.0) -> None:
        """``again_s``: the pause that the receiver asks for."""
        super().__init__(text)
        self.again_s = again_s


class Webhook:
    """One receiver."""

    def __init__(self, settings: NotificationSettings) -> None:
        """``settings.notify_url`` is set."""
        assert settings.notify_url
        self._url = settings.notify_url.get_secret_value()
        self._only_text = settings.notify_format == "text"
        token = settings.notify_token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        outside = self._url.startswith("https:")
        self._client = httpx.Client(
            timeout=settings.notify_timeout_s,
            follow_redirects=False,
            headers=headers | {"User-Agent": "modelyard"},
            trust_env=outside,  # a proxy leads outside, not to this machine
            verify=outside,  # where there is no TLS, no certificate authorities are read
        )

    def close(self) -> None:
        self._client.close()

    def post(self, notification: Notification) -> None:
        """Sends it once. The body of the response is not read.

        Raises:
            NotDelivered: there was no response in time, or it was no success; redirections are not followed.
        """
        content = json.dumps(self.make_body(notification)).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": notification.id}
        try:
            with self._client.stream("POST", self._url, content=content, headers=headers) as response:
                status, again = response.status_code, response.headers.get("Retry-After", "")
        except httpx.HTTPError as error:  # its text may have the URL
            raise NotDelivered(f"no response: {type(error).__name__}") from None
        if OK <= status < REDIRECTED:
            return
        told = f"status {status}" + (", which is not followed" if REDIRECTED <= status < CLIENT_ERROR else "")
        raise NotDelivered(told, min(float(again), MAX_AGAIN_S) if again.isdecimal() else 0.0)

    def make_body(self, notification: Notification) -> Mapping[str, Any]:
        """As docs/notifications.md has it. A text that may come twice says so."""
        text = notification.body["text"]
        if notification.attempts > 1:
            text += f"\n(attempt {notification.attempts} to tell {notification.id}: it may have come before)"
        if self._only_text:
            return {"text": text}
        head = {"id": notification.id, "event": notification.event, "attempt": notification.attempts}
        return {**head, **notification.body, "text": text}
