"""Train a reward model: slot names by cross-entropy, effects from click counts; or CE + MSE on pairs, as the paper.

With `trainable = "head"` the backbone is frozen and every picture passes it once; epochs then cost seconds. `lora` and
`full` pass the backbone at every step. Validation products (whole groups) choose the epoch whose weights are kept.
Where the log has counts and scores are effects of named slots (the default form), descent learns the slots' names alone
and conditional Poisson regression fits the effects (`head_effects`). Elsewhere L = λ1·CE + λ2·MSE (Chen et al. 2025,
section 3.2) + the loss that names the slots. Validation sets the temperature.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from clickscape.compute.schedules import warmup_cosine
from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.reward import calibrate
from clickscape.reward.data import RewardData, regression_targets, split
from clickscape.reward.features import Pictures, Scenes, concatenate, department_numbers, extract
from clickscape.reward.head_effects import FeatureCounts, fit_heads, has_linear_effects
from clickscape.reward.heads import RIDGE, Features, HeadOutput, slot_targets
from clickscape.reward.model import RewardModel
from clickscape.reward.pair_batch import PairBatch, build_batch, take_products

BACKBONE_RATE = 0.1
"""Learning rate of a trained backbone, as a share of the heads'."""

GRADIENT_NORM = 1.0

RATE_FLOOR = 0.05
"""The learning rate ends at this share of its peak."""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step; losses are means per product, creative and slot. validation: of the epoch that ended here."""

    number: int
    loss: float
    classification: float
    regression: float
    slots: float
    learning_rate: float
    validation: float | None = None


@dataclass(frozen=True, slots=True)
class Losses:
    """Parts of the loss, nats and squared units of the regression's targets."""

    classification: Float[Tensor, ""]
    regression: Float[Tensor, ""]
    slots: Float[Tensor, ""]


