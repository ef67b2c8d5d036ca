"""Train the paper's reward model by gradient: L = λ1 · CE + λ2 · MSE (Chen et al. 2025, section 3.2).

The CTR is the log CTR standardized within the product: the squared error of a raw one is about 1e-4 and teaches
nothing. Any image-text model is a backbone: frozen, with LoRA, or learning in full.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from clickscape.compute.schedules import warmup_cosine
from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.reward import calibrate
from clickscape.reward.data import RewardData, pair_weights, regression_targets, split
from clickscape.reward.encoders import Backbone, VisionEncoder
from clickscape.reward.protocol import Floats, Step
from clickscape.reward.two_branch import Branches, TwoBranch
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Estimate
from clickscape.vlm.model import VisionLanguageModel

HEADS = 6
"""Heads that weigh the products differently (Bayesian bootstrap); their spread is the model's uncertainty."""

ORDER_MARGIN = 0.002
"""Nats per pair that a second order may add at most, where one is enough."""

BACKBONE_RATE = 0.1
"""Learning rate of a trained backbone, as a share of the heads'."""

RIDGE, GRADIENT_NORM, RATE_FLOOR = 3e-4, 1.0, 0.05


def train(
    backbone: Backbone, data: RewardData, *, config: RewardConfig, **_names: object
) -> Generator[Step, None, TwoBranch]:
    """Learn from the pairs of the data; yields a step per optimizer step, returns the model. It names no slots.

    Validation products (whole groups) choose the epoch whose weights are kept, and the temperature. ModelError for a
    backbone without words, or data without a pair.
    """
    if isinstance(backbone, VisionEncoder):
        raise ModelError(f"{backbone.model_id}: an encoder sees one picture at a time, so it cannot hold two against "
                         f"each other. Use the effects form, or a vision-language model.")  # fmt: skip
    if not data.informative:
        raise ModelError("no pair of creatives says which is better (all ties, or none at all). "
                         "Collect more impressions, or lower the filter of the pairs.")  # fmt: skip
    rng = np.random.default_rng(config.seed)
    learning, held_back = split(data, share=config.validation_share, rng=rng)
    branches = Branches.untrained(backbone.hidden_size, heads=HEADS, seed=config.seed).to(backbone.device)
    model = TwoBranch(backbone, branches, side=_side(backbone) if config.image_tokens == "half" else None)
    learned_backbone = _prepare_backbone(model, config)
    rows = _Rows(model, learning, rng=rng, cached=config.trainable == "head")
    validation = None if held_back is None else _Rows(model, held_back, rng=rng, cached=config.trainable == "head")
    yield Step(0, 1, "reading pictures")
    model.branches.standardize(rows.hidden(np.arange(min(len(rows), 512))).detach())
    emphasis = torch.from_numpy(rng.exponential(size=(HEADS, len(rows.names)))).float().to(backbone.device)
    heads = list(model.branches.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": heads, "peak": config.learning_rate},
            {"params": learned_backbone, "peak": config.learning_rate * BACKBONE_RATE},
        ],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(0.9, 0.98),
    )
    trained = [*heads, *learned_backbone]
    total, number = config.epochs * math.ceil(len(rows.names) / config.products_per_batch), 0
    best, best_weights = math.inf, [parameter.detach().clone() for parameter in trained]
    for _ in range(config.epochs):
        order = rng.permutation(len(rows.names))
        for start in range(0, len(order), config.products_per_batch):
            rate = warmup_cosine(number, total, warmup_share=config.warmup_share, floor=RATE_FLOOR)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate
            model.backbone.model.train(config.trainable != "head")
            chosen = np.flatnonzero(np.isin(rows.product, order[start : start + config.products_per_batch]))
            share = emphasis[:, rows.product[chosen]] * config.products_per_batch**-1.0
            loss = _loss(model, rows, chosen, share, config)
            optimizer.zero_grad(set_to_none=True)
            (loss + RIDGE * sum(part.square().sum() for part in heads) / HEADS).backward()
            nn.utils.clip_grad_norm_(trained, GRADIENT_NORM)
            optimizer.step()
            number += 1
            yield Step(number, total, f"loss {loss.item():.3f}", loss.item())
        if validation is not None and (value := validation.cross_entropy()) < best:
            best, best_weights = value, [parameter.detach().clone() for parameter in trained]
    if validation is not None:
        with torch.no_grad():
            for parameter, kept in zip(trained, best_weights, strict=True):
                parameter.copy_(kept)
        gain = validation.settle_orders(np.random.default_rng(config.seed))
        asked = "one order is asked" if model.orders == 1 else "both orders are asked"
        yield Step(total, total, f"{asked}: the other one adds {gain.value:.4f} [{gain.low:.4f}, {gain.high:.4f}] nats")
    _finish_backbone(model, config)
    return model


