"""Templates as answers: autoescaped, with the few filters by which the pages write numbers."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clickscape.report import figures
from clickscape.service.page import words

if TYPE_CHECKING:
    from clickscape.service.page.sessions import Visitor

FOLDER = Path(__file__).parent
STATIC = {name: FOLDER / "static" / name for name in ("style.css", "page.js", "htmx.min.js", "icon.svg")} | {
    "plots.css": Path(figures.__file__).with_name("plots.css")
}
"""Files of the page; how a plot looks is said once, in the report."""


def page(
    request: Request, template: str, *, visitor: Visitor | None, status: int = 200,
    headers: dict[str, str] | None = None, **values: Any,
) -> HTMLResponse:  # fmt: skip
    """Return a template filled with values; it is kept by no cache, because it is one person's."""
    text = _environment().get_template(template).render(
        visitor=visitor, may_approve=visitor is not None and visitor.key.may("approve"), path=request.url.path,
        status=status, **values,
    )  # fmt: skip
    return HTMLResponse(text, status, headers={"cache-control": "no-store", **(headers or {})})


@cache
def static_address(name: str) -> str:
    """Return the address of one of the page's own files, with its content's digest so that it may be kept for long."""
    digest = hashlib.sha256(STATIC[name].read_bytes()).hexdigest()[:12]
    return f"/page/static/{name}?v={digest}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.globals["static"] = static_address
    made.filters |= {
        "percent": words.percent, "change": words.change, "count": words.count,
        "part": lambda text: quote(text, safe=""),
    }  # fmt: skip
    return made