def train(
    model: RewardModel,
    data: RewardData,
    *,
    config: RewardConfig,
    rng: np.random.Generator,
    features: Features | None = None,
) -> Iterator[Step]:
    """Train the heads (and the backbone, if ``config.trainable`` says so) in place, one `Step` per optimizer step.

    features: of every creative of the data, for callers who train several models of the single form on them; only with
    a frozen backbone. After the last step the model holds the weights of the epoch that was best on validation
    products, and the temperature at which its probabilities are right there. Raises ModelError when the data holds no
    pair, or when the model has another form than the configuration.
    """
    if model.form != config.form:
        raise ModelError(f"the settings ask for the {config.form} form, the model has the {model.form} form. "
                         f"Build the model with form={config.form!r}.")  # fmt: skip
    if not data.informative:
        raise ModelError("no pair of creatives says which is better (all ties, or none at all). "
                         "Collect more impressions, or lower the filter of the pairs.")  # fmt: skip
    learning, held_back = split(data, share=config.validation_share, rng=rng)
    rows = build_batch(learning, form=model.form, rng=rng)
    backbone = _prepare_backbone(model, config)
    source = _FeatureSource(model, features)
    cached = source.all(learning, rows) if config.trainable == "head" else None
    model.heads.standardize(cached if cached is not None else source.all(learning, rows, limit=512))
    from_counts = has_linear_effects(model.heads) and _counted(learning)
    objective = _Objective(model, data, learning, rows, config=config, names_only=from_counts and cached is not None)
    # Every head weighs the products its own way (Bayesian bootstrap): the heads differ as new data would make them.
    emphasis = torch.from_numpy(rng.exponential(size=(model.heads.shape.ensemble, len(rows.products)))).float()
    emphasis = emphasis.to(model.device)
    noise = torch.Generator().manual_seed(int(rng.integers(2**31)))
    validation = _Validation(source, held_back, config=config) if held_back is not None else None
    trained = [*objective.parameters, *backbone]
    optimizer = torch.optim.AdamW(
        [
            {"params": objective.parameters, "peak": config.learning_rate},
            {"params": backbone, "peak": config.learning_rate * BACKBONE_RATE},
        ],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(0.9, 0.98),
    )
    per_epoch = math.ceil(len(rows.products) / config.products_per_batch)
    total, number = config.epochs * per_epoch, 0
    best, best_weights = math.inf, [parameter.detach().clone() for parameter in trained]
    for _ in range(config.epochs):
        order = rng.permutation(len(rows.products))
        for start in range(0, len(order), config.products_per_batch):
            rate = warmup_cosine(number, total, warmup_share=config.warmup_share, floor=RATE_FLOOR)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate
            chosen = torch.from_numpy(np.sort(order[start : start + config.products_per_batch]))
            picked, batch = take_products(rows, chosen)
            batch = batch.to(model.device)
            _set_training(model, config)
            shown = cached.take(picked) if cached is not None else source.at(learning, batch)
            weight = batch.weight * emphasis[:, batch.pair_product] / len(chosen)
            losses = objective.losses(model.heads(shown, noise=noise), batch, weight=weight)
            loss = objective.total(losses)
            optimizer.zero_grad(set_to_none=True)
            (loss + objective.penalty()).backward()
            nn.utils.clip_grad_norm_(trained, GRADIENT_NORM)
            optimizer.step()
            number += 1
            last = start + config.products_per_batch >= len(order)
            value = validation.loss(objective) if validation is not None and last else None
            if value is not None and value < best:
                best, best_weights = value, [parameter.detach().clone() for parameter in trained]
            yield Step(
                number=number, loss=loss.item(), classification=losses.classification.item(),
                regression=losses.regression.item(), slots=losses.slots.item(),
                learning_rate=config.learning_rate * rate, validation=value,
            )  # fmt: skip
    if validation is not None:
        with torch.no_grad():
            for parameter, kept in zip(trained, best_weights, strict=True):
                parameter.copy_(kept)
    if from_counts:
        counts = _counts(learning, rows, cached if cached is not None else source.all(learning, rows))
        fit_heads(model.heads, counts, rng=rng)
        # Scores are log CTRs now; what makes probabilities of them is best measured where they were not learned.
        measure = validation or _Validation(source, learning, config=config)
        temperature = measure.temperature()
        if validation is not None and held_back is not None and _counted(held_back):
            counts = counts.with_more(_counts(held_back, validation.rows, validation.features()))
            fit_heads(model.heads, counts, rng=rng)
        model.heads.temperature.fill_(temperature)
    elif validation is not None:
        model.heads.temperature.fill_(validation.temperature())
    _finish_backbone(model, config)


class _Objective:
    """What descent learns: all heads from pairs, or where effects are fitted from counts, the names of slots alone."""

    def __init__(
        self,
        model: RewardModel,
        data: RewardData,
        learning: RewardData,
        rows: PairBatch,
        *,
        config: RewardConfig,
        names_only: bool,
    ) -> None:
        heads = model.heads
        self.model, self.config, self.names_only = model, config, names_only
        named = [heads.slot_map, heads.slot_bias, heads.topic, heads.topic_bias]
        self.parameters: list[nn.Parameter] = named if names_only else list(heads.parameters())
        # A frozen backbone with named slots leaves the regression branch nothing that the scores would share with it.
        acts = bool(config.regression_weight) and (config.trainable != "head" or not model.slots)
        self.regression_weight = config.regression_weight if acts else 0.0
        targets = torch.from_numpy(regression_targets(data)).float()
        self._targets = targets.to(model.device)
        self._labels = _labels(model, data).to(model.device)
        self._departments = _departments(model, learning, rows).to(model.device)

    def losses(self, output: HeadOutput, batch: PairBatch, *, weight: Tensor) -> Losses:
        return reward_losses(
            output,
            first=batch.first, second=batch.second, preference=batch.preference, weight=weight,
            targets=self._targets[batch.creatives], labels=self._labels[batch.creatives],
            slot_groups=self.model.heads.shape.groups, departments=self._departments[batch.product],
        )  # fmt: skip

    def total(self, losses: Losses) -> Tensor:
        if self.names_only:
            return losses.slots
        return (
            self.config.classification_weight * losses.classification
            + self.regression_weight * losses.regression
            + self.config.slot_weight * losses.slots
        )

    def penalty(self) -> Tensor:
        return torch.zeros(()) if self.names_only else RIDGE * self.model.heads.penalty()


