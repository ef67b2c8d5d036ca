"""Reward heads: a picture's predicted slots times their effects, by the product's department and price.

One linear map on the pooled image tokens predicts the scene's slots (softly), another on the product's text its
department; the effect of each slot value, at all, in that department and at that price, is learned from clicks. Two
small linear terms catch the rest of the picture and the last hidden state of the multimodal pass. The slot maps learn
from slot names alone: the clicks are far too few to teach them. A language-model head without these steps learns the
same from many times the clicks. The heads of the ensemble are draws from a posterior (`head_effects`), or were trained
on different weightings of the products; their spread is the interval of a score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from clickscape.errors import ModelError
from clickscape.vlm.slots import FILE, NamedSlots

LATENT_FACTORS = 32
LATENT_TOPICS = 12
"""Without names for the slots and departments, the heads find so many of their own."""

DROPOUT = 0.3
"""Share of the features hidden from the naming maps in training: there are thousands of features and few objects."""

RIDGE = 3e-4
"""Penalty on the squared weights of the scores, per head: prefers no effect to one that few clicks suggest."""

SMALL_INTERACTION = 0.02
"""Below this size, in logits, an interaction costs its square, above it its size: most are zero, a few are large."""

PRICE_RIDGE = 30.0
"""Penalty of a price's effects beside the others': a product has one price and many clicks, and products are few; at 1,
prices without effect cost up to a point of pair accuracy."""

CLASSIFICATION, REGRESSION = 0, 1

_STANDARDIZED = {
    "vision": "vision",
    "text": "text",
    "hidden": "hidden",
    "facts": "price_features",
    "image_statistics": "image_statistics",
}
"""Name of saved means and scales → the features that they belong to; heads.safetensors calls prices facts."""


@dataclass(frozen=True, slots=True)
class HeadShape:
    """Sizes of the heads. ``slots`` and ``departments`` are the names that they learn; empty means latent ones."""

    sides: Literal[1, 2]
    vision_width: int
    text_width: int
    hidden_width: int
    fact_width: int = 0
    statistic_width: int = 0
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    departments: tuple[str, ...] = ()
    ensemble: int = 6
    given_scenes: bool = False
    """Whether a given scene counts in place of the predicted one."""

    @property
    def groups(self) -> tuple[int, ...]:
        """Classes of each slot: its values and one more for "this scene has none"."""
        return tuple(len(values) + 1 for values in self.slots.values())

    @property
    def factors(self) -> int:
        """Soft slot values (or latent factors) that a picture is described by."""
        return sum(self.groups) or LATENT_FACTORS

    @property
    def topics(self) -> int:
        """What a product is softly described by: its department (or one not known), or latent topics."""
        return len(self.departments) + 1 if self.departments else LATENT_TOPICS


@dataclass(frozen=True, slots=True)
class Features:
    """Features of some rows; a row is one sample of the heads, with one picture on each side.

    vision: pooled image tokens of each picture. text: of the product. hidden: last token of the multimodal pass (width
    0 where the heads do not look at it). price_features: what its price says (`prices`). department: number of the
    product's among the heads' names, −1 for another. scene: class of every slot as `slot_targets` gives it, negative
    where none was given.
    """

    vision: Float[Tensor, "row side vision_width"]
    text: Float[Tensor, "row text_width"]
    hidden: Float[Tensor, "row hidden_width"]
    price_features: Float[Tensor, "row price_feature"]
    image_statistics: Float[Tensor, "row side statistic"]
    department: Int64[Tensor, " row"]
    scene: Int64[Tensor, "row side slot"]

    def __len__(self) -> int:
        return len(self.vision)

    def take(self, rows: Int64[Tensor, " chosen"]) -> Features:
        """Return the features of some rows."""
        return Features(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(frozen=True, slots=True)
class SlotPrediction:
    """Standardized features, and the slots and topics that the heads predict from them.

    slots, topics: logits. scene: probabilities of slot values. topic_weights: probabilities of topics.
    """

    vision: Float[Tensor, "row side vision_width"]
    text: Float[Tensor, "row text_width"]
    slots: Float[Tensor, "row side factor"]
    topics: Float[Tensor, "row topic"]
    scene: Float[Tensor, "row side factor"]
    topic_weights: Float[Tensor, "row topic"]
    price_features: Float[Tensor, "row price_feature"]
    image_statistics: Float[Tensor, "row side statistic"]

    def take(self, rows: Int64[Tensor, " chosen"]) -> SlotPrediction:
        """Return some of the rows."""
        return SlotPrediction(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """Scores by each head, and the slots and topics that they rest on; slots, topics: logits."""

    logits: Float[Tensor, "head row side"]
    regression: Float[Tensor, "head row side"]
    slots: Float[Tensor, "row side factor"]
    topics: Float[Tensor, "row topic"]


class FusionHeads(nn.Module):
    """``ensemble`` heads over one slot prediction of the picture; parameters carry the head as their first axis."""

    vision_mean: Tensor
    vision_scale: Tensor
    text_mean: Tensor
    text_scale: Tensor
    hidden_mean: Tensor
    hidden_scale: Tensor
    facts_mean: Tensor
    facts_scale: Tensor
    image_statistics_mean: Tensor
    image_statistics_scale: Tensor
    temperature: Tensor
    named: Tensor
    named_weight: Tensor
    named_bias: Tensor

    def __init__(self, shape: HeadShape, *, seed: int) -> None:
        super().__init__()
        self.shape = shape
        generator = torch.Generator().manual_seed(seed)

        def normal(*size: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*size, generator=generator) * scale)

        heads, channels, factors, topics = shape.ensemble, 2, shape.factors, shape.topics
        self.slot_map = normal(factors, shape.vision_width, scale=0.1 / math.sqrt(shape.vision_width))
        self.slot_bias = nn.Parameter(torch.zeros(factors))
        self.topic = normal(topics, shape.text_width, scale=0.1 / math.sqrt(max(shape.text_width, 1)))
        self.topic_bias = nn.Parameter(torch.zeros(topics))
        self.value = nn.Parameter(torch.zeros(heads, channels, factors))
        self.interaction = normal(heads, channels, factors, topics, scale=0.01)
        self.picture = nn.Parameter(torch.zeros(heads, channels, 0 if shape.slots else shape.vision_width))
        self.statistic = nn.Parameter(torch.zeros(heads, channels, shape.statistic_width))
        self.last_token = normal(heads, channels, shape.sides, shape.hidden_width, scale=0.01)
        # What never varied in training must say nothing when it does vary later, so it starts at nothing.
        self.fact_interaction = nn.Parameter(torch.zeros(heads, channels, factors, shape.fact_width))
        for name, width in (
            ("vision", shape.vision_width), ("text", shape.text_width), ("hidden", shape.hidden_width),
            ("facts", shape.fact_width), ("image_statistics", shape.statistic_width),
        ):  # fmt: skip
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_scale", torch.ones(width))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("named", torch.zeros(factors, dtype=torch.bool))
        self.register_buffer("named_weight", torch.zeros(factors, shape.vision_width))
        self.register_buffer("named_bias", torch.zeros(factors))

    @torch.no_grad()
    def use_named_slots(self, known: NamedSlots) -> None:
        """Take over maps that predict slot values already; training leaves them as they are and learns the others.

        ModelError for maps of tokens of another width.
        """
        if known.weight.shape[1] != self.shape.vision_width:
            raise ModelError(
                f"the names of slots were learned on {known.weight.shape[1]} numbers a picture, this backbone gives "
                f"{self.shape.vision_width}. Delete {FILE} from its folder, or restore the one that belongs there."
            )
        ours = {item: row for row, item in enumerate(factor_names(self.shape.slots))}
        theirs = [(slot, value) for slot, values in known.values.items() for value in values]
        rows = [(ours[item], row) for row, item in enumerate(theirs) if item in ours]
        if rows:
            mine, given = (torch.tensor(side) for side in zip(*rows, strict=True))
            self.named[mine] = True
            self.named_weight[mine], self.named_bias[mine] = known.weight[given], known.bias[given]

    @torch.no_grad()
    def standardize(self, features: Features) -> None:
        """Measure mean and scale of every feature, so that the heads see numbers of one size."""
        for name, field_name in _STANDARDIZED.items():
            values = getattr(features, field_name).flatten(0, -2)
            if values.numel() == 0 or len(values) < 2:
                continue
            getattr(self, f"{name}_mean").copy_(values.mean(0))
            # A feature that never varies must not be blown up when it does vary later.
            scale = values.std(0)
            getattr(self, f"{name}_scale").copy_(torch.where(scale > 1e-6, scale, torch.ones_like(scale)))

    def forward(self, features: Features, *, noise: torch.Generator | None = None) -> HeadOutput:
        """Return scores and slot logits; with ``noise``, as in training, slots come from a part of the features."""
        predicted = self.predict_slots(features)
        slots, topics = predicted.slots, predicted.topics
        if noise is not None:
            slots = self._slot_logits(_dropout(predicted.vision, noise), features.vision)
            topics = _dropout(predicted.text, noise) @ self.topic.T + self.topic_bias
        effect = self.value[:, :, None] + torch.einsum("ecft,nt->ecnf", self.interaction, predicted.topic_weights)
        effect = effect + torch.einsum("ecft,nt->ecnf", self.fact_interaction, predicted.price_features)
        score = torch.einsum("ecnf,nsf->ecns", effect, predicted.scene)
        score = score + torch.einsum("ecl,nsl->ecns", self.statistic, predicted.image_statistics)
        if not self.shape.slots:
            score = score + torch.einsum("ecv,nsv->ecns", self.picture, predicted.vision) / math.sqrt(
                self.shape.vision_width
            )
        if self.shape.hidden_width:
            hidden = (features.hidden - self.hidden_mean) / self.hidden_scale
            score = score + torch.einsum("ecsh,nh->ecns", self.last_token, hidden) / math.sqrt(self.shape.hidden_width)
        logits = score[:, CLASSIFICATION] / self.temperature
        return HeadOutput(logits=logits, regression=score[:, REGRESSION], slots=slots, topics=topics)

    def predict_slots(self, features: Features) -> SlotPrediction:
        """Predict slots and topics, the same for all heads; given slots count before predicted ones where asked."""
        vision = (features.vision - self.vision_mean) / self.vision_scale
        text = (features.text - self.text_mean) / self.text_scale
        slots = self._slot_logits(vision, features.vision)
        topics = text @ self.topic.T + self.topic_bias
        scene = self.soft_slots(slots)
        if self.shape.given_scenes:
            scene = self._with_given(scene, features.scene)
        return SlotPrediction(
            vision=vision,
            text=text,
            slots=slots,
            topics=topics,
            scene=scene,
            topic_weights=self.topic_weights(topics, features.department),
            price_features=(features.price_features - self.facts_mean) / self.facts_scale,
            image_statistics=(features.image_statistics - self.image_statistics_mean) / self.image_statistics_scale,
        )

    def _slot_logits(self, vision: Tensor, plain: Tensor) -> Tensor:
        """Logits of every slot value: the given maps of plain features where there are such, else the learned ones."""
        known = plain @ self.named_weight.T + self.named_bias
        return torch.where(self.named, known, vision @ self.slot_map.T + self.slot_bias)

    def _with_given(self, soft: Tensor, given: Tensor) -> Tensor:
        """Probabilities of slot values, with certainty wherever a slot was given."""
        parts = []
        for slot, part in enumerate(soft.split(self.shape.groups, dim=-1)):
            label = given[..., slot]
            certain = functional.one_hot(label.clamp(min=0), part.shape[-1]).to(part.dtype)
            parts.append(torch.where((label >= 0)[..., None], certain, part))
        return torch.cat(parts, dim=-1)

    def soft_slots(self, slots: Float[Tensor, "row side factor"]) -> Float[Tensor, "row side factor"]:
        """Return probabilities of every slot value, one slot after the other (latent factors: between −1 and 1)."""
        if not self.shape.slots:
            return slots.tanh()
        return torch.cat([group.softmax(-1) for group in slots.split(self.shape.groups, dim=-1)], dim=-1).detach()

    def topic_weights(
        self, topics: Float[Tensor, "row topic"], department: Int64[Tensor, " row"]
    ) -> Float[Tensor, "row topic"]:
        """Return the product's department where it is known, else probabilities of each (latent: between −1 and 1)."""
        if not self.shape.departments:
            return topics.tanh()
        known = functional.one_hot(department.clamp(min=0), self.shape.topics).to(topics.dtype)
        return torch.where(department[:, None] >= 0, known, topics.softmax(-1).detach())

    def penalty(self) -> Float[Tensor, ""]:
        """Return the penalty on the weights per head: squares, and the size of interactions, of which few are real."""
        total = PRICE_RIDGE * self.fact_interaction.square().sum()
        for part in (self.value, self.statistic, self.picture, self.last_token):
            total = total + part.square().sum()
        return (total + (self.interaction.square() + SMALL_INTERACTION**2).sqrt().sum()) / len(self.value)


def _dropout(features: Tensor, noise: torch.Generator) -> Tensor:
    """Dropout whose randomness is an argument."""
    kept = torch.rand(features.shape, generator=noise).to(features.device) >= DROPOUT
    return features * kept / (1 - DROPOUT)


def factor_names(slots: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str | None]]:
    """Return slot and value of every factor, in their order; None is the last of each slot."""
    return [(slot, value) for slot, values in slots.items() for value in (*values, None)]


def slot_targets(
    slots: Mapping[str, tuple[str, ...]], scenes: Iterable[Mapping[str, str | None]]
) -> Int64[Tensor, "scene slot"]:
    """Return class numbers; None is the last class of its slot, an unknown value or slot −100 (ignored)."""
    numbers = {slot: {value: index for index, value in enumerate(values)} for slot, values in slots.items()}
    rows = []
    for scene in scenes:
        row = []
        for slot, values in numbers.items():
            value = scene.get(slot) if slot in scene else "\0missing"
            row.append(len(values) if value is None else values.get(value, -100))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.long).reshape(len(rows), len(slots))
