"""The paper's reward model: two images, left and right, a hidden state, and two branches on it (Chen et al. 2025).

An instruction names the product, the pictures follow it; of the last token's hidden state one linear branch says which
side is better and another what the CTRs are (`two_branch_training` teaches both). Both orders are asked and averaged,
or one that chance draws where held-out pairs say that the other adds nothing. LLaVA computes what pairs share once
(`pair_states`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, Field
from safetensors.torch import save_file
from torch import Tensor, nn

from clickscape import model_card
from clickscape.compute.weights import read_tensors
from clickscape.errors import ModelError
from clickscape.files import atomic_folder
from clickscape.json_files import parse_json, read_json
from clickscape.reward import pair_states
from clickscape.reward.encoders import LARGEST_SIDE
from clickscape.reward.features import last_hidden
from clickscape.reward.protocol import (
    Floats,
    Image,
    Odds,
    RewardModel,
    Scenes,
    Slots,
    best_first,
    check_lengths,
    ranked,
    unique,
)
from clickscape.types import Product, Ranked
from clickscape.vlm import model as vlm_model
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import instruction

VERSION, FORM = 7, "two_branch"
SETTINGS_FILE, HEADS_FILE = "reward.json", "heads.safetensors"
REMEDY = "Train the reward model again."

MAX_COMPARED = 64
"""Pictures that are ranked at once; all pairs are looked at, in both orders."""

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

    @classmethod
    def untrained(cls, hidden_size: int, *, heads: int, seed: int) -> Branches:
        """Return branches with small random weights, on hidden states of `hidden_size`."""
        generator = torch.Generator().manual_seed(seed)
        shape = (heads, 2, hidden_size)
        return cls(0.01 * torch.randn(shape, generator=generator), 0.01 * torch.randn(shape, generator=generator))

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
            model_card.write(waiting, model_card.REWARD, base=self.backbone.model_id, tags=[FORM])
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
    branches = Branches.untrained(backbone.hidden_size, heads=settings.heads, seed=0)
    shapes = {name: value.shape for name, value in branches.state_dict().items()}
    tensors, _ = read_tensors(folder / HEADS_FILE, shapes=shapes, remedy=REMEDY)
    branches.load_state_dict(tensors)
    branches.requires_grad_(False).to(backbone.device)
    return TwoBranch(backbone, branches, side=settings.side, orders=settings.orders)
