"""The paper's reward model: two images, left and right, a hidden state, and two branches on it (Chen et al. 2025).

An instruction names the product, the pictures follow it; of the last token's hidden state one linear branch says which
side is better and another what the CTRs are. L = λ1 · CE + λ2 · MSE, by gradient. The CTR is
the log CTR standardized within the product: the squared error of a raw one is about 1e-4 and teaches nothing. Any
image-text model is a backbone: frozen, with LoRA, or learning in full. Both orders are asked and averaged, or one that
chance draws where held-out pairs say that the other adds nothing. LLaVA computes what pairs share once (`pair_states`).
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, Field
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from clickscape.compute.schedules import warmup_cosine
from clickscape.compute.weights import read_tensors
from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.files import atomic_folder
from clickscape.json_files import parse_json, read_json
from clickscape.reward import calibrate, pair_states
from clickscape.reward.data import RewardData, pair_weights, regression_targets, split
from clickscape.reward.encoders import LARGEST_SIDE, Backbone, VisionEncoder
from clickscape.reward.features import last_hidden
from clickscape.reward.protocol import (
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
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Estimate, Product, Ranked
from clickscape.vlm import model as vlm_model
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import instruction

VERSION, FORM = 7, "two_branch"
SETTINGS_FILE, HEADS_FILE = "reward.json", "heads.safetensors"
REMEDY = "Train the reward model again."

HEADS = 6
"""Heads that weigh the products differently (Bayesian bootstrap); their spread is the model's uncertainty."""

MAX_COMPARED = 64
"""Pictures that are ranked at once; all pairs are looked at, in both orders."""

ORDER_MARGIN = 0.002
"""Nats per pair that a second order may add at most, where one is enough."""

BACKBONE_RATE = 0.1
"""Learning rate of a trained backbone, as a share of the heads'."""

RIDGE, GRADIENT_NORM, RATE_FLOOR = 3e-4, 1.0, 0.05

Views = tuple[Image, Image]


class Branches(nn.Module):
    """Linear maps of a hidden state to left and right: which is better, and the CTRs; parameters are (head, 2, hidden).

    shift, scale: (hidden,) what is taken from the state, and what it is divided by, before. ctr: None without a branch.
    """

    shift: Tensor
    scale: Tensor
    temperature: Tensor

    def __init__(self, score: Float[Tensor, "head 2 hidden"], ctr: Float[Tensor, "head 2 hidden"] | None) -> None:
        super().__init__()
        self.score = nn.Parameter(score)
        self.ctr = None if ctr is None else nn.Parameter(ctr)
        for name, value in (("shift", torch.zeros(score.shape[2])), ("scale", torch.ones(score.shape[2]))):
            self.register_buffer(name, value)
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, hidden: Float[Tensor, "sample hidden"]) -> tuple[Tensor, Tensor | None]:
        """Return logits and CTRs, each (head, sample, 2)."""
        state = (hidden - self.shift) / self.scale
        ctr = None if self.ctr is None else torch.einsum("eoh,nh->eno", self.ctr, state)
        return torch.einsum("eoh,nh->eno", self.score, state) / self.temperature, ctr

    @torch.no_grad()
    def standardize(self, hidden: Float[Tensor, "sample hidden"]) -> None:
        """Measure shift and scale, so that the branches see numbers of one size."""
        self.shift.copy_(hidden.mean(0))
        spread = hidden.std(0) if len(hidden) > 1 else torch.ones_like(self.scale)
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)) * math.sqrt(hidden.shape[1]))


