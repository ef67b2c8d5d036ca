"""Training of a reward model: L = λ1·CE + λ2·MSE (Chen et al. 2025, section 3.2) + a loss that names the slots.

With `trainable = "head"` the backbone is frozen and every picture passes it once; epochs then cost seconds. `lora` and
`full` pass the backbone at every step. Validation products (whole groups) choose the epoch whose weights are kept.
Where the log has counts, what elements are worth is then solved from them (`worths`); validation sets the temperature.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clickscape.compute.schedules import warmup_cosine
from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.reward.calibrate import temperature, temperature_of_counts
from clickscape.reward.data import RewardData, regression_targets, split
from clickscape.reward.features import Pictures, Scenes, concatenate, department_numbers, extract
from clickscape.reward.heads import RIDGE, Features, HeadOutput, slot_targets
from clickscape.reward.model import RewardModel
from clickscape.reward.rows import Rows, lay_out, pick
from clickscape.reward.worths import Counts, can_settle, settle

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
    """The parts of the loss, each a scalar tensor."""

    classification: Tensor
    regression: Tensor
    slots: Tensor


def train(
    model: RewardModel,
    data: RewardData,
    *,
    config: RewardConfig,
    rng: np.random.Generator,
    features: Features | None = None,
) -> Iterator[Step]:
    """Fit the heads (and the backbone, if ``config.trainable`` says so) in place, one `Step` per optimizer step.

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
    seen, held = split(data, share=config.validation_share, rng=rng)
    rows = lay_out(seen, form=model.form, rng=rng)
    backbone = _prepare_backbone(model, config)
    look = _Looker(model, features)
    cached = look.all(seen, rows) if config.trainable == "head" else None
    model.heads.standardize(cached if cached is not None else look.all(seen, rows, limit=512))
    device = model.device
    targets = torch.from_numpy(regression_targets(data, target=config.regression_target)).float().to(device)
    labels = _labels(model, data).to(device)
    departments = _departments(model, seen, rows).to(device)
    # Every head weighs the products its own way (Bayesian bootstrap): the heads differ as new data would make them.
    emphasis = torch.from_numpy(rng.exponential(size=(model.heads.shape.ensemble, len(rows.products)))).float()
    emphasis = emphasis.to(device)
    noise = torch.Generator().manual_seed(int(rng.integers(2**31)))
    validation = _Validation(look, held, config=config) if held is not None else None

    optimizer = torch.optim.AdamW(
        [
            {"params": list(model.heads.parameters()), "peak": config.learning_rate},
            {"params": backbone, "peak": config.learning_rate * BACKBONE_RATE},
        ],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(0.9, 0.98),
    )
    trained = [*model.heads.parameters(), *backbone]
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
            picked, batch = pick(rows, chosen)
            batch = batch.on(device)
            _set_training(model, config)
            shown = cached.take(picked) if cached is not None else look.at(seen, batch)
            output = model.heads(shown, noise=noise)
            losses = reward_losses(
                output,
                first=batch.first, second=batch.second, preference=batch.preference,
                weight=batch.weight * emphasis[:, batch.pair_product] / len(chosen),
                targets=targets[batch.creatives], labels=labels[batch.creatives], slot_groups=model.heads.shape.groups,
                departments=departments[batch.product],
            )  # fmt: skip
            loss = (
                config.classification_weight * losses.classification
                + config.regression_weight * losses.regression
                + config.slot_weight * losses.slots
            )
            penalized = loss + RIDGE * model.heads.penalty()
            optimizer.zero_grad(set_to_none=True)
            penalized.backward()
            nn.utils.clip_grad_norm_(trained, GRADIENT_NORM)
            optimizer.step()
            number += 1
            last = start + config.products_per_batch >= len(order)
            value = validation.loss() if validation is not None and last else None
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
    if config.worths == "clicks" and can_settle(model.heads) and _counted(seen):
        counts = _counts(seen, rows, cached if cached is not None else look.all(seen, rows))
        settle(model.heads, counts, rng=rng)
        # Scores are log CTRs now; what makes probabilities of them is best measured where they were not learned.
        measure = validation or _Validation(look, seen, config=config)
        sharpness = measure.temperature()
        if validation is not None and held is not None and _counted(held):
            counts = counts.with_more(_counts(held, validation.rows, validation.features()))
            settle(model.heads, counts, rng=rng)
        model.heads.temperature.fill_(sharpness)
    elif validation is not None:
        model.heads.temperature.fill_(validation.temperature())
    _finish_backbone(model, config)