def reward_losses(
    output: HeadOutput,
    *,
    first: Int64[Tensor, "pair 2"],
    second: Int64[Tensor, "pair 2"],
    preference: Float[Tensor, " pair"],
    weight: Float[Tensor, "#head pair"],
    targets: Float[Tensor, "row side"],
    labels: Int64[Tensor, "row side slot"],
    slot_groups: tuple[int, ...],
    departments: Int64[Tensor, " row"],
) -> Losses:
    """Return classification, regression and slot loss, each averaged over the heads.

    first, second: row and side of each picture. preference: P(first better). weight: summed, not averaged. targets:
    NaN where unknown. labels, departments: −100 where unknown. CE with soft labels of two logits is the logistic loss
    of their difference, so both forms share it.
    """
    gap = output.logits[:, first[:, 0], first[:, 1]] - output.logits[:, second[:, 0], second[:, 1]]
    wanted = preference.expand_as(gap)
    each = functional.binary_cross_entropy_with_logits(gap, wanted, reduction="none")
    classification = (weight * each).sum(1).mean()
    known = torch.isfinite(targets)
    errors = (output.regression - torch.where(known, targets, torch.zeros_like(targets))).square() * known
    regression = errors.sum() / (known.sum() * len(errors)).clamp(min=1)
    slots = output.logits.new_zeros(())
    if slot_groups:
        parts = output.slots.flatten(0, 1).split(slot_groups, dim=-1)
        for slot, part in enumerate(parts):
            label = labels[..., slot].flatten()
            named = (label >= 0).sum().clamp(min=1)
            slots = slots + functional.cross_entropy(part, label, ignore_index=-100, reduction="sum") / named
        slots = slots / len(slot_groups)
    if (departments >= 0).any():
        slots = slots + functional.cross_entropy(output.topics, departments, ignore_index=-100)
    return Losses(classification=classification, regression=regression, slots=slots)


class _Validation:
    """Loss on products that training does not see: soft labels of the ensemble, or names of slots alone."""

    def __init__(self, source: _FeatureSource, data: RewardData, *, config: RewardConfig) -> None:
        self.source, self.data, model = source, data, source.model
        self.rows = build_batch(data, form=model.form, rng=np.random.default_rng(0)).to(model.device)
        self.cached = source.all(data, self.rows) if config.trainable == "head" else None

    def loss(self, objective: _Objective) -> float:
        if objective.names_only:
            return self._naming_loss()
        gap, rows = self._gap(), self.rows
        each = functional.binary_cross_entropy_with_logits(gap, rows.preference, reduction="none")
        return float((rows.weight * each).sum() / rows.weight.sum())

    def temperature(self) -> float:
        """What the log-odds are best divided by; see `calibrate`."""
        if self.source.model.form == "single" and _counted(self.data):
            counts = _counts(self.data, self.rows, self.features())
            with torch.no_grad():
                scores = self.source.model.heads.eval()(counts.features).logits.mean(0)[:, 0].double().cpu().numpy()
            found = calibrate.temperature_of_counts(scores, counts.product, counts.clicks, counts.examinations)
            if found is not None:
                return found
        values = (self._gap(), self.rows.preference, self.rows.weight)
        return calibrate.temperature(*(value.double().cpu().numpy() for value in values))

    def features(self) -> Features:
        """Of the rows, as the backbone gives them now."""
        return self.cached if self.cached is not None else self.source.all(self.data, self.rows)

    @torch.no_grad()
    def _naming_loss(self) -> float:
        model, rows = self.source.model, self.rows
        output = model.heads.eval()(self.features())
        labels, departments = _labels(model, self.data), _departments(model, self.data, rows)
        nothing = torch.full_like(output.logits[0], math.nan)
        return float(
            reward_losses(
                output,
                first=rows.first, second=rows.second, preference=rows.preference, weight=rows.weight, targets=nothing,
                labels=labels.to(model.device)[rows.creatives], slot_groups=model.heads.shape.groups,
                departments=departments.to(model.device)[rows.product],
            ).slots
        )  # fmt: skip

    @torch.no_grad()
    def _gap(self) -> Tensor:
        """Log-odds of every pair, mean over the heads."""
        heads, rows = self.source.model.heads.eval(), self.rows
        logits = heads(self.features()).logits.mean(0)
        return logits[rows.first[:, 0], rows.first[:, 1]] - logits[rows.second[:, 0], rows.second[:, 1]]


