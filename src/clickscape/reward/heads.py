"""From features to scores: slots that are seen, weighed by what the product is.

One linear map on the pooled image tokens names the scene's slots (softly), another on the product's text its
department; what each slot value is worth, at all, for that department and at that price, is what the clicks teach. Two
small linear terms catch the rest of the picture and the last hidden state of the multimodal pass. Seeing is learned
from names alone: the clicks are far too few to teach it. A language-model head without these steps learns the same from
many times the clicks. Several heads are trained at once on different weightings of the products, and `worths` makes
them draws from a posterior; their spread is the interval of a score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

import torch
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
"""Penalty on the square of what the scores are made of, per head: prefers no effect to one that few clicks suggest."""

NEARLY_NOTHING = 0.02
"""Below this size, in logits, an interaction costs its square, above it its size: most are nothing, a few are large."""

FACT_RIDGE = 30.0
"""What a fact's effects cost beside the others': a fact is the same for all that clicks say of a product, and products
are few; at 1, prices that say nothing cost up to a point of pair accuracy."""

CLASSIFICATION, REGRESSION = 0, 1


@dataclass(frozen=True, slots=True)
class HeadShape:
    """Sizes of the heads. ``slots`` and ``departments`` are the names that they learn; empty means latent ones."""

    sides: Literal[1, 2]
    vision_width: int
    text_width: int
    hidden_width: int
    fact_width: int = 0
    look_width: int = 0
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    departments: tuple[str, ...] = ()
    ensemble: int = 6
    told: bool = False
    """Whether a scene that somebody noted counts in place of the one that is seen."""

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
    """What the backbone says about some samples.

    vision: (sample, side, vision_width), pooled image tokens of each picture. text: (sample, text_width), the product.
    hidden: (sample, hidden_width), last token of the multimodal pass (width 0 where the heads do not look at it).
    facts: (sample, fact_width), numbers about the product: its price. looks: (sample, side, look_width), figures of
    each picture as a whole. department: (sample,), number of the product's among the heads' names, −1 for another.
    scene: (sample, side, slot), class of every slot as `slot_targets` gives it, negative where nobody noted it.
    """

    vision: Tensor
    text: Tensor
    hidden: Tensor
    facts: Tensor
    looks: Tensor
    department: Tensor
    scene: Tensor

    def __len__(self) -> int:
        return len(self.vision)

    def take(self, rows: Tensor) -> Features:
        """The features of some samples."""
        return Features(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(frozen=True, slots=True)
class SlotPrediction:
    """What the heads weigh: vision, text, facts and looks standardized, and what they were named.

    slots, topics: logits. scene: (sample, side, factor), probabilities of slot values. about: (sample, topic).
    """

    vision: Tensor
    text: Tensor
    slots: Tensor
    topics: Tensor
    scene: Tensor
    about: Tensor
    facts: Tensor
    looks: Tensor

    def take(self, rows: Tensor) -> SlotPrediction:
        """What was seen of some samples."""
        return SlotPrediction(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """logits, regression: (head, sample, side); slots: (sample, side, factor), topics: (sample, topic), both logits."""

    logits: Tensor
    regression: Tensor
    slots: Tensor
    topics: Tensor


class FusionHeads(nn.Module):
    """``ensemble`` heads over one perception of the picture; parameters carry the head as their first axis."""

    vision_mean: Tensor
    vision_scale: Tensor
    text_mean: Tensor
    text_scale: Tensor
    hidden_mean: Tensor
    hidden_scale: Tensor
    facts_mean: Tensor
    facts_scale: Tensor
    looks_mean: Tensor
    looks_scale: Tensor
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
        self.perception = normal(factors, shape.vision_width, scale=0.1 / math.sqrt(shape.vision_width))
        self.perception_bias = nn.Parameter(torch.zeros(factors))
        self.topic = normal(topics, shape.text_width, scale=0.1 / math.sqrt(max(shape.text_width, 1)))
        self.topic_bias = nn.Parameter(torch.zeros(topics))
        self.value = nn.Parameter(torch.zeros(heads, channels, factors))
        self.interaction = normal(heads, channels, factors, topics, scale=0.01)
        self.picture = nn.Parameter(torch.zeros(heads, channels, 0 if shape.slots else shape.vision_width))
        self.look = nn.Parameter(torch.zeros(heads, channels, shape.look_width))
        self.last_token = normal(heads, channels, shape.sides, shape.hidden_width, scale=0.01)
        # What never varied in training must say nothing when it does vary later, so it starts at nothing.
        self.fact_interaction = nn.Parameter(torch.zeros(heads, channels, factors, shape.fact_width))
        for name, width in (
            ("vision", shape.vision_width), ("text", shape.text_width), ("hidden", shape.hidden_width),
            ("facts", shape.fact_width), ("looks", shape.look_width),
        ):  # fmt: skip
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_scale", torch.ones(width))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("named", torch.zeros(factors, dtype=torch.bool))
        self.register_buffer("named_weight", torch.zeros(factors, shape.vision_width))
        self.register_buffer("named_bias", torch.zeros(factors))

    @torch.no_grad()
    def begin_with(self, known: NamedSlots) -> None:
        """Take over what already names slot values; training leaves these as they are and learns the other names.

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
        for name in ("vision", "text", "hidden", "facts", "looks"):
            values = getattr(features, name).flatten(0, -2)
            if values.numel() == 0 or len(values) < 2:
                continue
            getattr(self, f"{name}_mean").copy_(values.mean(0))
            # A feature that never varies must not be blown up when it does vary later.
            scale = values.std(0)
            getattr(self, f"{name}_scale").copy_(torch.where(scale > 1e-6, scale, torch.ones_like(scale)))

    def forward(self, features: Features, *, noise: torch.Generator | None = None) -> HeadOutput:
        """Scores and names; with ``noise``, as in training, the names are those that a part of the features gives."""
        seen = self.predict_slots(features)
        slots, topics = seen.slots, seen.topics
        if noise is not None:
            slots = self._named(_hide(seen.vision, noise), features.vision)
            topics = _hide(seen.text, noise) @ self.topic.T + self.topic_bias
        worth = self.value[:, :, None] + torch.einsum("ecft,nt->ecnf", self.interaction, seen.about)
        worth = worth + torch.einsum("ecft,nt->ecnf", self.fact_interaction, seen.facts)
        score = torch.einsum("ecnf,nsf->ecns", worth, seen.scene)
        score = score + torch.einsum("ecl,nsl->ecns", self.look, seen.looks)
        if not self.shape.slots:
            score = score + torch.einsum("ecv,nsv->ecns", self.picture, seen.vision) / math.sqrt(
                self.shape.vision_width
            )
        if self.shape.hidden_width:
            hidden = (features.hidden - self.hidden_mean) / self.hidden_scale
            score = score + torch.einsum("ecsh,nh->ecns", self.last_token, hidden) / math.sqrt(self.shape.hidden_width)
        logits = score[:, CLASSIFICATION] / self.temperature
        return HeadOutput(logits=logits, regression=score[:, REGRESSION], slots=slots, topics=topics)

    def predict_slots(self, features: Features) -> SlotPrediction:
        """What the heads weigh; all of them see the same."""
        vision = (features.vision - self.vision_mean) / self.vision_scale
        text = (features.text - self.text_mean) / self.text_scale
        slots = self._named(vision, features.vision)
        topics = text @ self.topic.T + self.topic_bias
        scene = self.soft_slots(slots)
        if self.shape.told:
            scene = self._corrected(scene, features.scene)
        return SlotPrediction(
            vision=vision,
            text=text,
            slots=slots,
            topics=topics,
            scene=scene,
            about=self.about(topics, features.department),
            facts=(features.facts - self.facts_mean) / self.facts_scale,
            looks=(features.looks - self.looks_mean) / self.looks_scale,
        )

    def _named(self, vision: Tensor, plain: Tensor) -> Tensor:
        """Logits of every slot value: the given maps of plain features where there are such, else the learned ones."""
        known = plain @ self.named_weight.T + self.named_bias
        return torch.where(self.named, known, vision @ self.perception.T + self.perception_bias)

    def _corrected(self, soft: Tensor, noted: Tensor) -> Tensor:
        """Probabilities of slot values with certainty wherever a slot was noted."""
        parts = []
        for slot, part in enumerate(soft.split(self.shape.groups, dim=-1)):
            label = noted[..., slot]
            certain = functional.one_hot(label.clamp(min=0), part.shape[-1]).to(part.dtype)
            parts.append(torch.where((label >= 0)[..., None], certain, part))
        return torch.cat(parts, dim=-1)

    def soft_slots(self, slots: Tensor) -> Tensor:
        """Probabilities of every slot value, one group after the other (latent factors: between −1 and 1)."""
        if not self.shape.slots:
            return slots.tanh()
        return torch.cat([group.softmax(-1) for group in slots.split(self.shape.groups, dim=-1)], dim=-1).detach()

    def about(self, topics: Tensor, department: Tensor) -> Tensor:
        """The product's department where the heads know it, else probabilities of each (latent: between −1 and 1)."""
        if not self.shape.departments:
            return topics.tanh()
        known = functional.one_hot(department.clamp(min=0), self.shape.topics).to(topics.dtype)
        return torch.where(department[:, None] >= 0, known, topics.softmax(-1).detach())

    def penalty(self) -> Tensor:
        """What the scores are made of: squares, and the size of the interactions, of which few are real. Per head."""
        total = FACT_RIDGE * self.fact_interaction.square().sum()
        for part in (self.value, self.look, self.picture, self.last_token):
            total = total + part.square().sum()
        return (total + (self.interaction.square() + NEARLY_NOTHING**2).sqrt().sum()) / len(self.value)


def _hide(features: Tensor, noise: torch.Generator | None) -> Tensor:
    """Dropout whose randomness is an argument."""
    if noise is None:
        return features
    kept = torch.rand(features.shape, generator=noise).to(features.device) >= DROPOUT
    return features * kept / (1 - DROPOUT)


def factor_names(slots: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str | None]]:
    """Slot and value of every factor, in their order; None is the last of each slot."""
    return [(slot, value) for slot, values in slots.items() for value in (*values, None)]


def slot_targets(slots: Mapping[str, tuple[str, ...]], scenes: Iterable[Mapping[str, str | None]]) -> Tensor:
    """Class numbers, (scene, slot); None is the last class of its slot, an unknown value or slot −100 (ignored)."""
    numbers = {slot: {value: index for index, value in enumerate(values)} for slot, values in slots.items()}
    rows = []
    for scene in scenes:
        row = []
        for slot, values in numbers.items():
            value = scene.get(slot) if slot in scene else "\0missing"
            row.append(len(values) if value is None else values.get(value, -100))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.long).reshape(len(rows), len(slots))
