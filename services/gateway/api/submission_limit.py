"""The limit of submissions, around the views that take them."""

from flask import Flask, Response, g

from modelyard.services.gateway.auth.principal import current_client
from modelyard.services.gateway.limits.rate_limits import RateLimits


def take_submission(limits: RateLimits) -> None:
    """Takes one of the client's submissions; raises as ``RateLimits.take_submission``."""
    g.limit = limits.take_submission(current_client())


def add_limit_headers(app: Flask) -> None:
    """Tells clients what they have left."""

    @app.after_request
    def add_headers(response: Response) -> Response:
        decision = g.get("limit")
        if decision:
            response.headers.extend(decision.headers())
        return response