class TwoBranch(RewardModel):
    """A backbone and the branches on it; see the module."""

    reads_sides = True
    chunk = 16  # pairs in one pass of the backbone

    def __init__(
        self, backbone: VisionLanguageModel, branches: Branches, *, side: int | None = None, orders: int = 2
    ) -> None:
        """side: pixels of each picture's square (LLaVA; None: what its tower is made for). orders: that are asked."""
        self.backbone, self.branches = backbone, branches
        self.side, self.orders = side or backbone.image_size, orders

    def with_given_scenes(self) -> TwoBranch:
        """Return the model itself: it reads no scenes."""
        return self

    def question(self, product: Product) -> str:
        """Return the instruction that names the product's words."""
        return instruction("describe", product, variant=0)

    def worded(self, asked: Sequence[str], questions: Sequence[str | None]) -> Sequence[str]:  # noqa: ARG002
        """Return the words to ask in: its own, for it was taught with no others."""
        return asked

    def hidden(self, questions: Sequence[str], pairs: Sequence[Views]) -> Float[Tensor, "pair hidden"]:
        """Return the last hidden states; gradients flow if torch records them."""
        if not self.backbone.is_llava:
            return self.one_by_one(questions, pairs)
        if torch.is_grad_enabled():
            lots = [slice(start, start + self.chunk) for start in range(0, len(pairs), self.chunk)]
            return torch.cat([
                pair_states.whole(self.backbone, questions[lot], pairs[lot], side=self.side) for lot in lots
            ])  # fmt: skip
        return pair_states.shared(self.backbone, questions, pairs, side=self.side, together=self.chunk)

    def one_by_one(self, questions: Sequence[str], pairs: Sequence[Views]) -> Float[Tensor, "pair hidden"]:
        """Return the last hidden states of pairs that share nothing, as the backbone's own processor writes them."""
        parts = [
            last_hidden(self.backbone, questions[start : start + self.chunk],
                        [self.shown(views) for views in pairs[start : start + self.chunk]])
            for start in range(0, len(pairs), self.chunk)
        ]  # fmt: skip
        return torch.cat(parts) if parts else torch.zeros(0, self.backbone.hidden_size, device=self.backbone.device)

    def shown(self, views: Views) -> Sequence[Image]:
        """Return what the backbone's processor is given of two images."""
        return views

    @torch.inference_mode()
    def outputs(self, questions: Sequence[str], pairs: Sequence[Views]) -> tuple[Floats, Floats | None]:
        """Return logits and CTRs of left and right in this order only, each (head, pair, 2)."""
        self.backbone.model.eval()
        logits, ctr = self.branches(self.hidden(questions, pairs))
        found = np.asarray(logits.double().cpu().numpy())
        if not np.isfinite(found).all():
            raise ModelError("the reward model's scores are not numbers: its weights are too large, or damaged. "
                             "Train it again.")  # fmt: skip
        return found, None if ctr is None else np.asarray(ctr.double().cpu().numpy())

    def side_by_side(
        self, products: Sequence[Product], pairs: Sequence[Views], questions: Sequence[str | None] = ()
    ) -> Odds:
        """Compare left and right as they are shown; see the protocol."""
        return _odds(self._gaps(products, pairs, questions))

    def odds(
        self,
        products: Sequence[Product],
        firsts: Sequence[Image],
        seconds: Sequence[Image],
        scenes: Sequence[Scenes] | None = None,
    ) -> Odds:
        """Compare pairs of images in both orders; see the protocol."""
        check_lengths(products, firsts, scenes)
        check_lengths(products, seconds)
        return _odds(self._both(products, list(zip(firsts, seconds, strict=True))))

    def score(
        self, products: Sequence[Product], images: Sequence[Image], scenes: Sequence[Slots | None] | None = None
    ) -> Floats:
        """Return mean log-odds against the other images of the same product in this call, 0 if there are none."""
        check_lengths(products, images, scenes)
        scores, rows = np.zeros(len(images)), dict[str, list[int]]()
        for row, product in enumerate(products):
            rows.setdefault(product.product_id, []).append(row)
        for own in rows.values():
            scores[own] = _against_others(self._all_gaps(products[own[0]], [images[row] for row in own])).mean(0)
        return scores

    def rank(
        self, product: Product, images: Sequence[Image], scenes: Sequence[Slots | None] | None = None
    ) -> list[Ranked]:
        """Return the images, best first; scores are mean log-odds against the others."""
        check_lengths([product] * len(images), images, scenes)
        gaps = self._all_gaps(product, images)
        own = _odds(_against_others(gaps))
        order = best_first(own.mean)
        return ranked(own.mean, own.sd, _odds(gaps[:, order[:-1], order[1:]]))

    def save(self, folder: Path) -> None:
        """Write backbone, settings and branches; the folder appears whole or not at all, an older one is replaced."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self.branches.state_dict().items()}
        settings = {
            "version": VERSION,
            "form": FORM,
            "heads": len(self.branches.score),
            "backbone": self.backbone.model_id,
            "side": self.side,
            "orders": self.orders,
        }
        with atomic_folder(Path(folder)) as waiting:
            vlm_model.save_into(self.backbone, waiting)
            save_file(weights, waiting / HEADS_FILE)
            (waiting / HEADS_FILE).chmod(0o644)
            (waiting / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def _gaps(
        self, products: Sequence[Product], pairs: Sequence[Views], questions: Sequence[str | None] = ()
    ) -> Floats:
        """Left logit − right logit as shown, (head, pair)."""
        asked: Sequence[str] = [self.question(product) for product in products]
        logits, _ = self.outputs(self.worded(asked, questions) if questions else asked, pairs)
        return np.asarray(logits[..., 0] - logits[..., 1])

    def _both(self, products: Sequence[Product], pairs: Sequence[Views]) -> Floats:
        """Log-odds of the first, (head, pair): mean of both orders, or of one that the pictures themselves draw."""
        signs = _signs(pairs)
        asked = [views if sign >= 0 else views[::-1] for views, sign in zip(pairs, signs, strict=True)]
        if self.orders == 1:
            return np.asarray(self._gaps(products, asked) * signs)
        gaps = self._gaps([*products, *products], [*asked, *(views[::-1] for views in asked)])
        return np.asarray((gaps[:, : len(pairs)] - gaps[:, len(pairs) :]) / 2 * signs)

    def _all_gaps(self, product: Product, images: Sequence[Image]) -> Floats:
        """Log-odds of every image against every other, (head, image, image), antisymmetric."""
        if len(images) > MAX_COMPARED:
            raise ModelError(
                f"this model compares all pairs: {len(images)} images of {product.product_id!r} are too many "
                f"(at most {MAX_COMPARED}). Use the effects form, or ask for fewer at a time."
            )
        gaps = np.zeros((len(self.branches.score), len(images), len(images)))
        places = list(combinations(range(len(images)), 2))
        if places:
            left, right = (list(side) for side in zip(*places, strict=True))
            values = self._both([product] * len(places), [(images[one], images[two]) for one, two in places])
            gaps[:, left, right], gaps[:, right, left] = values, -values
        return gaps


def _signs(pairs: Sequence[Views]) -> Floats:
    """Draw which of two pictures stands left, (pair,): 1 the first, −1 the second, 0 where both are the same.

    The pixels draw, so that a pair is asked alike whoever comes first; no picture stands left more often than others.
    """
    pictures, places = unique([picture for pair in pairs for picture in pair])
    digests = [
        int.from_bytes(hashlib.blake2b(picture.tobytes(), digest_size=8, key=str(picture.shape).encode()).digest())
        for picture in pictures
    ]
    signs = []
    for first, second in zip(places[::2], places[1::2], strict=True):
        one, other = digests[first], digests[second]
        drawn = 1.0 if (one ^ other).bit_count() % 2 else -1.0
        signs.append(0.0 if one == other else drawn if one < other else -drawn)
    return np.array(signs)


def _odds(gaps: Floats) -> Odds:
    """Mean and spread of the heads' log-odds, (head, pair) → (pair,); one head has no spread."""
    sd = gaps.std(0, ddof=1) if len(gaps) > 1 else np.full(gaps.shape[1:], np.nan)
    return Odds(gaps.mean(0), sd)


