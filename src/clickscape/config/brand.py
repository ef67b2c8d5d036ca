"""What a brand asks of the descriptions of its ads: `[brand]` in clickscape.toml, or the same section in a file.

Rules may differ by audience and placement. What an audience or a placement says takes the place of what the brand says,
except for what is forbidden: words to avoid and trademarks add up, so that no exception loosens a ban by accident.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from clickscape.errors import ConfigError

MAX_WORDS, MAX_LETTERS = 50, 60
Season = Literal["", "spring", "summer", "autumn", "winter", "christmas"]


def _phrase(text: str) -> str:
    if not text.isprintable() or not any(letter.isalnum() for letter in text):
        raise ValueError(f"a word or a short phrase is expected, got {text!r}")
    return " ".join(text.split())


Phrase = Annotated[str, Field(max_length=MAX_LETTERS), AfterValidator(_phrase)]
Phrases = Annotated[tuple[Phrase, ...], Field(max_length=MAX_WORDS)]


class Rules(BaseModel):
    """What is asked of one ad; empty values ask nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    use: Phrases = Field((), description="words to use: phrases for one thing (marble, oak) are alternatives")
    avoid: Phrases = Field((), description="words to avoid, and what they name must not be shown either")
    competitors: Phrases = Field((), description="trademarks of others, never to be named")
    palette: Phrases = Field((), description="colors of the wall, any of which will do")
    season: Season = Field("", description="what the ads are for: spring, summer, autumn, winter or christmas")
    language: str = Field("en", pattern=r"^[a-z]{2,3}$", description="language of the descriptions, ISO 639")
    minors: bool = Field(False, description="the audience is one of minors: no alcohol in the background")
    allow: tuple[str, ...] = Field((), description="rules of gates/content_rules.toml that do not hold for this brand")
    edit: bool = Field(True, description="put in what is asked for where the model did not write it; always noted")

    @property
    def asks(self) -> bool:
        """Whether there is something to choose descriptions by, beside what is forbidden."""
        return bool(self.use or self.palette or self.season)


class Brand(Rules):
    """The rules of a brand, and what differs by audience and placement."""

    audience: dict[str, Rules] = Field({}, description="by name, as [brand.audience.teens]")
    placement: dict[str, Rules] = Field({}, description="by name, as [brand.placement.story]")

    def rules(self, *, audience: str = "", placement: str = "", learned: Collection[str] = ()) -> Rules:
        """The rules that hold for an audience and a placement, "" for none; the placement has the last word.

        learned: audiences that are known without rules of their own. ConfigError for another name without a section,
        and for rules that contradict each other.
        """
        merged = Rules(**self.model_dump(include=set(Rules.model_fields)))
        for kind, name, named in (("audience", audience, self.audience), ("placement", placement, self.placement)):
            if not name or (kind == "audience" and name in learned and name not in named):
                continue
            if name not in named:
                there = ", ".join(named) or "none"
                also = (
                    f" The reward model knows: {', '.join(sorted(learned))}." if kind == "audience" and learned else ""
                )
                raise ConfigError(f"no [brand.{kind}.{name}] in the brand's rules; there is: {there}.{also} Add the "
                                  f"section.")  # fmt: skip
            merged = _over(merged, named[name])
        return merged


class BrandFile(BaseModel):
    """A file of its own that holds the section `[brand]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    brand: Brand


def _over(base: Rules, special: Rules) -> Rules:
    """The base with everything that the special rules say; bans add up."""
    said = special.model_dump(exclude_unset=True)
    bans = {
        key: tuple(dict.fromkeys((*getattr(base, key), *getattr(special, key)))) for key in ("avoid", "competitors")
    }
    return Rules(**{**base.model_dump(), **said, **bans, "minors": base.minors or special.minors})
