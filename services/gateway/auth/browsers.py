"""What is particular to browsers: pages are typed in without a key, and lead to where one signs in."""

import re
from urllib.parse import quote

SIGN_IN_PAGE = "/signin"
OWN_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")
"""Of this site, as browsers read it: they take ``\\`` for ``/``, and leave out tabs and line breaks."""
MAX_NEXT_CHARS = 2000


def wants_page(method: str, accept: str | None, mode: str | None) -> bool:
    """Whether a browser goes to this address, so that a page is shown; not a script, nor a client that is no browser.

    Args:
        accept: the request's ``Accept``.
        mode: its ``Sec-Fetch-Mode``; None of browsers that do not send it here.
    """
    return method in ("GET", "HEAD") and "text/html" in (accept or "") and mode in (None, "navigate")


def locate_sign_in(path: str, query: str) -> str:
    """Where one signs in, and comes back from to this address."""
    wanted = quote(path, safe="/:@!$'()*,;~-._") + (f"?{query}" if query else "")
    return SIGN_IN_PAGE + (f"?next={quote(wanted, safe='/')}" if is_own_path(wanted) and wanted != "/" else "")


def is_own_path(text: str) -> bool:
    """Whether a text can only be an address of this site, and not that of signing in itself."""
    return (
        len(text) <= MAX_NEXT_CHARS
        and bool(OWN_PATH.fullmatch(text))
        and re.match(rf"{SIGN_IN_PAGE}(?![^/?#])", text) is None
    )
