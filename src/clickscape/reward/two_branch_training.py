"""Train the paper's reward model by gradient: L = λ1 · CE + λ2 · MSE (Chen et al. 2025, section 3.2).

The CTR is the log CTR standardized within the product: the squared error of a raw one is about 1e-4 and teaches
nothing. Any image-text model is a backbone: frozen, with LoRA, or learning in full. Several processes share the pairs
of every batch, and the weights of a backbone that learns where `reward.shard` says so.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from clickscape.compute import fsdp
from clickscape.compute.device import ALONE, Processes
from clickscape.compute.optimizer import SummedAdamW
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

RIDGE, RATE_FLOOR = 3e-4, 0.05


def train(
    backbone: Backbone, data: RewardData, *, config: RewardConfig, processes: Processes = ALONE, **_names: object
) -> Generator[Step, None, TwoBranch]:
    """Learn from the pairs of the data; yields a step per optimizer step, returns the model. It names no slots.

    Validation products (whole groups) choose the epoch whose weights are kept, and the temperature. All processes call
    it with the same arguments; where weights are split, only the main one's model is whole. ModelError for a backbone
    without words, or data without a pair.
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
    whole = _prepare_backbone(model, config, processes)
    learned = {name: weight for name, weight in model.backbone.model.named_parameters() if weight.requires_grad}
    cached = config.trainable == "head"
    rows = _Rows(model, learning, rng=rng, cached=cached, processes=processes)
    validation = None
    if held_back is not None:
        validation = _Rows(model, held_back, rng=rng, cached=cached, processes=processes)
    yield Step(0, 1, "reading pictures")
    with torch.no_grad(), fsdp.gathered(model.backbone.core):
        model.branches.standardize(rows.hidden(np.arange(min(len(rows), 512))))
    emphasis = torch.from_numpy(rng.exponential(size=(HEADS, len(rows.names)))).float().to(backbone.device)
    heads = {f"branches/{name}": weight for name, weight in model.branches.named_parameters()}
    optimizer = SummedAdamW(
        heads | learned,
        processes=processes,
        weight_decay=config.weight_decay,
        rate_shares=dict.fromkeys(learned, BACKBONE_RATE),
    )
    trained = [*heads.values(), *learned.values()]
    total, number = config.epochs * math.ceil(len(rows.names) / config.products_per_batch), 0
    best, best_weights = math.inf, [parameter.detach().clone() for parameter in trained]
    for _ in range(config.epochs):
        order = rng.permutation(len(rows.names))
        for start in range(0, len(order), config.products_per_batch):
            rate = warmup_cosine(number, total, warmup_share=config.warmup_share, floor=RATE_FLOOR)
            model.backbone.model.train(config.trainable != "head")
            chosen = np.flatnonzero(np.isin(rows.product, order[start : start + config.products_per_batch]))
            share = emphasis[:, rows.product[chosen]] * config.products_per_batch**-1.0
            optimizer.zero_grad()
            fsdp.begin_pass(model.backbone.core)
            with fsdp.passes(model.backbone.core):
                loss = _loss(model, rows, chosen, share, config)
                ridge = RIDGE * sum(part.square().sum() for part in heads.values()) / HEADS
                (loss + ridge * processes.is_main).backward()  # once, for gradients are summed
            optimizer.step(rate=config.learning_rate * rate)
            processes.all_reduce([loss := loss.detach()])
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
    if fsdp.is_sharded(model.backbone.core):
        _put_together(model, learned, whole)
    if processes.is_main or not config.shard:
        _finish_backbone(model, config)
    return model