def reward_losses(
    output: HeadOutput,
    *,
    first: Tensor,
    second: Tensor,
    preference: Tensor,
    weight: Tensor,
    targets: Tensor,
    labels: Tensor,
    slot_groups: tuple[int, ...],
    departments: Tensor,
) -> Losses:
    """Classification, regression and slot loss, each averaged over the heads.

    first, second: (pair, 2) row and side. preference: (pair,) P(first better). weight: (head, pair), summed, not
    averaged. targets: (row, side), NaN where unknown. labels: (row, side, slot), −100 where unknown. CE with soft
    labels of two logits is the logistic loss of their difference, so both forms share it.
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
    """Soft-label loss of the ensemble on products that training does not see."""

    def __init__(self, look: _Looker, held: RewardData, *, config: RewardConfig) -> None:
        self.look, self.held, model = look, held, look.model
        self.rows = lay_out(held, form=model.form, rng=np.random.default_rng(0)).on(model.device)
        self.cached = look.all(held, self.rows) if config.trainable == "head" else None

    def loss(self) -> float:
        gap, rows = self._gap(), self.rows
        each = functional.binary_cross_entropy_with_logits(gap, rows.preference, reduction="none")
        return float((rows.weight * each).sum() / rows.weight.sum())

    def temperature(self) -> float:
        """What the log-odds are best divided by; see `calibrate`."""
        if self.look.model.form == "single" and _counted(self.held):
            counts = _counts(self.held, self.rows, self.features())
            with torch.no_grad():
                scores = self.look.model.heads.eval()(counts.features).logits.mean(0)[:, 0].double().cpu().numpy()
            found = temperature_of_counts(scores, counts.product, counts.clicks, counts.examinations)
            if found is not None:
                return found
        values = (self._gap(), self.rows.preference, self.rows.weight)
        return temperature(*(value.double().cpu().numpy() for value in values))

    def features(self) -> Features:
        """Of the rows, as the backbone gives them now."""
        return self.cached if self.cached is not None else self.look.all(self.held, self.rows)

    @torch.no_grad()
    def _gap(self) -> Tensor:
        """Log-odds of every pair, mean over the heads."""
        heads, rows = self.look.model.heads.eval(), self.rows
        logits = heads(self.features()).logits.mean(0)
        return logits[rows.first[:, 0], rows.first[:, 1]] - logits[rows.second[:, 0], rows.second[:, 1]]


@dataclass(frozen=True)
class _Looker:
    """Features of rows: by looking, or from those of every creative that the caller has."""

    model: RewardModel
    known: Features | None

    def at(self, data: RewardData, rows: Rows) -> Features:
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
    def all(self, data: RewardData, rows: Rows, *, limit: int | None = None) -> Features:
        """Of all rows (or the first ``limit``), computed once; a few hundred pictures are open at a time."""
        self.model.backbone.model.eval()
        count = len(rows.creatives) if limit is None else min(limit, len(rows.creatives))
        parts = [
            self.at(data, replace(rows, creatives=rows.creatives[start : min(start + 256, count)]))
            for start in range(0, count, 256)
        ]
        return concatenate(parts)


def _counted(data: RewardData) -> bool:
    """Whether any creative has counts; solving from none would make all worths nothing."""
    if data.clicks is None or data.examinations is None:
        return False
    return bool((np.isfinite(data.clicks) & (data.examinations > 0)).any())


def _counts(data: RewardData, rows: Rows, features: Features) -> Counts:
    """The clicks of the creatives that taught the heads to see."""
    assert data.clicks is not None
    assert data.examinations is not None
    places = rows.creatives[:, 0].cpu().numpy()
    return Counts(features, rows.product.cpu().numpy(), data.clicks[places], data.examinations[places])


def _labels(model: RewardModel, data: RewardData) -> Tensor:
    """Slot classes of every creative, (creative, slot), −100 where the scene is unknown."""
    scenes = data.slots if data.slots is not None else [None] * len(data.creative_ids)
    return slot_targets(model.slots, [scene if scene is not None else {} for scene in scenes])


def _departments(model: RewardModel, data: RewardData, rows: Rows) -> Tensor:
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
