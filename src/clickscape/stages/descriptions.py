"""What `generate` draws: descriptions that were sampled, brought to the brand's rules, judged, and are no duplicates.

What platforms or the brand forbid is refused with its reason, and another description is sampled in its place, a
bounded number of times. Among what may be drawn, the rules come first and the reward breaks ties. A product is written
for together with its neighbors in the catalog and never with what happens to be left, so a killed run that goes on
writes what it would have written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clickscape.config import GenerateConfig
from clickscape.errors import ConfigError
from clickscape.gates import content_rules
from clickscape.gates.content_rules import Breach
from clickscape.gates.relevance import Relevance
from clickscape.gates.style import Style
from clickscape.gates.wording import words
from clickscape.preference import sample
from clickscape.preference.sample import Candidate
from clickscape.render.renderer import Renderer
from clickscape.render.studio.scene import Scene
from clickscape.reward.model import RewardModel
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.prompts import wishes
from clickscape.vlm.server import ServerWriter
from clickscape.workspace import fingerprint

PREVIEW = 128
"""Pixels of the square images that the reward model compares; the same that it learned from."""

FOLLOWS_RULES = 100_000_000
"""Weights from which on a model reads the brand's rules in its instruction; `tiny` was never taught to."""

CHUNK = 8


@dataclass(frozen=True, slots=True)
class Chosen:
    """A candidate to draw, the words that the model wrote, and each rule of the brand with whether it is met."""

    candidate: Candidate
    written: str
    met: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Refused:
    """A description that is not drawn: which rule, by which words, and why; the page that says so, where one does."""

    product_id: str
    description: str
    rule: str
    phrase: str
    reason: str
    source: str = ""
    checked: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is drawn for a product, best first, and what was refused on the way."""

    product: Product
    chosen: tuple[Chosen, ...]
    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True)
class CandidateSelector:
    """What descriptions are written and judged with.

    `reward` is None where no model learned from clicks, `relevance` where the settings ask for no such gate.
    """

    writer: Writer | ServerWriter
    renderer: Renderer
    reward: RewardModel | None
    config: GenerateConfig
    style: Style
    relevance: Relevance | None = None

    def __post_init__(self) -> None:
        language = self.style.rules.language
        if language == content_rules.ENGLISH:
            return
        if self.renderer.name == "studio":
            raise ConfigError(
                f"[brand] language {language!r}: the studio reads English only. Leave it out, or use --renderer "
                "diffusion with a prompt model that writes that language."
            )
        if not self.follows_rules:
            raise ConfigError(
                f"[brand] language {language!r}: the prompt model {self.writer.model_id} was taught English only. "
                "Leave it out, or put a larger image-text-to-text model into models/prompt."
            )

    @property
    def follows_rules(self) -> bool:
        """Whether the prompt model is large enough to be told the brand's rules in words; behind a server all are."""
        return isinstance(self.writer, ServerWriter) or self.writer.vlm.parameters >= FOLLOWS_RULES


def choose(
    selector: CandidateSelector, products: Sequence[Product], *, drawn: Counter[str], wanted: frozenset[str]
) -> Iterator[Choice]:
    """What is to be drawn for each of the products whose id is `wanted`, in the catalog's order.

    `drawn` counts the creatives of the catalog by scene; whoever draws adds to it before asking for the next product.
    """
    for start in range(0, len(products), CHUNK):
        some = products[start : start + CHUNK]
        if not any(product.product_id in wanted for product in some):
            continue
        texts = _written(selector, some, seed=selector.config.seed)
        for product, own in zip(some, texts, strict=True):
            if product.product_id in wanted:
                yield _Search(selector, product, drawn).run(own)


def scene_of(scene: str, description: str) -> str:
    """What two pictures have in common that show the same: the scene, or the words where the renderer has none."""
    return scene or description


