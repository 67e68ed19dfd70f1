"""All pages of the console as one blueprint; an error is a page, too, for those who ask for pages."""

import orjson
from flask import Blueprint, Response, g, request
from werkzeug.exceptions import NotFound

from modelyard.services.gateway.console import access, canary, home, jobs, models, queue, try_it, versions
from modelyard.services.gateway.console.assets import load_assets
from modelyard.services.gateway.console.templates import Pages
from modelyard.services.gateway.console.watching import feedback, live, triggers
from modelyard.services.gateway.http.errors import error_response, http_response, render_error

SHOWN_CHARS = 200
API = ("/api/", "/v1/", "/v2/")
"""Whoever asks for these is a client, browser or not."""
TITLES = {401: "Sign in first", 403: "Not with this key", 404: "There is nothing here", 503: "Not now"}


def routes() -> Blueprint:
    """The views of pages, and of their files."""
    views = Blueprint("console", __name__)
    assets = load_assets()
    pages = Pages(assets)
    home.add_pages(views, pages)
    access.add_pages(views, pages)
    models.add_pages(views, pages)
    canary.add_pages(views, pages)
    queue.add_pages(views, pages)
    versions.add_pages(views, pages)
    try_it.add_pages(views, pages)
    live.add_pages(views, pages)
    jobs.add_pages(views, pages)
    feedback.add_pages(views, pages)
    triggers.add_pages(views, pages)

    @views.get("/assets/<digest>/<path:name>")
    def get_asset(digest: str, name: str) -> Response:
        response = assets.respond(name)
        if digest != assets.digest:  # of another release: not to be kept as this one's
            response.headers["Cache-Control"] = "no-store"
        return response

    @views.errorhandler(Exception)
    def show_error(error: Exception) -> Response:
        if not wants_page():
            return error_response(error)
        status, headers, body = render_error(error, g.request_id)
        text = orjson.loads(body)["error"]
        title = TITLES.get(status, "Something went wrong")
        page = pages.render("error.html", status=status, title=title, text=text, request_id=g.request_id)
        page.headers.extend([(name, value) for name, value in headers if name.lower() != "content-type"])
        return page

    @views.app_errorhandler(NotFound)
    def show_unknown_path(error: NotFound) -> Response:
        if not wants_page() or request.path.startswith(API):
            return http_response(error)
        text = f"No page has the address {request.path[:SHOWN_CHARS]}."
        return pages.render("error.html", status=404, title=TITLES[404], text=text, request_id="")

    return views


def wants_page() -> bool:
    """Whether a browser asks, for its reader."""
    return "text/html" in request.headers.get("Accept", "")
