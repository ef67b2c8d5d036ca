"""A brand's rules applied to a description: what breaks them, how well it meets them, and how it is brought to.

A small model was never taught to follow rules, so they choose among what it writes. For what the studio's lexicon
knows, a description may be edited; what is shown counts as much as what is said, so "marble" in the list of words to
avoid also keeps away the marble that stands in where a description names no surface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clickscape.brand import Rules
from clickscape.errors import ConfigError
from clickscape.gates import content_rules
from clickscape.gates.content_rules import Breach
from clickscape.gates.wording import said
from clickscape.render.language import lexicon
from clickscape.render.language.parse import parse, spans
from clickscape.render.language.reword import meaning, reword
from clickscape.render.language.seasons import SEASONS, in_season
from clickscape.render.scene import Scene

Meaning = tuple[str, str]
"""A slot of the studio's scenes and a value of it."""


@dataclass(frozen=True, slots=True)
class Style:
    """A brand's rules, read with the studio's lexicon.

    `wanted`: slot → phrases, any of which will do, of `use`; `unread`: words to use that the lexicon does not know;
    `unwanted`: what the words to avoid mean.
    """

    rules: Rules
    wanted: Mapping[str, tuple[str, ...]]
    unread: tuple[str, ...]
    unwanted: Mapping[Meaning, str]

    @classmethod
    def of(cls, rules: Rules) -> Style:
        """Read the rules; ConfigError for a color that the studio lacks, and for what is both wanted and forbidden."""
        content_rules.check("", allow=rules.allow)  # a wrong name is told before anything is written
        wanted: dict[str, list[str]] = {}
        unread = []
        for phrase in rules.use:
            named = meaning(phrase)
            if named is None:
                unread.append(phrase)
            else:
                wanted.setdefault(named[0], []).append(phrase)
        for color in rules.palette:
            if (meaning(color) or ("",))[0] != "palette":
                known = ", ".join(lexicon.PHRASES["palette"])
                raise ConfigError(f"[brand] palette: {color!r} is no color that the studio knows; it has: {known}")
        for phrase in (*rules.use, *rules.palette):
            if found := _judged(phrase, rules, minors=False):
                raise ConfigError(f"[brand] asks for {phrase!r} and forbids it ({found[0]}). Take it out of one list.")
        unwanted = {named: phrase for phrase in rules.avoid if (named := meaning(phrase))}
        return cls(rules, {slot: tuple(phrases) for slot, phrases in wanted.items()}, tuple(unread), unwanted)

    def breaches(self, text: str, *, minors: bool = False) -> tuple[Breach, ...]:
        """What the words of a description break of the platforms' rules and of the brand's bans."""
        return _judged(text, self.rules, minors=minors)

    def shown_breaches(self, text: str, scene: Scene | None) -> tuple[Breach, ...]:
        """What is shown that the words to avoid mean, whether the description says it or not; None: no scene."""
        return tuple(
            Breach("avoid", phrase, f"shown as {slot} {value!r}, by your own list of words to avoid")
            for slot, value in _shown(text, scene)
            if (phrase := self.unwanted.get((slot, value)))
        )

    def met(self, text: str, scene: Scene | None) -> dict[str, bool]:
        """Rule → whether what is drawn meets it, for each of `use`, `palette` and `season` that asks."""
        found = {}
        shown = set(_shown(text, scene))
        scene = scene or parse(text).scene
        if self.rules.use:
            named = all(any(meaning(phrase) in shown for phrase in some) for some in self.wanted.values())
            found["use"] = named and all(said(text, [phrase]) for phrase in self.unread)
        if self.rules.palette:
            found["palette"] = scene.palette in self._values(self.rules.palette)
        if self.rules.season:
            found["season"] = in_season(scene, self.rules.season)
        return found

    def edited(self, text: str, *, rng: np.random.Generator) -> str:
        """The description with what is asked for and not said put in, where the studio's lexicon can say it.

        A wall gets its color only where there is a wall, and a season its props; settings stay what the model chose.
        """
        if not (self.rules.edit and self.rules.asks):
            return text
        if self.rules.season and not in_season(parse(text).scene, self.rules.season):
            text = _put(text, self._props(self.rules.season), rng)
        if self.rules.palette and parse(text).scene.palette not in self._values(self.rules.palette):
            text = _put(text, self.rules.palette, rng)
        for slot, phrases in self.wanted.items():
            shown = _shown(text, parse(text).scene)
            if not any((slot, value) in shown for value in self._values(phrases)):
                text = _put(text, phrases, rng)
        return text

    def _values(self, phrases: tuple[str, ...]) -> set[str]:
        return {named[1] for phrase in phrases if (named := meaning(phrase))}

    def _props(self, season: str) -> list[str]:
        """The plainest names of a season's props, without those that the brand avoids."""
        names = {prop: lexicon.PHRASES["prop"][prop][0] for prop in SEASONS[season]["prop"]}
        return [name for prop, name in names.items() if ("prop", prop) not in self.unwanted and not self.breaches(name)]


def _put(text: str, phrases: tuple[str, ...] | list[str], rng: np.random.Generator) -> str:
    """The text with one of the phrases put in; as it was when there is none to choose from."""
    return reword(text, phrases[int(rng.integers(len(phrases)))]) if phrases else text


def _judged(text: str, rules: Rules, *, minors: bool) -> tuple[Breach, ...]:
    return content_rules.check(
        text,
        language=rules.language,
        minors=minors or rules.minors,
        avoid=rules.avoid,
        competitors=rules.competitors,
        allow=rules.allow,
    )


def _shown(text: str, scene: Scene | None) -> list[Meaning]:
    """Every slot with its value, each prop, and "none" for no prop; without a scene, what the words name."""
    if scene is None:
        return [(span.slot, span.value) for span in spans(text)]
    slots = [(slot, value) for slot, value in scene.slots.items() if slot != "prop" and value is not None]
    return [*slots, *(("prop", prop) for prop in scene.props or ("none",))]
