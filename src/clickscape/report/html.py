"""One self-contained page from one `Report`: values in, text out; the caller writes the file.

The page runs no script, loads nothing and links nowhere outside itself: a Content-Security-Policy allows the style
sheet by its hash, data: pictures, and nothing else. Jinja escapes every text; no text of a product ever becomes a link.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from clickscape.report import views, words
from clickscape.report.pictures import data_uri
from clickscape.report.records import Report

_FOLDER = Path(__file__).parent
AD_SIDE, CUTOUT_SIDE = 480, 160
"""Pixels: a gallery image is at most 330 wide on a phone and 280 on a desk, sharp enough on a dense screen."""


def render(report: Report, *, workspace: Path = Path()) -> str:
    """The page, with the pictures of `workspace` embedded. WorkspaceError for a picture that cannot be read."""
    items = report.gallery.items if report.gallery else ()
    ads = [path for item in items for path in (item.before.image, item.after.image)]
    ads += [one.ad.image for one in report.next_steps.advice] if report.next_steps else []
    cutouts = [item.cutout for item in items]
    pictures = {path: data_uri(path, folder=workspace, side=AD_SIDE) for path in ads}
    pictures |= {path: data_uri(path, folder=workspace, side=CUTOUT_SIDE) for path in cutouts}
    return compose(report, pictures=pictures)


def compose(report: Report, *, pictures: Mapping[str, str]) -> str:
    """The page from values alone; `pictures` maps each path of a picture to a data: URI."""
    if strange := [path for path, uri in pictures.items() if not uri.startswith("data:image/")]:
        raise ValueError(f"a report embeds its pictures as data:image/ URIs; {strange[0]!r} is none")
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return _template().render(
        report=report,
        pictures=pictures,
        style=Markup(style),  # noqa: S704  (our own file)
        style_hash=digest,
        headline=words.headline(report),
        key_figures=words.key_figures(report),
        accuracy=views.accuracy_chart(report.accuracy) if report.accuracy else None,
        comparison_charts=views.comparison_charts(report.comparison) if report.comparison else [],
        table=views.comparison_table(report.comparison) if report.comparison else None,
        panels=views.learning_panels(report.learning),
        positions=views.position_chart(report.clicks) if report.clicks and report.clicks.positions else None,
        facts=views.click_facts(report.clicks) if report.clicks else [],
        timing=views.timing_rows(report.timing),
        total=views.timing_total(report.timing),
        provenance=views.provenance_tables(report.provenance),
        words=words,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html.j2")
