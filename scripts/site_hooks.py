"""Hooks of the documentation site: a link that leaves docs/ (to the source) becomes plain text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)[^)]*\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Return the page with links to files outside of docs/ replaced by their text."""
    docs = Path(config["docs_dir"]).resolve()
    folder = (docs / page.file.src_uri).parent

    def plain(link: re.Match[str]) -> str:
        target = (folder / link.group(2)).resolve()
        return link.group(0) if target.is_relative_to(docs) and not target.is_dir() else link.group(1)

    return _LINK.sub(plain, markdown)


def on_post_page(output: str, **_: Any) -> str:
    """Return the page without the theme's script from another server: the site loads nothing from elsewhere."""
    return re.sub(r'<script src="?https?://[^>]*></script>', "", output)
