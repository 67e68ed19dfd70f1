"""All pages of the console as one blueprint; an error is a page, too, for those who ask for pages."""

import orjson
from flask import Blueprint, Response, g, request
from werkzeug.exceptions import NotFound

from modelyard.services.gateway.auth.browsers import wants_page
from modelyard.services.gateway.console import access, home
from modelyard.services.gateway.console.assets import Assets
from modelyard.services.gateway.console.templates import Pages
from modelyard.services.gateway.http.errors import error_response, http_response, render_error

API = ("/api/", "/v1/", "/v2/")
SHOWN_CHARS = 100
TITLES = {401: "Sign in first", 403: "Not with this key", 404: "There is nothing here", 503: "Not now"}


def routes() -> Blueprint:
    """The views of pages, and of their files."""
    views = Blueprint("console", __name__)
    assets = Assets()
    pages = Pages(assets)
    home.add_pages(views, pages)
    access.add_pages(views, pages)

    @views.get("/assets/<digest>/<path:name>")
    def get_asset(digest: str, name: str) -> Response:
        response = assets.respond(name)
        if digest != assets.digest:  # of another release: not to be kept as this one's
            response.headers["Cache-Control"] = "no-store"
        return response

    @views.errorhandler(Exception)
    def show_error(error: Exception) -> Response:
        if "text/html" not in request.headers.get("Accept", ""):
            return error_response(error)
        status, headers, body = render_error(error, g.request_id)
        page = show(status, orjson.loads(body)["error"])
        page.headers.extend([(name, value) for name, value in headers if name.lower() != "content-type"])
        return page

    @views.app_errorhandler(404)
    def show_unknown(error: NotFound) -> Response:
        """An address without a page, asked for by a browser; anything else gets the error of the API."""
        accept, mode = (request.headers.get(name) for name in ("Accept", "Sec-Fetch-Mode"))
        if not wants_page(request.method, accept, mode) or request.path.startswith(API):
            return http_response(error)
        return show(404, f"There is no page {request.path[:SHOWN_CHARS]}.")

    def show(status: int, text: str) -> Response:
        title = TITLES.get(status, "Something went wrong")
        return pages.render("error.html", status=status, title=title, text=text, request_id=g.request_id)

    return views
