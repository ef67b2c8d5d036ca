"""The default reward model: effects of scene, picture and product, linear in blocks of columns, fitted to clicks.

The backbone stays as it is. A probe names the slots of a picture's scene, the design says what effects are multiplied
with, and `fit_effects` learns them from counts of clicks, or from pairs where there are no counts. Probabilities are
calibrated on clusters that the effects did not meet; their intervals grow with what the effects do not know.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.reward import calibrate, effects_checkpoint, slot_probe
from clickscape.reward.data import RewardData, pair_weights
from clickscape.reward.design import Design, Pictures, joined, read
from clickscape.reward.effects import ClickTable, Effects, Integers, cross_fit, fit_effects, pair_table
from clickscape.reward.encoders import Backbone
from clickscape.reward.features import picture_tokens
from clickscape.reward.protocol import (
    CHUNK,
    PROBIT,
    Floats,
    Image,
    Odds,
    RewardModel,
    Scenes,
    Slots,
    Step,
    best_first,
    check_lengths,
    ranked,
    unique,
)
from clickscape.reward.tastes import Tastes, fit_tastes
from clickscape.types import Product, Ranked
from clickscape.vlm.slots import NamedSlots


class EffectsModel(RewardModel):
    """Scores images one at a time. temperature: log CTR per logit. tastes: None where no audience is known."""

    reads_sides = False

    def __init__(
        self, backbone: Backbone, design: Design, effects: Effects, *, temperature: float, tastes: Tastes | None = None
    ) -> None:
        self.backbone, self.design, self.effects, self.temperature = backbone, design, effects, temperature
        self.tastes = tastes

    def with_given_scenes(self) -> EffectsModel:
        """Return the same model with given scenes in place of predicted ones; itself where it names no slots."""
        if not self.design.slots or self.design.given_scenes:
            return self
        return self._with(design=replace(self.design, given_scenes=True))

    @property
    def audiences(self) -> tuple[str, ...]:
        """Audiences that it tells apart."""
        return () if self.tastes is None else self.tastes.names

    def for_audience(self, name: str) -> EffectsModel:
        """Return the model of what one audience clicks; itself where its clicks were not told apart."""
        if self.tastes is None or name not in self.audiences:
            return self
        return self._with(effects=self.tastes.effects_of(name, self.effects), tastes=None)

    def log_ctrs_by_audience(
        self, products: Sequence[Product], images: Sequence[Image], scenes: Sequence[Slots | None] | None = None
    ) -> dict[str, Floats]:
        """Return log CTRs by audience; see the protocol."""
        if self.tastes is None:
            return {}
        columns = self._columns(products, images, scenes)
        effects = {"": self.effects} | {name: self.tastes.effects_of(name, self.effects) for name in self.tastes.names}
        return {name: columns @ one.mode for name, one in effects.items()}

    def _with(self, **parts: Any) -> EffectsModel:
        kept = {name: getattr(self, name) for name in ("backbone", "design", "effects", "temperature", "tastes")}
        return EffectsModel(**{**kept, **parts})

    def score(
        self, products: Sequence[Product], images: Sequence[Image], scenes: Sequence[Slots | None] | None = None
    ) -> Floats:
        """Return one logit per image, (image,); see the protocol."""
        return self._scores(self._columns(products, images, scenes))

    def odds(
        self,
        products: Sequence[Product],
        firsts: Sequence[Image],
        seconds: Sequence[Image],
        scenes: Sequence[Scenes] | None = None,
    ) -> Odds:
        """Compare pairs of images; see the protocol."""
        check_lengths(products, firsts, scenes)
        check_lengths(products, seconds)
        given = None if scenes is None else [pair[side] for side in (0, 1) for pair in scenes]
        columns = self._columns([*products, *products], [*firsts, *seconds], given)
        return self._odds(columns[: len(products)] - columns[len(products) :])

    def rank(
        self, product: Product, images: Sequence[Image], scenes: Sequence[Slots | None] | None = None
    ) -> list[Ranked]:
        """Return the images, best first; scores are mean logits against the others, 0 for an only image."""
        columns = self._columns([product] * len(images), images, scenes)
        against = (columns - columns.mean(0)) * len(images) / max(len(images) - 1, 1) if len(images) else columns
        own = self._odds(against)
        order = best_first(own.mean)
        return ranked(own.mean, own.sd, self._odds(columns[order[:-1]] - columns[order[1:]]))

    def save(self, folder: Path) -> None:
        """Write backbone, settings and arrays; the folder appears whole or not at all, an older one is replaced."""
        effects_checkpoint.save(Path(folder), self.backbone, self.design, self.effects, self.tastes,
                                temperature=self.temperature)  # fmt: skip

    def _columns(
        self, products: Sequence[Product], images: Sequence[Image], scenes: Sequence[Slots | None] | None
    ) -> Floats:
        """Columns of the design, (image, column); an image that is asked about twice is looked at once."""
        check_lengths(products, images, scenes)
        if not images:
            return np.zeros((0, len(self.effects.mode)))
        once, row = unique(images)
        seen = read_pictures(self.backbone, once, [None] * len(once))
        pictures = replace(seen.take(row), scenes=[None] * len(images) if scenes is None else scenes)
        return self.design.matrix(self.design.elements(pictures), pictures, products)

    def _scores(self, columns: Floats) -> Floats:
        scores = columns @ self.effects.mode / self.temperature
        if not np.isfinite(scores).all():
            raise ModelError("the reward model's scores are not numbers: its weights are too large, or damaged. "
                             "Train it again.")  # fmt: skip
        return np.asarray(scores)

    def _odds(self, gaps: Floats) -> Odds:
        return Odds(self._scores(gaps), np.sqrt(self.effects.variance(gaps)) / self.temperature)


def load(folder: Path, *, device: str = "cpu") -> EffectsModel:
    """Open what `EffectsModel.save` wrote; ModelError for anything missing, damaged or of another kind."""
    backbone, design, effects, tastes, temperature = effects_checkpoint.load(folder, device=device)
    return EffectsModel(backbone, design, effects, temperature=temperature, tastes=tastes)


def train(
    backbone: Backbone,
    data: RewardData,
    *,
    config: RewardConfig,
    slots: Mapping[str, tuple[str, ...]],
    named: NamedSlots | None = None,
) -> Generator[Step, None, EffectsModel]:
    """Learn from the clicks of the data, or from its pairs where it has no counts; yields steps, returns the model.

    slots: names of a scene's slots and their values. named: what names them from this backbone's tokens already.
    ModelError where neither counts nor pairs say which creative is better.
    """
    rows = _labelled(data)
    parts: list[Pictures] = []
    for start in range(0, len(rows), CHUNK):
        yield Step(start, len(rows), "reading pictures")
        some = rows[start : start + CHUNK]
        scenes = [None if data.slots is None else data.slots[row] for row in some]
        parts.append(read_pictures(backbone, [data.image(row) for row in some], scenes))
    yield Step(len(rows), len(rows), "fitting effects")
    pictures, products = joined(parts), [data.product(row) for row in rows]
    cluster = np.unique([data.group(product.product_id) for product in products], return_inverse=True)[1]
    design, taught, asked = _named(Design.fit(pictures, products, slots=slots, given=config.scene == "given"),
                                   pictures, cluster, named=named)  # fmt: skip
    blocks = design.blocks(taught, pictures, products)
    block = np.repeat(np.arange(len(blocks)), [part.shape[1] for part in blocks.values()])
    columns, new = np.concatenate(list(blocks.values()), axis=1), design.matrix(asked, pictures, products)
    tastes = None
    if not _is_counted(data):
        number_of = {row: number for number, row in enumerate(rows)}
        pairs = np.array([[number_of[int(row)] for row in pair] for pair in data.pair_indices])
        preference, weight = np.array([pair.preference for pair in data.informative]), pair_weights(data.informative)
        of_pair = cluster[pairs[:, 0]]
        weight = weight * (np.bincount(owner := _owners(products)) - 1)[owner[pairs[:, 0]]]
        table = pair_table(columns, pairs, preference, weight)
        effects = fit_effects(table, block, image_sd=0.0)
        held_out = cross_fit(table, effects, np.repeat(of_pair, 2), asked=new[pairs.ravel()])
        gap = held_out.scores[::2] - held_out.scores[1::2]
        temperature = calibrate.temperature(gap, preference, weight)
    else:
        clicks, examinations = (np.asarray(values)[rows] for values in (data.clicks, data.examinations))
        table = ClickTable(columns, _owners(products), clicks, examinations)
        effects = fit_effects(table, block)
        held_out = cross_fit(table, effects, cluster, asked=new)
        found = calibrate.temperature_of_counts(held_out.scores, table.product, clicks, examinations,
                                                variance=held_out.variance)  # fmt: skip
        temperature = found or np.sqrt(2) * max(effects.image_sd, 0.05) / PROBIT
        if data.audiences is not None:
            place = design.own_columns
            tastes = fit_tastes(columns, block[place], place=place, pooled=effects, product=table.product,
                                counts=data.audiences.take(rows))  # fmt: skip
    return EffectsModel(backbone, design, effects, temperature=float(temperature), tastes=tastes)


def _named(
    design: Design, pictures: Pictures, cluster: Integers, *, named: NamedSlots | None
) -> tuple[Design, Floats, Floats]:
    """The design with a probe that names slots; its elements to learn effects from, and as new pictures will show them.

    Effects are learned from scenes as they were recorded, so that no misread slot blurs them, and calibrated on what a
    probe reads that did not meet the object.
    """
    known = slot_probe.given_probabilities(design.slots, pictures.scenes)
    prior = slot_probe.from_named(design.slots, named, width=pictures.tokens.shape[1])
    if np.isfinite(known).any():
        probe, read_anew = slot_probe.fit(pictures.tokens, known, cluster, slots=design.slots, prior=prior)
        taught = np.where(np.isnan(known), read_anew, known)
        return design.named_by(probe), taught, taught if design.given_scenes else read_anew
    design = design.named_by(prior)
    elements = design.elements(pictures)
    return design, elements, elements


@torch.inference_mode()
def read_pictures(backbone: Backbone, images: Sequence[Image], scenes: Sequence[Slots | None]) -> Pictures:
    """Return what the design reads of pictures."""
    backbone.model.eval()
    return read(picture_tokens(backbone, images), images, scenes)


def _owners(products: Sequence[Product]) -> Integers:
    """Number of each row's product, in the order of their first rows."""
    places = {name: place for place, name in enumerate(dict.fromkeys(product.product_id for product in products))}
    return np.array([places[product.product_id] for product in products], np.int64)


def _is_counted(data: RewardData) -> bool:
    """Whether any creative has counts."""
    if data.clicks is None or data.examinations is None:
        return False
    return bool((np.isfinite(data.clicks) & (data.examinations > 0)).any())


def _labelled(data: RewardData) -> list[int]:
    """Creatives that clicks or pairs say something of, products one after the other; counts come before pairs."""
    if data.clicks is not None and data.examinations is not None and _is_counted(data):
        known = np.flatnonzero(np.isfinite(data.clicks) & (data.examinations > 0))
        order = np.argsort([data.product_of[int(row)] for row in known], kind="stable")
        return [int(row) for row in known[order]]
    if not data.informative:
        raise ModelError("no pair of creatives says which is better (all ties, or none at all). "
                         "Collect more impressions, or lower the filter of the pairs.")  # fmt: skip
    return sorted({int(row) for row in data.pair_indices.ravel()}, key=lambda row: (data.product_of[row], row))
