"""The page of what happens right now; its module reads ``/metrics``."""

from flask import Blueprint, Response

from modelyard.services.gateway.console.templates import Pages


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/live``."""

    @views.get("/live")
    def live() -> Response:
        return pages.render("live.html", current="live", module="live")
