"""Select the descriptions that are rendered: allowed, by the brand's rules, best by the reward, and no duplicates.

What platforms or the brand forbid is refused with its reason, and another description is sampled in its place, a
bounded number of times. Among what is allowed, what is out of season comes last, the rules come first and the reward
breaks ties; without a reward model three times as many are sampled at a lower temperature, what a photographer would
not put together is replaced (`set_rules`), and what a scene promises by itself (`suitability`) takes the reward's
place, before anything is rendered. A product is written for together with its neighbors in the catalog and
never with what happens to be left, so a killed run that goes on writes what it would have written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from clickscape.catalog.cutout import open_cutout
from clickscape.catalog.departments import with_department
from clickscape.config import GenerateConfig
from clickscape.errors import ConfigError
from clickscape.files import fingerprint
from clickscape.gates import content_rules
from clickscape.gates.content_rules import Breach
from clickscape.gates.season import open_seasons, out_of_season
from clickscape.gates.style import Style
from clickscape.gates.wording import normalized_words
from clickscape.generation import department_fit, own_backdrop
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.sample import Candidate, score_candidates
from clickscape.generation.score import image_seeds
from clickscape.generation.set_rules import Subject, suited
from clickscape.generation.suitability import subject_of, suitability
from clickscape.render.language.parse import parse
from clickscape.render.own_backdrop import PhotoRenderer
from clickscape.render.photo_backdrop import PhotoBackdrop
from clickscape.render.renderer import Renderer, SceneRenderer
from clickscape.render.scene import Scene
from clickscape.render.silhouette import silhouette
from clickscape.render.staging import staging
from clickscape.types import Product
from clickscape.vlm.prompts import brand_instructions
from clickscape.vlm.server import ServerWriter
from clickscape.vlm.shipped import TINY

if TYPE_CHECKING:
    from clickscape.vlm.generate import Writer  # brings models along, which an export does not need

PREVIEW = 128
"""Pixels of the square images that the reward model compares; the same that it learned from."""

FOLLOWS_RULES = 100_000_000
"""Weights from which on a model reads the brand's rules in its instruction; `tiny` was never taught to."""

CHUNK = 8

SAMPLED = 3
"""Descriptions sampled for each one that is scored, where no reward model does it; docs/experiments/bare-catalog.md."""

REPEATED = 0.5
"""Nats that a scene loses for each of up to two creatives of the catalog that show it."""

TEMPERATURE, TEMPERATURE_WITHOUT_REWARD = 0.7, 0.5
"""Of sampling, where the settings say none: a reward model finds the best of many, without one the usual is better."""


