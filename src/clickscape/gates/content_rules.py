"""The content rules gate: words that a description may not contain, by the ad platforms' rules or the user's.

The platforms' rules are data, `content_rules.toml`: they change, so each names the public page that it follows and when
that page was read. A word list does not replace a reviewer: it knows neither images nor irony.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import resources

from clickscape.errors import ConfigError
from clickscape.gates.wording import find_phrase
from clickscape.types import Product

ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of content that platforms forbid: its phrases by language, the page that says so, when it was read."""

    name: str
    reason: str
    source: str
    checked: date
    phrases: Mapping[str, tuple[str, ...]]
    minors_only: bool = False

    def __post_init__(self) -> None:
        if not (self.reason.strip() and self.source.strip() and self.phrases.get(ENGLISH)):
            raise ValueError(f"content rule {self.name!r}: needs a reason, a source and English phrases")


@dataclass(frozen=True, slots=True)
class Breach:
    """A forbidden phrase in a description; `source` and `checked` are empty where the rule is the user's own."""

    rule: str
    phrase: str
    reason: str
    source: str = ""
    checked: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: says {self.phrase!r} ({self.reason})"


def check(
    description: str,
    *,
    language: str = ENGLISH,
    minors: bool = False,
    avoid: Sequence[str] = (),
    competitors: Sequence[str] = (),
    allow: Collection[str] = (),
) -> tuple[Breach, ...]:
    """Return every rule that the description breaks, with the first phrase that breaks it; empty: it may be rendered.

    `minors`: the product or the audience is one of minors; `avoid` and `competitors` are the user's own words;
    `allow` names platform rules that do not hold. ConfigError for a name that is none.
    """
    known = [rule.name for rule in load()]
    if unknown := sorted(set(allow) - set(known)):
        raise ConfigError(f"[brand] allow: no content rule {unknown[0]!r}; expected some of: {', '.join(known)}")
    found = [
        Breach(rule.name, phrase, rule.reason, rule.source, rule.checked.isoformat())
        for rule in load()
        if rule.name not in allow
        and (minors or not rule.minors_only)
        and (phrase := find_phrase(description, _phrases(rule.phrases, language)))
    ]
    if phrase := find_phrase(description, competitors):
        found.append(Breach("competitors", phrase, "a trademark of somebody else, by your own list"))
    if phrase := find_phrase(description, avoid):
        found.append(Breach("avoid", phrase, "a word to avoid, by your own list"))
    return tuple(found)


def concerns_minors(product: Product, *, language: str = ENGLISH) -> bool:
    """Return whether the product's words in the catalog name minors."""
    text = " / ".join([product.title, *product.category, *product.tags, *product.attributes.values()])
    return find_phrase(text, _phrases(_data()[0], language)) is not None


def load() -> tuple[Rule, ...]:
    """Every rule, in the order of the data file."""
    return _data()[1]


def _phrases(by_language: Mapping[str, tuple[str, ...]], language: str) -> tuple[str, ...]:
    local = by_language.get(language, ()) if language != ENGLISH else ()
    return (*by_language[ENGLISH], *local)


@lru_cache(maxsize=1)
def _data() -> tuple[Mapping[str, tuple[str, ...]], tuple[Rule, ...]]:
    text = resources.files("clickscape.gates").joinpath("content_rules.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return _tuples(data["minors"]), tuple(Rule(**{**one, "phrases": _tuples(one["phrases"])}) for one in data["rule"])


def _tuples(lists: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {language: tuple(phrases) for language, phrases in lists.items()}
