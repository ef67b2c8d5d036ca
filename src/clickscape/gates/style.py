"""Apply a brand's rules to descriptions: find what breaks them, which are met, and edit a description to meet them.

A small model was never taught to follow rules, so they choose among what it writes, and a description may be edited.
Where the renderer draws scenes, what is shown counts as much as what is said: "marble" in the list of words to avoid
also keeps away the marble that stands in where a description names no surface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clickscape.config.brand import Rules
from clickscape.errors import ConfigError
from clickscape.gates import content_rules
from clickscape.gates.content_rules import Breach
from clickscape.gates.wording import find_phrase
from clickscape.render.language import lexicon
from clickscape.render.language.parse import parse
from clickscape.render.language.reword import meaning, reword
from clickscape.render.language.seasons import SEASONS, in_season
from clickscape.render.scene import Scene

Meaning = tuple[str, str]
"""A slot of the studio's scenes and a value of it."""


@dataclass(frozen=True, slots=True)
class Style:
    """A brand's rules as a renderer reads them: by scenes, or, where it draws none, by the words alone.

    `wanted`: slot → phrases, any of which will do, of `use`; `unread`: words to use that are no phrase of a scene;
    `unwanted`: what the words to avoid mean.
    """

    rules: Rules
    reads_scenes: bool
    wanted: Mapping[str, tuple[str, ...]]
    unread: tuple[str, ...]
    unwanted: Mapping[Meaning, str]

    @classmethod
    def of(cls, rules: Rules, *, reads_scenes: bool = True) -> Style:
        """Read the rules; ConfigError for a color that scenes lack, and for what is both wanted and forbidden.

        reads_scenes: whether the renderer is a `SceneRenderer`.
        """
        content_rules.check("", allow=rules.allow)  # a wrong name is an error before anything is written
        named = {phrase: meaning(phrase) if reads_scenes else None for phrase in (*rules.use, *rules.avoid)}
        wanted: dict[str, list[str]] = {}
        for phrase in rules.use:
            if (found := named[phrase]) is not None:
                wanted.setdefault(found[0], []).append(phrase)
        for color in rules.palette if reads_scenes else ():
            if (meaning(color) or ("",))[0] != "palette":
                known = ", ".join(lexicon.PHRASES["palette"])
                raise ConfigError(f"[brand] palette: {color!r} is no color that the studio knows; it has: {known}")
        for phrase in (*rules.use, *rules.palette):
            if broken := _judged(phrase, rules, minors=False):
                raise ConfigError(f"[brand] asks for {phrase!r} and forbids it ({broken[0]}). Take it out of one list.")
        return cls(
            rules,
            reads_scenes,
            {slot: tuple(phrases) for slot, phrases in wanted.items()},
            tuple(phrase for phrase in rules.use if named[phrase] is None),
            {found: phrase for phrase in rules.avoid if (found := named[phrase])},
        )

    def breaches(self, text: str, *, minors: bool = False) -> tuple[Breach, ...]:
        """Return the platform rules and brand bans that a description's words break."""
        return _judged(text, self.rules, minors=minors)

    def shown_breaches(self, scene: Scene | None) -> tuple[Breach, ...]:
        """What a scene shows that the words to avoid mean, whether the description says it or not; None: no scene."""
        return tuple(
            Breach("avoid", phrase, f"shown as {slot} {value!r}, by your own list of words to avoid")
            for slot, value in (() if scene is None else _shown(scene))
            if (phrase := self.unwanted.get((slot, value)))
        )

    def met(self, text: str, scene: Scene | None) -> dict[str, bool]:
        """Return rule → whether the image meets it, for each of `use`, `palette` and `season` that is set.

        scene: what was drawn of the text; None where the renderer draws no scenes.
        """
        found = {}
        shown = set() if scene is None else set(_shown(scene))
        rules = self.rules
        if rules.use:
            named = all(any(meaning(phrase) in shown for phrase in some) for some in self.wanted.values())
            found["use"] = named and all(find_phrase(text, [phrase]) for phrase in self.unread)
        if rules.palette:
            found["palette"] = bool(find_phrase(text, rules.palette)) if scene is None else self._has_color(scene)
        if rules.season:
            found["season"] = (
                bool(find_phrase(text, [rules.season])) if scene is None else in_season(scene, rules.season)
            )
        return found

    def edited(self, text: str, *, rng: np.random.Generator) -> str:
        """The description with what is asked for and not said put in, as far as the renderer's words can say it.

        In a scene, a wall gets its color only where there is a wall, and a season its props; settings stay what the
        model chose. Without scenes the words are added at the end.
        """
        rules = self.rules
        if not (rules.edit and rules.asks):
            return text
        if not self.reads_scenes:
            asked = [*rules.use]
            if rules.palette and not find_phrase(text, rules.palette):
                asked.append(f"{rules.palette[int(rng.integers(len(rules.palette)))]} wall")
            asked += [rules.season] if rules.season else []
            return ", ".join([text.rstrip(" ,."), *(phrase for phrase in asked if not find_phrase(text, [phrase]))])
        if rules.season and not in_season(parse(text).scene, rules.season):
            text = _put(text, self._props(rules.season), rng)
        if rules.palette and not self._has_color(parse(text).scene):
            text = _put(text, rules.palette, rng)
        for slot, phrases in self.wanted.items():
            shown = _shown(parse(text).scene)
            if not any((slot, value) in shown for value in _values(phrases)):
                text = _put(text, phrases, rng)
        return text

    def _has_color(self, scene: Scene) -> bool:
        return scene.palette in _values(self.rules.palette)

    def _props(self, season: str) -> list[str]:
        """The plainest names of a season's props, without those that the brand avoids."""
        names = {prop: lexicon.PHRASES["prop"][prop][0] for prop in SEASONS[season]["prop"]}
        return [name for prop, name in names.items() if ("prop", prop) not in self.unwanted and not self.breaches(name)]


def _values(phrases: tuple[str, ...]) -> set[str]:
    return {named[1] for phrase in phrases if (named := meaning(phrase))}


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


def _shown(scene: Scene) -> list[Meaning]:
    """Every slot with its value, each prop, and "none" for no prop."""
    slots = [(slot, value) for slot, value in scene.slots.items() if slot != "prop" and value is not None]
    return [*slots, *(("prop", prop) for prop in scene.props or ("none",))]
