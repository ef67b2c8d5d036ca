"""The part of a page that a benchmark writes: between two comments, so that people's words around it stay."""

from __future__ import annotations

from pathlib import Path

_END = "<!-- end -->"


def write_part(page: Path, text: str, *, by: str) -> None:
    """Replace what benchmarks/<by>.py wrote into the page before; at its end where it has written nothing yet.

    SystemExit for a page on which the closing comment is missing: nobody's words are to be lost.
    """
    begin = f"<!-- written by benchmarks/{by}.py -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    if found and _END not in rest:
        raise SystemExit(f"{page}: no {_END!r} after {begin!r}. Put it back where the tables end.")
    after = rest.partition(_END)[2] or "\n"
    page.write_text(f"{before}{begin}\n\n{text.rstrip()}\n\n{_END}{after}", encoding="utf-8")
