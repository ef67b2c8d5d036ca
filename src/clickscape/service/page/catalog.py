"""The page *Catalog*: products, how many creatives they have, and what of it needs a person."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from clickscape.catalog.feed_report import FeedWarning, Kind, Skipped
from clickscape.errors import WorkspaceError
from clickscape.json_files import read_json
from clickscape.regular_files import inside
from clickscape.service.page import store
from clickscape.service.page.templates import page
from clickscape.service.page.visit import TurnedAwayError, text_of, visitor_of

if TYPE_CHECKING:
    from clickscape.service.app import Service

router = APIRouter(include_in_schema=False)
LABELS: dict[store.Show, str] = {
    "all": "All products", "unapproved": "Without an approved ad", "stale": "With an outdated ad",
    "flagged": "Cut-out to look at",
}  # fmt: skip
_FEED_REPORT = "feed-report.json"  # stages.ingest.FEED_REPORT: what answers imports no stage
_ROWS = 100  # of one kind of problem that are shown


@dataclass(frozen=True)
class FeedProblems:
    """The report of the newest feed that was ingested, and the file's name."""

    feed: str
    products: int
    counts: dict[Kind, int]
    first: dict[Kind, tuple[FeedWarning, ...]]
    skipped: tuple[Skipped, ...]
    unlisted: int

    @property
    def total(self) -> int:
        """Number of rows that were left out, and of faults of the others."""
        return len(self.skipped) + self.unlisted + sum(self.counts.values())


def feed_problems(workspace: Path) -> FeedProblems | None:
    """Return what was wrong with the newest feed, None where no feed was ingested yet."""
    try:
        return read_json(inside(workspace, _FEED_REPORT), FeedProblems)
    except (FileNotFoundError, WorkspaceError):
        return None


@router.get("/catalog")
async def catalog(request: Request) -> Response:
    """Show products, all or those that need a person; htmx asks for the list alone."""
    service: Service = request.app.state.service
    visitor = await visitor_of(request)
    asked = request.query_params
    show: store.Show = next((one for one in store.SHOWS if one == asked.get("show")), "all")
    search, after = text_of(asked, "search", most=200), text_of(asked, "after", most=200)
    found = await asyncio.to_thread(store.products, service.engine, search=search, show=show, after=after)
    problems = await asyncio.to_thread(feed_problems, service.workspace)
    if asked.get("show") == "feed":
        found = []
    is_part = request.headers.get("hx-request") == "true"
    totals = {} if is_part else await asyncio.to_thread(store.totals, service.engine)
    return page(
        request, "products.html.j2" if is_part else "catalog.html.j2", visitor=visitor, products=found,
        show="feed" if asked.get("show") == "feed" else show, problems=problems, most=_ROWS,
        search=search, totals=totals, labels=LABELS, is_first=not after,
        following=found[-1].product_id if len(found) == store.PAGE else None,
    )  # fmt: skip


@router.get("/page/picture")
async def picture(request: Request) -> Response:
    """Send a picture to somebody who is signed in: ?creative=, ?cutout= (a product's) or ?photo= (a product's)."""
    service: Service = request.app.state.service
    await visitor_of(request)
    asked = request.query_params
    product_id = asked.get("photo") or asked.get("cutout")
    name = await asyncio.to_thread(
        store.picture, service.engine, creative_id=asked.get("creative"), product_id=product_id, photo="photo" in asked
    )
    try:
        path = None if name is None else inside(service.workspace, name)
    except WorkspaceError:
        path = None
    if path is None or not path.is_file():
        raise TurnedAwayError(404, "There is no such picture.")
    return FileResponse(path, headers={"cache-control": "private, no-cache"})
