"""Placements: where an advertising image is shown, and what the place asks of the file.

They are data, `placements.toml`: the platforms change them more often than anybody changes code, so every entry says
which public page it follows and when that page was read.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import resources
from typing import Literal, get_args

from clickscape.errors import ConfigError
from clickscape.render.renderer import LARGEST, SMALLEST, Margins

Channel = Literal["any", "google", "meta", "amazon", "shopify"]
Format = Literal["jpeg", "png", "webp"]


@dataclass(frozen=True, slots=True)
class Placement:
    """One place: pixels, margins that its page covers or crops, bytes that a file may have, formats in order of taste.

    `allows_text` is False where text over the picture gets it rejected; `feed_column` names the column of the channel's
    product feed that points at the file, "" for none; `source` is the public page that says so, read on `checked`.
    """

    name: str
    width: int
    height: int
    margins: Margins
    max_bytes: int
    formats: tuple[Format, ...]
    allows_text: bool
    channel: Channel
    feed_column: str
    source: str
    checked: date

    def __post_init__(self) -> None:
        if not all(SMALLEST <= side <= LARGEST for side in self.size):
            raise ValueError(f"{self.name}: each side must have {SMALLEST} to {LARGEST} pixels, got {self.size}")
        if self.max_bytes < 1 or not self.formats or set(self.formats) - set(get_args(Format)):
            raise ValueError(f"{self.name}: needs max_bytes > 0 and formats out of {', '.join(get_args(Format))}")
        if self.channel not in get_args(Channel) or not self.source.strip():
            raise ValueError(f"{self.name}: needs a source and a channel out of {', '.join(get_args(Channel))}")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.width, self.height


@lru_cache(maxsize=1)
def load() -> tuple[Placement, ...]:
    """Every placement, in the order of the data file."""
    text = resources.files("clickscape.render").joinpath("placements.toml").read_text(encoding="utf-8")
    return tuple(
        Placement(
            name=name,
            width=width,
            height=height,
            margins=Margins(*page["margins"]),
            max_bytes=page["max_bytes"],
            formats=tuple(page["formats"]),
            allows_text=page["allows_text"],
            channel=page["channel"],
            feed_column=page.get("feed_column", ""),
            source=page["source"],
            checked=page["checked"],
        )
        for page in tomllib.loads(text)["page"]
        for name, (width, height) in page["sizes"].items()
    )


def find(*patterns: str) -> tuple[Placement, ...]:
    """The placements of these names or globs (`google-display-*`), each once, in the order of the data file.

    ConfigError for a pattern that fits none; it names the nearest ones.
    """
    known = load()
    names = [placement.name for placement in known]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern.lower()) for name in names):
            near = get_close_matches(pattern.lower(), names, n=3, cutoff=0.3) or names[:3]
            raise ConfigError(
                f"no placement fits {pattern!r}; the nearest are {', '.join(near)}. "
                "`clickscape placements` lists all of them."
            )
    return tuple(one for one in known if any(fnmatchcase(one.name, pattern.lower()) for pattern in patterns))
