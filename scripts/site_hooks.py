"""Hooks of the documentation site.

The reference is written from the code, links to files outside of docs/ become plain text, and no other server is named.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

_FOREIGN = re.compile(r'"https://unpkg\.com/[^"]*"')  # polyfills of old browsers, and diagrams in Mermaid
_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)[^)]*\)")


def on_pre_build(*, config: Any, **_: Any) -> None:
    """Write docs/reference/ from the code; pages that did not change stay untouched, so that `serve` comes to rest."""
    spec = importlib.util.spec_from_file_location("build_reference", Path(__file__).with_name("build_reference.py"))
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    with tempfile.TemporaryDirectory() as folder:
        reference.write(Path(folder))
        target = Path(config["docs_dir"]) / "reference"
        target.mkdir(exist_ok=True)
        for made in Path(folder).iterdir():
            page = target / made.name
            if not page.exists() or page.read_bytes() != made.read_bytes():
                page.write_bytes(made.read_bytes())


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