class _Rows:
    """Pairs of training data as the model sees them, each in one order drawn by chance."""

    def __init__(
        self,
        model: TwoBranch,
        data: RewardData,
        *,
        rng: np.random.Generator,
        cached: bool,
        processes: Processes = ALONE,
    ) -> None:
        self.model, self.data, self.processes = model, data, processes
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
                states = self._by_all(lambda rows: self.hidden(rows).cpu().numpy())
            self._cached = torch.from_numpy(states).to(device)

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

        def some(rows: np.ndarray) -> np.ndarray:
            hidden = self.hidden(rows) if not turned else self._states(self.places[rows, ::-1])
            logits, _ = self.model.branches(hidden)
            return np.asarray((logits[..., 0] - logits[..., 1]).mean(0).double().cpu().numpy())

        with fsdp.gathered(self.model.backbone.core):
            return self._by_all(some)

    def _by_all(self, work: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """What `work` gives of all rows, row by row; processes share the products, whose pairs share pictures."""
        if self.processes.count == 1:
            return work(np.arange(len(self)))
        groups = [np.flatnonzero(self.product == number) for number in range(len(self.names))]
        own = self.processes.share(groups)
        done = work(np.concatenate(own)) if own else np.zeros(0)
        ends = np.cumsum([len(rows) for rows in own])[:-1]
        found = np.concatenate(self.processes.gather(np.split(done, ends) if own else []))
        return np.asarray(found[np.argsort(np.concatenate(groups))])

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
    """λ1 · CE + λ2 · MSE of some pairs, mean over the heads; share: (head, pair), of the products.

    Of several processes each returns its part of the sum. All read equally many pairs, the last perhaps for nothing.
    """
    places, counted = rows.processes.even_share(np.arange(len(chosen)).tolist())
    own = torch.tensor(places)
    logits, ctr = model.branches(rows.hidden(chosen[places]))
    assert ctr is not None
    counts = torch.arange(len(places), device=logits.device) < counted
    targets = rows.targets[torch.from_numpy(rows.places[chosen].copy())]
    at = torch.from_numpy(chosen)[own]
    classification, regression = two_branch_losses(
        logits,
        ctr,
        preference=rows.preference[at],
        weight=share[:, own] * rows.weight[at] * counts,
        targets=torch.where(counts[:, None], targets[own], torch.nan),
        known_targets=int(torch.isfinite(targets).sum()),
    )
    return config.classification_weight * classification + config.regression_weight * regression


def two_branch_losses(
    logits: Float[Tensor, "head pair 2"],
    ctr: Float[Tensor, "head pair 2"],
    *,
    preference: Float[Tensor, " pair"],
    weight: Float[Tensor, "#head pair"],
    targets: Float[Tensor, "pair 2"],
    known_targets: int | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return CE (weights summed) and MSE (mean over known targets), averaged over the heads; targets: NaN if unknown.

    known_targets: of the whole batch, where these pairs are a part of it (None: they are all).
    CE with soft labels of two logits is the logistic loss of their difference.
    """
    gap = logits[..., 0] - logits[..., 1]
    each = functional.binary_cross_entropy_with_logits(gap, preference.expand_as(gap), reduction="none")
    known = torch.isfinite(targets)
    errors = (ctr - torch.where(known, targets, torch.zeros_like(targets))).square() * known
    count = int(known.sum()) if known_targets is None else known_targets
    return (weight * each).sum(1).mean(), errors.sum() / max(count * len(errors), 1)


def _prepare_backbone(model: TwoBranch, config: RewardConfig, processes: Processes) -> nn.Module | None:
    """Freeze or free the backbone, and split it if it learns and shall be; then the main process returns a copy."""
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
    if not config.shard or config.trainable == "head" or processes.count == 1:
        return None
    whole = copy.deepcopy(network).cpu() if processes.is_main else None
    fsdp.shard(model.backbone.core, processes=processes)
    return whole


@torch.no_grad()
def _put_together(model: TwoBranch, learned: Mapping[str, nn.Parameter], whole: nn.Module | None) -> None:
    """Give the copy of the backbone what was learned, and the model the copy; of the main process alone."""
    weights = fsdp.whole(learned, keep=whole is not None)
    if whole is None:
        return
    for name, weight in whole.named_parameters():
        if name in weights:
            weight.copy_(weights[name])
    model.backbone = replace(model.backbone, model=whole.to(model.backbone.device))


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