class _Search:
    """The choice for one product: candidates gathered round by round until enough of them meet every rule."""

    def __init__(self, selector: CandidateSelector, product: Product, drawn: Counter[str]) -> None:
        self.selector, self.product, self.drawn = selector, product, drawn
        number = int(fingerprint(product.product_id)[:8], 16)
        self.rng = np.random.default_rng([selector.config.seed, number])
        self.editing = np.random.default_rng([selector.config.seed, number, 1])
        self.seeds = [
            int(seed) for seed in np.random.default_rng([selector.config.seed, number, 2]).integers(2**31, size=20)
        ]
        self.minors = content_rules.concerns_minors(product, language=selector.style.rules.language)
        self.pool: list[Chosen] = []
        self.refused: dict[str, Refused] = {}

    def run(self, texts: Sequence[str]) -> Choice:
        """Judge the first texts, and write again while too few meet the rules, at most `rewrites` times."""
        config = self.selector.config
        self._gather(texts)
        chosen, passed_over = self._best()
        for seed in self.seeds[: config.rewrites]:
            if len(chosen) == config.keep and all(all(one.met.values()) for one in chosen):
                break
            self._gather(_written(self.selector, [self.product], seed=seed)[0])
            chosen, passed_over = self._best()
        return Choice(self.product, tuple(chosen), (*self.refused.values(), *passed_over))

    def _gather(self, texts: Sequence[str]) -> None:
        """Refuse what may not be said, edit, draw and judge the rest, and refuse what may not be shown."""
        style, asked = self.selector.style, []
        for written in texts:
            if self._refuse(written, style.breaches(written, minors=self.minors)):
                continue
            text = style.edited(written, rng=self.editing)
            if not self._refuse(text, style.breaches(text, minors=self.minors)):
                asked.append((text, written))
        asked = self._relevant(asked)
        if not asked:
            return
        judged = sample.judge(
            [self.product],
            [[text for text, _ in asked]],
            reward=self.selector.reward or _Indifferent(),
            renderer=self.selector.renderer,
            render_size=PREVIEW,
            rng=self.rng,
        )[0]
        for candidate, (text, written) in zip(judged, asked, strict=True):
            scene = Scene.from_json(candidate.scene) if self.selector.renderer.name == "studio" else None
            if not self._refuse(text, style.shown_breaches(text, scene)):
                self.pool.append(Chosen(candidate, written, style.met(text, scene)))

    def _relevant(self, asked: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those that suit their product; the others are refused before anything is drawn."""
        gate = self.selector.relevance
        if gate is None or not asked:
            return list(asked)
        verdicts = gate.judge([self.product] * len(asked), [text for text, _ in asked])
        for (text, _), verdict in zip(asked, verdicts, strict=True):
            for failure in verdict.failures[:1]:
                self.refused.setdefault(
                    text, Refused(self.product.product_id, text, failure.kind, "", str(failure))
                )  # fmt: skip
        return [one for one, verdict in zip(asked, verdicts, strict=True) if verdict.passed]

    def _refuse(self, text: str, breaches: Sequence[Breach]) -> bool:
        for one in breaches[:1]:
            self.refused.setdefault(
                text,
                Refused(self.product.product_id, text, one.rule, one.phrase, one.reason, one.source, one.checked),
            )
        return bool(breaches)

    def _best(self) -> tuple[list[Chosen], list[Refused]]:
        """The `keep` best of the pool that are no duplicates, and those passed over on the way; earlier ones win."""

        def value(one: Chosen) -> tuple[bool, int, float]:
            return one.candidate.parsed, sum(one.met.values()), one.candidate.score

        chosen: list[Chosen] = []
        passed_over: list[Refused] = []
        for one in sorted(self.pool, key=value, reverse=True):
            if len(chosen) == self.selector.config.keep:
                break
            if reason := self._duplicate(one, chosen):
                passed_over.append(Refused(self.product.product_id, one.candidate.text, "duplicate", "", reason))
            else:
                chosen.append(one)
        return chosen, passed_over

    def _duplicate(self, one: Chosen, chosen: Sequence[Chosen]) -> str:
        """Why a candidate shows nothing new, "" when it does."""
        config, candidate = self.selector.config, one.candidate
        for other in chosen:
            if scene_of(candidate.scene, candidate.text) == scene_of(other.candidate.scene, other.candidate.text):
                return f"shows the scene of {other.candidate.text!r}"
            if overlap(candidate.text, other.candidate.text) > config.max_overlap:
                return f"says nearly what {other.candidate.text!r} says"
        times = self.drawn[scene_of(candidate.scene, candidate.text)]
        if config.max_same_scene and times >= config.max_same_scene:
            return f"shows a scene that {times} creatives of the catalog show already"
        return ""


def overlap(first: str, second: str) -> float:
    """Share of the different words of two descriptions that both of them say, 0 to 1."""
    one, other = set(words(first)), set(words(second))
    return len(one & other) / max(len(one | other), 1)


def _written(selector: CandidateSelector, products: Sequence[Product], *, seed: int) -> list[list[str]]:
    """`per_product` descriptions each, by a model that is told the rules where it can follow them."""
    config, rules = selector.config, selector.style.rules
    asked = wishes(rules) if selector.follows_rules else ""
    return selector.writer.describe_all(
        products, n=config.per_product, seed=seed, temperature=config.temperature, wishes=asked
    )


class _Indifferent:
    """No reward model: every image is as good as the other, and the order of writing stays."""

    def score(self, products: Sequence[Product], images: Sequence[np.ndarray], _scenes: object = None, /) -> np.ndarray:
        """Zero for every image."""
        return np.zeros(min(len(products), len(images)))