@dataclass(frozen=True, slots=True)
class SelectedCandidate:
    """A candidate to render, the words that the model wrote, and each rule of the brand with whether it is met.

    `in_season`: whether it shows no season but those that are open; `promise`: its suitability, 0 with a reward model.
    """

    candidate: Candidate
    written: str
    met: Mapping[str, bool]
    in_season: bool = True
    promise: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A description that is not rendered: which rule, by which words, why, and the page that says so, if any."""

    product_id: str
    description: str
    rule: str
    phrase: str
    reason: str
    source: str = ""
    checked: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """The candidates to render for a product, best first, what draws and what wrote them, and those refused before.

    `spare`: the next best, for those of which no picture passes the fidelity gate.
    """

    product: Product
    chosen: tuple[SelectedCandidate, ...]
    refused: tuple[Refusal, ...]
    renderer: Renderer
    model_id: str
    spare: tuple[SelectedCandidate, ...] = ()


@dataclass(frozen=True, slots=True)
class CandidateSelector:
    """A prompt model, the pipeline that scores its descriptions, the rules by which they are selected, and the date.

    `photographs`: what draws products on the backdrop of their own photo.
    """

    writer: Writer | ServerWriter
    pipeline: AdPipeline
    config: GenerateConfig
    style: Style
    now: datetime
    photographs: PhotoRenderer = field(default_factory=PhotoRenderer)

    def __post_init__(self) -> None:
        language = self.style.rules.language
        if language == content_rules.ENGLISH:
            return
        if isinstance(self.pipeline.renderer, SceneRenderer):
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
        """Whether the prompt model is large enough for rules in its instruction; behind a server all are."""
        return isinstance(self.writer, ServerWriter) or self.writer.vlm.parameters >= FOLLOWS_RULES

    @property
    def draws_scenes(self) -> bool:
        """Whether the renderer draws scenes, of which we know what they show."""
        return isinstance(self.pipeline.renderer, SceneRenderer)

    @property
    def chooses_by_suitability(self) -> bool:
        """Whether scenes are chosen by what they promise, because no reward model scores them."""
        return self.draws_scenes and self.pipeline.reward is None

    def own_backdrop(self, product: Product) -> PhotoBackdrop | None:
        """Return the backdrop of its photo that a product is drawn on, None where it is put into scenes."""
        if not self.draws_scenes or self.config.photographs == "scenes":
            return None
        size = self.config.size
        found = own_backdrop.drawn_on_own_backdrop(product, self.photographs, size=size)
        if found is None or self.config.photographs == "backdrop" or self.pipeline.reward is None:
            return found
        return found if found.photo.is_doubtful else None


def select(
    selector: CandidateSelector, products: Sequence[Product], *, scenes: Counter[str], wanted: frozenset[str]
) -> Iterator[Selection]:
    """Yield the selection for each of the products whose id is `wanted`, in the catalog's order.

    `scenes` counts the catalog's creatives by scene (`scene_key`); the caller adds to it what it renders of a selection
    before it asks for the next one. The model does not write for products that are drawn on their own backdrop.
    """
    for start in range(0, len(products), CHUNK):
        some = products[start : start + CHUNK]
        asked = [product for product in some if product.product_id in wanted]
        backdrops = {product.product_id: found for product in asked if (found := selector.own_backdrop(product))}
        texts: Sequence[Sequence[str]] = [()] * len(some)
        if len(backdrops) < len(asked):
            texts = _written(selector, some, seed=selector.config.seed)
        for product, each in zip(some, texts, strict=True):
            if (found := backdrops.get(product.product_id)) is not None:
                yield _on_own_backdrop(selector, product, found, scenes)
            elif product.product_id in wanted:
                yield _ProductSearch(selector, product, scenes).run(each)


def _on_own_backdrop(
    selector: CandidateSelector, product: Product, found: PhotoBackdrop, scenes: Counter[str]
) -> Selection:
    chooser = own_backdrop.for_own_backdrop(selector, selector.photographs)
    search = _ProductSearch(chooser, product, scenes)
    texts = own_backdrop.descriptions(
        found, count=selector.config.per_product, size=selector.config.size, rng=search.rng
    )
    return replace(search.run(texts), model_id=own_backdrop.MODEL_ID)


def scene_key(scene: str, description: str) -> str:
    """Return a key that is equal for two ads with the same scene, or the same words if the renderer has no scenes."""
    return scene or description


class _ProductSearch:
    """The search for one product: candidates are added round by round until enough of them meet every rule."""

    def __init__(self, selector: CandidateSelector, product: Product, scenes: Counter[str]) -> None:
        self.selector, self.product, self.scenes = selector, product, scenes
        number = int(fingerprint(product.product_id)[:8], 16)
        self.rng = np.random.default_rng([selector.config.seed, number])
        self.editing = np.random.default_rng([selector.config.seed, number, 1])
        self.seeds = [
            int(seed) for seed in np.random.default_rng([selector.config.seed, number, 2]).integers(2**31, size=20)
        ]
        self.seasons = open_seasons(product, now=selector.now, asked=selector.style.rules.season)
        self.minors = content_rules.concerns_minors(product, language=selector.style.rules.language)
        self.outline = None
        if selector.chooses_by_suitability:
            self.outline = silhouette(open_cutout(product.image))
        self.pool: list[SelectedCandidate] = []
        self.written_scenes: list[Scene] = []
        self.refused: dict[str, Refusal] = {}

    def run(self, texts: Sequence[str]) -> Selection:
        """Score the first texts, and write again while too few meet the rules, at most `rewrites` times."""
        config = self.selector.config
        self._add(texts)
        ranked, passed_over = self._ranked()
        for seed in self.seeds[: config.rewrites]:
            if len(ranked) >= config.keep and all(all(one.met.values()) for one in ranked[: config.keep]):
                break
            self._add(_written(self.selector, [self.product], seed=seed)[0])
            ranked, passed_over = self._ranked()
        return Selection(
            self.product,
            tuple(ranked[: config.keep]),
            (*self.refused.values(), *passed_over),
            renderer=self.selector.pipeline.renderer,
            model_id=self.selector.writer.model_id,
            spare=tuple(ranked[config.keep :]),
        )

    def _add(self, texts: Sequence[str]) -> None:
        """Refuse what may not be said; edit, render and score the rest; refuse what may not be shown."""
        style, asked = self.selector.style, []
        self.written_scenes += [read.scene for text in texts if (read := parse(text)).is_valid]
        for written in texts:
            if self._refuse(written, style.breaches(written, minors=self.minors)):
                continue
            text = style.edited(self._suited(written), rng=self.editing)
            if not self._refuse(text, style.breaches(text, minors=self.minors)):
                asked.append((text, written))
        asked = self._relevant(asked)
        if not asked:
            return
        scored = self._scored([text for text, _ in asked])
        scenes = [Scene.from_json(one.scene) if self.selector.draws_scenes else None for one in scored]
        promises = self._promises([text for text, _ in asked])
        for candidate, scene, (text, written), promise in zip(scored, scenes, asked, promises, strict=True):
            if not self._refuse(text, style.shown_breaches(scene)):
                fits = not out_of_season(text, scene, seasons=self.seasons)
                self.pool.append(SelectedCandidate(candidate, written, style.met(text, scene), fits, promise))

    def _scored(self, texts: Sequence[str]) -> list[Candidate]:
        """The descriptions with their scenes and rewards; without a reward model nothing is rendered for it."""
        reads = [parse(text) for text in texts]
        if self.selector.chooses_by_suitability and not any(read.wish for read in reads):  # a wish asks the product
            return [
                Candidate(self.product.product_id, text, seed, read.scene.to_json(), read.is_valid, 0.0)
                for text, read, seed in zip(texts, reads, image_seeds(len(texts), rng=self.rng), strict=True)
            ]
        return score_candidates(
            [self.product],
            [texts],
            pipeline=replace(self.selector.pipeline, relevance=None),  # asked already, before anything was rendered
            render_size=PREVIEW,
            rng=self.rng,
        )[0]

    def _promises(self, texts: Sequence[str]) -> list[float]:
        """What each description's scene promises, nats; 0 where a reward model will say it."""
        if not self.selector.chooses_by_suitability:
            return [0.0] * len(texts)
        scenes = [parse(text).scene for text in texts]
        return [float(value) for value in suitability(self._subject(), scenes, fit=department_fit.shipped())]

    def _subject(self) -> Subject:
        return subject_of(self.product, self.written_scenes, fit=department_fit.shipped(), outline=self.outline)

    def _suited(self, text: str) -> str:
        """The description as a photographer would have it, where no reward model knows better and edits are allowed."""
        style = self.selector.style
        if not (self.selector.chooses_by_suitability and style.rules.edit and parse(text).is_valid):
            return text
        return suited(text, self._subject(), style=style, rng=self.editing)

    def _relevant(self, asked: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those that suit their product; the others are refused before anything is rendered."""
        gate = self.selector.pipeline.relevance
        if gate is None or not asked:
            return list(asked)
        results = gate.check([self.product] * len(asked), [text for text, _ in asked])
        for (text, _), result in zip(asked, results, strict=True):
            for failure in result.failures[:1]:
                self.refused.setdefault(
                    text, Refusal(self.product.product_id, text, failure.kind, "", str(failure))
                )  # fmt: skip
        return [one for one, result in zip(asked, results, strict=True) if result.passed]

    def _refuse(self, text: str, breaches: Sequence[Breach]) -> bool:
        for one in breaches[:1]:
            self.refused.setdefault(
                text,
                Refusal(self.product.product_id, text, one.rule, one.phrase, one.reason, one.source, one.checked),
            )
        return bool(breaches)

    def _ranked(self) -> tuple[list[SelectedCandidate], list[Refusal]]:
        """The pool without duplicates, best first, and those passed over among the `keep` best; earlier ones win."""

        def value(one: SelectedCandidate) -> tuple[bool, bool, int, float, float]:
            promise = one.promise
            if self.selector.chooses_by_suitability:
                promise -= REPEATED * min(2, self.scenes[scene_key(one.candidate.scene, one.candidate.text)])
            return one.candidate.parsed, one.in_season, sum(one.met.values()), one.candidate.score, promise

        ranked: list[SelectedCandidate] = []
        passed_over: list[Refusal] = []
        for one in sorted(self.pool, key=value, reverse=True):
            if not (reason := self._duplicate(one, ranked)):
                ranked.append(one)
            elif len(ranked) < self.selector.config.keep:
                passed_over.append(Refusal(self.product.product_id, one.candidate.text, "duplicate", "", reason))
        return ranked, passed_over

    def _duplicate(self, one: SelectedCandidate, chosen: Sequence[SelectedCandidate]) -> str:
        """Why a candidate shows nothing new, "" when it does."""
        config, candidate = self.selector.config, one.candidate
        for other in chosen:
            if self._shows(candidate) == self._shows(other.candidate):
                return f"shows the scene of {other.candidate.text!r}"
            if overlap(candidate.text, other.candidate.text) > config.max_overlap:
                return f"says nearly what {other.candidate.text!r} says"
        times = self.scenes[scene_key(candidate.scene, candidate.text)]
        if config.max_same_scene and times >= config.max_same_scene:
            return f"shows a scene that {times} creatives of the catalog show already"
        return ""

    def _shows(self, candidate: Candidate) -> object:
        """What can be seen of its scene: no place nor stand of a product that lies, no stand of one on the floor."""
        if self.outline is not None:
            scene = Scene.from_json(candidate.scene)
            staged = staging(self.product, self.outline, scene)
            if staged.seen == "above":
                return scene.surface, scene.light, scene.props
            if staged.on_floor or staged.pose == "hangs":
                return replace(scene, stand="floor")
        return scene_key(candidate.scene, candidate.text)


def overlap(first: str, second: str) -> float:
    """Return the share of the different words of two descriptions that both of them say, 0 to 1."""
    one, other = set(normalized_words(first)), set(normalized_words(second))
    return len(one & other) / max(len(one | other), 1)


def _written(selector: CandidateSelector, products: Sequence[Product], *, seed: int) -> list[list[str]]:
    """Sample `per_product` descriptions each, or `SAMPLED` times as many to choose from by suitability.

    A model that can follow the brand's rules is given them; the shipped one is shown the departments that it knows.
    """
    config, rules = selector.config, selector.style.rules
    asked = brand_instructions(rules) if selector.follows_rules else ""
    count, temperature = config.per_product, TEMPERATURE
    if selector.chooses_by_suitability:
        count, temperature = SAMPLED * count, TEMPERATURE_WITHOUT_REWARD
    if config.temperature != "auto":
        temperature = config.temperature
    if selector.writer.model_id == TINY:
        products = [with_department(product) for product in products]
    return selector.writer.describe_all(products, n=count, seed=seed, temperature=temperature, brand_instructions=asked)
