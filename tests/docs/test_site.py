"""The documentation site: it builds without a warning, loads nothing from elsewhere, and its diagrams fit a phone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PHONE = 358
"""Pixels of text on a screen of 390."""
LOADED = (
    r"""<(?:script|img|iframe|source|video)\b[^>]*\ssrc=["']?(?:https?:)?//[^"'\s>]+""",
    r"""<link\b(?=[^>]*rel=["']?(?:stylesheet|preload|preconnect|icon))[^>]*href=["']?(?:https?:)?//[^"'\s>]+""",
    r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^"')]+""",
    r"""["'`]https?://[^"'`]+\.(?:js|css|woff2?)\b""",
)
"""What a browser fetches when it opens a page: in HTML, in CSS, and in scripts that add more of either."""
CDN = r"""https?://(?:unpkg\.com|cdn\.|cdnjs\.|fonts\.)[^"'\s]*"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `mkdocs build` makes it; any warning of mkdocs ends the build."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("reference"))
    build(
        load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(folder / "docs"), site_dir=str(folder / "site"), strict=True)
    )
    return folder / "site"


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_another_server(site: Path) -> None:
    assert "Product-centric preference optimization" in (site / "concepts" / "pcpo.html").read_text(encoding="utf-8")
    assert "learning_rate" in (site / "reference" / "settings.html").read_text(encoding="utf-8")
    files = [path for path in site.rglob("*") if path.suffix in {".html", ".css", ".js"} and "lunr" not in path.parts]
    assert len(files) > 50
    for path in files:
        text = path.read_text(encoding="utf-8")
        patterns = LOADED if path.suffix == ".html" else (*LOADED, CDN)
        found = [hit.group() for pattern in patterns for hit in re.finditer(pattern, text)]
        assert not found, f"{path.relative_to(site)}: {found[:3]}"


def test_a_page_is_called_in_the_menu_what_its_heading_says() -> None:
    menu = load_config(str(ROOT / "mkdocs.yml"))["nav"]
    entries = [item for part in menu for pages in part.values() if isinstance(pages, list) for item in pages]
    named = [next(iter(item.items())) for item in entries if isinstance(item, dict)]
    written = [(title, DOCS / page) for title, page in named if not page.startswith("reference/")]
    assert len(written) > 20
    for title, page in written:
        assert page.read_text(encoding="utf-8").startswith(f"# {title}\n"), page.name


def test_the_design_page_names_files_and_functions_that_exist() -> None:
    places = re.findall(r"`([\w/]+\.py)(?::(\w+))?`", (DOCS / "design.md").read_text(encoding="utf-8"))
    assert len(places) > 30
    for file, name in places:
        path = ROOT / "src" / "clickscape" / file
        path = path if path.exists() else ROOT / file
        assert re.search(rf"^(?:def|class) {name}\b|^{name}\b", path.read_text(encoding="utf-8"), re.M) or not name, (
            file
        )


def test_diagrams_are_no_wider_than_a_phone() -> None:
    drawn = 0
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for width in re.findall(r'<svg viewBox="0 0 (\d+) ', text):
            drawn += 1
            assert int(width) <= PHONE, page.name
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.M | re.S):
            lines = block.splitlines()
            if "→" in block and not language and not lines[0].startswith("clickscape"):
                assert max(map(len, lines)) <= PHONE / 8, f"{page.name}: {lines[0]}"
    assert drawn
    assert "min-width: 30" not in (DOCS / "stylesheets" / "extra.css").read_text(encoding="utf-8")