@dataclass(frozen=True)
class _FeatureSource:
    """Features of rows: from the backbone, or from those of every creative that the caller has."""

    model: RewardModel
    known: Features | None

    def at(self, data: RewardData, rows: PairBatch) -> Features:
        """Of some rows; gradients flow if torch is recording them."""
        if self.known is not None:
            return self.known.take(rows.creatives[:, 0])
        places = rows.creatives.tolist()
        products = [data.product(sides[0]) for sides in places]
        pictures: list[Pictures] = [tuple(data.image(place) for place in sides) for sides in places]
        scenes: list[Scenes] | None = None
        if data.slots is not None:
            scenes = [tuple(data.slots[place] for place in sides) for sides in places]
        shape = self.model.heads.shape
        return extract(
            self.model.backbone, products, pictures, scenes=scenes,
            prices=self.model.prices, departments=shape.departments, slots=shape.slots,
            last_token=shape.hidden_width > 0,
        )  # fmt: skip

    @torch.no_grad()
    def all(self, data: RewardData, rows: PairBatch, *, limit: int | None = None) -> Features:
        """Of all rows (or the first ``limit``), computed once; a few hundred pictures are open at a time."""
        self.model.backbone.model.eval()
        count = len(rows.creatives) if limit is None else min(limit, len(rows.creatives))
        parts = [
            self.at(data, replace(rows, creatives=rows.creatives[start : min(start + 256, count)]))
            for start in range(0, count, 256)
        ]
        return concatenate(parts)


def _counted(data: RewardData) -> bool:
    """Whether any creative has counts; fitted to none, all effects would be 0."""
    if data.clicks is None or data.examinations is None:
        return False
    return bool((np.isfinite(data.clicks) & (data.examinations > 0)).any())


def _counts(data: RewardData, rows: PairBatch, features: Features) -> FeatureCounts:
    """The clicks of the rows' creatives."""
    assert data.clicks is not None
    assert data.examinations is not None
    places = rows.creatives[:, 0].cpu().numpy()
    return FeatureCounts(features, rows.product.cpu().numpy(), data.clicks[places], data.examinations[places])


def _labels(model: RewardModel, data: RewardData) -> Tensor:
    """Slot classes of every creative, (creative, slot), −100 where the scene is unknown."""
    scenes = data.slots if data.slots is not None else [None] * len(data.creative_ids)
    return slot_targets(model.slots, [scene if scene is not None else {} for scene in scenes])


def _departments(model: RewardModel, data: RewardData, rows: PairBatch) -> Tensor:
    """Department of the product of every row's product number, −100 where the heads do not know it."""
    products = [data.products[product_id] for product_id in rows.products]
    numbers = department_numbers(products, departments=model.heads.shape.departments)
    return torch.where(numbers < 0, -100, numbers)


def _prepare_backbone(model: RewardModel, config: RewardConfig) -> list[nn.Parameter]:
    """Freeze or free the backbone; returns its parameters that learn."""
    network = model.backbone.model
    network.requires_grad_(config.trainable == "full")
    if config.trainable == "lora":
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules="all-linear")
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # peft asks transformers for a property under its older name
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            torch.manual_seed(config.seed)
            network = get_peft_model(network, lora)
        model.backbone = replace(model.backbone, model=network)
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _finish_backbone(model: RewardModel, config: RewardConfig) -> None:
    """Fold the LoRA weights into the backbone, so that any program opens the checkpoint; leave everything frozen."""
    if config.trainable == "lora":
        merged = model.backbone.model.merge_and_unload()
        model.backbone = replace(model.backbone, model=merged)
    model.backbone.model.requires_grad_(False)
    model.backbone.model.eval()
    model.heads.eval()


def _set_training(model: RewardModel, config: RewardConfig) -> None:
    model.heads.train()
    model.backbone.model.train(config.trainable != "head")