def _against_others(gaps: Floats) -> Floats:
    """Mean log-odds against the other images, (head, image, image) → (head, image); 0 for an only image."""
    return np.asarray(gaps.sum(2) / max(gaps.shape[2] - 1, 1))


class _Settings(BaseModel, frozen=True):
    version: Literal[7]
    heads: int = Field(ge=1, le=1000)
    side: int = Field(ge=1, le=LARGEST_SIDE)
    orders: int = Field(ge=1, le=2)


def load(folder: Path, *, device: str = "cpu") -> TwoBranch:
    """Open what `TwoBranch.save` wrote; ModelError for anything missing, damaged or of another kind."""
    file = folder / SETTINGS_FILE
    raw = read_json(file, dict[str, Any], error=ModelError, remedy=REMEDY)
    settings = parse_json(json.dumps(raw), _Settings, where=str(file), error=ModelError, remedy=REMEDY)
    backbone = vlm_model.load(folder, dtype="auto" if device == "cpu" else "stored", device=device)
    branches = _untrained(backbone, heads=settings.heads, seed=0)
    shapes = {name: value.shape for name, value in branches.state_dict().items()}
    tensors, _ = read_tensors(folder / HEADS_FILE, shapes=shapes, remedy=REMEDY)
    branches.load_state_dict(tensors)
    branches.requires_grad_(False).to(backbone.device)
    return TwoBranch(backbone, branches, side=settings.side, orders=settings.orders)


def _side(backbone: VisionLanguageModel) -> int:
    """Pixels of the largest square of whole patches of which two take no more tokens than one full square."""
    patch = int(backbone.core.config.vision_config.patch_size)
    return max(math.isqrt(backbone.image_tokens // 2), 1) * patch


def _untrained(backbone: VisionLanguageModel, *, heads: int, seed: int) -> Branches:
    generator = torch.Generator().manual_seed(seed)
    shape = (heads, 2, backbone.hidden_size)
    return Branches(0.01 * torch.randn(shape, generator=generator), 0.01 * torch.randn(shape, generator=generator))


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
    branches = _untrained(backbone, heads=HEADS, seed=config.seed).to(backbone.device)
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