class _Rows:
    """Pairs of training data as the model sees them, each in one order drawn by chance."""

    def __init__(self, model: TwoBranch, data: RewardData, *, rng: np.random.Generator, cached: bool) -> None:
        self.model, self.data = model, data
        turned = rng.random(len(data.pair_indices)) < 0.5
        self.places = np.where(turned[:, None], data.pair_indices[:, ::-1], data.pair_indices)
        preference = np.array([pair.preference for pair in data.informative])
        owners = [pair.product_id for pair in data.informative]
        device = model.backbone.device
        self.names, self.product = np.unique(owners, return_inverse=True)
        self.preference = torch.from_numpy(np.where(turned, 1 - preference, preference)).float().to(device)
        self.weight = torch.from_numpy(pair_weights(data.informative)).float().to(device)
        self.targets = torch.from_numpy(regression_targets(data)).float().to(device)
        self._cached: Tensor | None = None
        if cached:
            with torch.inference_mode():
                self._cached = self.hidden(np.arange(len(self))).clone()

    def __len__(self) -> int:
        return len(self.places)

    def hidden(self, rows: np.ndarray) -> Tensor:
        """Hidden states of some pairs; gradients flow if torch is recording them and nothing is cached."""
        if self._cached is not None:
            return self._cached[torch.from_numpy(rows)]
        return self._states(self.places[rows])

    def _states(self, places: np.ndarray) -> Tensor:
        """Hidden states of pairs, (pair, 2) places of left and right; an image is opened once."""
        opened = {int(place): self.data.image(int(place)) for place in np.unique(places)}
        questions = [self.model.question(self.data.product(int(left))) for left, _ in places]
        return self.model.hidden(questions, [(opened[int(left)], opened[int(right)]) for left, right in places])

    @torch.no_grad()
    def gaps(self, *, turned: bool = False) -> Floats:
        """Left − right of every pair, mean over the heads, (pair,); turned: with the sides exchanged."""
        self.model.backbone.model.eval()
        hidden = self.hidden(np.arange(len(self))) if not turned else self._states(self.places[:, ::-1])
        logits, _ = self.model.branches(hidden)
        return np.asarray((logits[..., 0] - logits[..., 1]).mean(0).double().cpu().numpy())

    def cross_entropy(self) -> float:
        """Weighted loss of the heads' mean, nats per pair."""
        weight = self.weight.double().cpu().numpy()
        return float((weight * self._losses(self.gaps())).sum() / weight.sum())

    def settle_orders(self, rng: np.random.Generator) -> Estimate:
        """Set temperature and number of orders of the model; return what the second order adds, nats per pair.

        One order is enough where the upper end of the interval, over products, is at most ORDER_MARGIN.
        """
        one, both = self.gaps(), (self.gaps() - self.gaps(turned=True)) / 2
        preference, weight = (value.double().cpu().numpy() for value in (self.preference, self.weight))
        temperatures = [calibrate.temperature(gaps, preference, weight) for gaps in (one, both)]
        gained = self._losses(one / temperatures[0]) - self._losses(both / temperatures[1])
        bootstrap = ClusterBootstrap.draw([self.names[number] for number in self.product], rng=rng)
        gain = bootstrap.mean(gained)
        self.model.orders = 1 if gain.high <= ORDER_MARGIN else 2
        self.model.branches.temperature.fill_(temperatures[self.model.orders - 1])
        return gain

    def _losses(self, gaps: Floats) -> Floats:
        """Cross-entropy of every pair, nats."""
        preference = self.preference.double().cpu().numpy()
        return np.asarray(np.logaddexp(0, gaps) - preference * gaps)


def _loss(model: TwoBranch, rows: _Rows, chosen: np.ndarray, share: Tensor, config: RewardConfig) -> Tensor:
    """λ1 · CE + λ2 · MSE of some pairs, mean over the heads; share: (head, pair), of the products."""
    logits, ctr = model.branches(rows.hidden(chosen))
    assert ctr is not None
    at = torch.from_numpy(chosen)
    targets = rows.targets[torch.from_numpy(rows.places[chosen].copy())]
    classification, regression = two_branch_losses(
        logits, ctr, preference=rows.preference[at], weight=share * rows.weight[at], targets=targets
    )
    return config.classification_weight * classification + config.regression_weight * regression


def two_branch_losses(
    logits: Float[Tensor, "head pair 2"],
    ctr: Float[Tensor, "head pair 2"],
    *,
    preference: Float[Tensor, " pair"],
    weight: Float[Tensor, "#head pair"],
    targets: Float[Tensor, "pair 2"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return CE (weights summed) and MSE (mean over known targets), averaged over the heads; targets: NaN if unknown.

    CE with soft labels of two logits is the logistic loss of their difference.
    """
    gap = logits[..., 0] - logits[..., 1]
    each = functional.binary_cross_entropy_with_logits(gap, preference.expand_as(gap), reduction="none")
    known = torch.isfinite(targets)
    errors = (ctr - torch.where(known, targets, torch.zeros_like(targets))).square() * known
    return (weight * each).sum(1).mean(), errors.sum() / (known.sum() * len(errors)).clamp(min=1)


def _prepare_backbone(model: TwoBranch, config: RewardConfig) -> list[nn.Parameter]:
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


def _finish_backbone(model: TwoBranch, config: RewardConfig) -> None:
    """Fold the LoRA weights into the backbone, so that any program opens the checkpoint; leave everything frozen."""
    if config.trainable == "lora":
        model.backbone = replace(model.backbone, model=model.backbone.model.merge_and_unload())
    model.backbone.model.requires_grad_(False)
    model.backbone.model.eval()
    model.branches.requires_grad_(False)


def _side(backbone: VisionLanguageModel) -> int:
    """Pixels of the largest square of whole patches of which two take no more tokens than one full square."""
    patch = int(backbone.core.config.vision_config.patch_size)
    return max(math.isqrt(backbone.image_tokens // 2), 1) * patch
