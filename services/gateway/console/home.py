"""The first page: what serves, what trains, and whether anything is wrong."""

from flask import Blueprint, Response

from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import Pages


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/``."""
    api = PublicApi()

    @views.get("/")
    def home() -> Response:
        return pages.render("home.html", current="home", models=api.get("/api/models"))
