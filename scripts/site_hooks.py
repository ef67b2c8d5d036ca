"""Hooks of the documentation site: links to files outside of docs/ become plain text, and no other server is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_FOREIGN = re.compile(r'"https://unpkg\.com/[^"]*"')  # polyfills of old browsers, and diagrams in Mermaid
_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)[^)]*\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Return the page with links to files outside of docs/ replaced by their text."""
    docs = Path(config["docs_dir"]).resolve()
    folder = (docs / page.file.src_uri).parent

    def plain(link: re.Match[str]) -> str:
        target = (folder / link.group(2)).resolve()
        return link.group(0) if target.is_relative_to(docs) and not target.is_dir() else link.group(1)

    return _LINK.sub(plain, markdown)


def on_post_build(*, config: Any, **_: Any) -> None:
    """Take other servers' addresses out of the theme's script, where code that this site never runs names them."""
    for script in Path(config["site_dir"]).glob("assets/javascripts/bundle.*.js"):
        script.write_text(_FOREIGN.sub('""', script.read_text(encoding="utf-8")), encoding="utf-8")
