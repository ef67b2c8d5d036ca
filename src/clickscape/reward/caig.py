"""The paper's reward model as its authors trained it: one picture of two halves, two linear maps on one hidden state.

It is asked in the original's words and shown the original's picture (both ads at 512 × 512, side by side, in tiles), so
a converted checkpoint computes what it computed there; in all else it is a `RewardModel` of the pair form. The
public checkpoint was trained on questions that do not name the product; `instruction` may name it with `{product}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from clickscape.compute.weights import read_tensors
from clickscape.errors import ModelError, WorkspaceError
from clickscape.files import atomic_folder
from clickscape.json_files import read_json
from clickscape.reward.checkpoint import HEADS_FILE, SETTINGS_FILE
from clickscape.reward.features import Pictures, Scenes
from clickscape.reward.heads import Features, HeadOutput, HeadShape
from clickscape.reward.model import RewardModel
from clickscape.types import Product
from clickscape.vlm import batch as vlm_batch
from clickscape.vlm import model as vlm_model
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import MAX_TITLE, sanitize

FORM, VERSION = "paper", 1
INSTRUCTION = "Which part will bring more click-through rate in this image?"
"""One of the questions on which the public checkpoint was trained."""

SIDE = 512
"""Pixels of each ad's square in the picture of both."""

CHUNK = 8
"""Pictures in one pass; each is up to five tiles."""

_REMEDY = "Convert the checkpoint again with `clickscape convert`."


@dataclass(frozen=True, slots=True)
class SideBySideScores:
    """Outputs for side-by-side pictures: logits, ctr: (picture, 2), left and right.

    `ctr` is in the unit of the CTRs that the checkpoint was trained on; None for a checkpoint without that branch.
    """

    logits: np.ndarray
    ctr: np.ndarray | None


class CaigHeads(nn.Module):
    """Two linear maps without bias, hidden state → left and right: which is better, and the CTRs."""

    def __init__(self, score: Float[Tensor, "2 hidden"], ctr: Float[Tensor, "2 hidden"] | None) -> None:
        super().__init__()
        self.score = nn.Parameter(score)
        self.ctr = None if ctr is None else nn.Parameter(ctr)

    @property
    def shape(self) -> HeadShape:
        """One head of the pair form that looks at nothing but the last hidden state."""
        return HeadShape(sides=2, vision_width=0, text_width=0, hidden_width=self.score.shape[1], ensemble=1)

    def forward(self, features: Features, *, noise: torch.Generator | None = None) -> HeadOutput:  # noqa: ARG002
        """Both maps of every sample; there are no slots and no topics."""
        logits = (features.hidden @ self.score.T)[None]
        regression = logits.new_zeros(logits.shape) if self.ctr is None else (features.hidden @ self.ctr.T)[None]
        nothing = logits.new_zeros(len(features.hidden), 0)
        return HeadOutput(
            logits=logits, regression=regression, slots=nothing[:, None].expand(-1, 2, -1), topics=nothing
        )


class CaigRewardModel(RewardModel):
    """A converted reward model of the paper; see the module."""

    def __init__(
        self, backbone: VisionLanguageModel, heads: CaigHeads, *, instruction: str = INSTRUCTION, side: int = SIDE
    ) -> None:
        super().__init__(backbone, heads)  # type: ignore[arg-type]  # other heads, of the same shape and output
        self.caig_backbone, self.caig_heads = backbone, heads
        self.instruction = instruction
        self.side = side

    @torch.inference_mode()
    def score_side_by_side(self, questions: Sequence[str], pictures: Sequence[Pictures]) -> SideBySideScores:
        """Return logits and CTRs of each (left, right) for a given question, in this order only."""
        output = self.caig_heads(self._features(questions, pictures))
        return SideBySideScores(
            logits=np.asarray(output.logits[0].double().cpu().numpy()),
            ctr=None if self.caig_heads.ctr is None else np.asarray(output.regression[0].double().cpu().numpy()),
        )

    @torch.inference_mode()
    def features(
        self, products: Sequence[Product], pictures: Sequence[Pictures], _scenes: Sequence[Scenes] | None = None
    ) -> Features:
        """The last hidden state after picture and question; there is nothing else to keep."""
        return self._features([self.question(product) for product in products], pictures)

    def question(self, product: Product) -> str:
        """Return the question about a product: the instruction, with the product's title where it wants one."""
        return self.instruction.replace("{product}", sanitize(product.title, limit=MAX_TITLE))

    def save(self, folder: Path) -> None:
        """Write backbone, settings and heads; the folder appears whole or not at all, an older one is replaced."""
        heads = {name: value.detach() for name, value in self.caig_heads.state_dict().items()}
        with atomic_folder(Path(folder)) as waiting:
            vlm_model.save_into(self.caig_backbone, waiting)
            write_heads(waiting, heads, instruction=self.instruction, side=self.side)

    def _features(self, questions: Sequence[str], pictures: Sequence[Pictures]) -> Features:
        self.backbone.model.eval()
        rows = []
        for start in range(0, len(questions), CHUNK):
            chunk = pictures[start : start + CHUNK]
            samples = [
                vlm_batch.Sample(question, (side_by_side(views, side=self.side),))
                for question, views in zip(questions[start : start + CHUNK], chunk, strict=True)
            ]
            batch = vlm_batch.collate(self.caig_backbone, samples, side="right", answers=False)
            states = vlm_batch.forward(self.caig_backbone, batch).float()
            last = batch.attention_mask.sum(1) - 1
            rows.append(states[torch.arange(len(states)), last])
        width = self.backbone.hidden_size
        hidden = torch.cat(rows) if rows else torch.zeros(0, width)
        nothing = hidden.new_zeros(len(hidden), 0)
        return Features(
            vision=nothing[:, None].expand(-1, 2, -1), text=nothing, hidden=hidden, price_features=nothing,
            image_statistics=nothing[:, None].expand(-1, 2, -1), department=torch.full((len(hidden),), -1),
            scene=torch.zeros(len(hidden), 2, 0, dtype=torch.long),
        )  # fmt: skip


def side_by_side(views: Pictures, *, side: int) -> np.ndarray:
    """The picture of two halves, (side, 2 · side, 3); ads of another shape are stretched, as the original does."""
    if len(views) != 2:
        raise ModelError(f"the paper's form looks at 2 pictures at once, got {len(views)}. Name two images.")
    sized = [Image.fromarray(view).resize((side, side), Image.Resampling.BICUBIC) for view in views]
    return np.concatenate([np.asarray(view) for view in sized], axis=1)


def write_heads(
    folder: Path, heads: dict[str, Float[Tensor, "2 hidden"]], *, instruction: str = INSTRUCTION, side: int = SIDE
) -> None:
    """Write heads (`score`, perhaps `ctr`) and settings beside a backbone."""
    save_file({name: value.cpu().contiguous() for name, value in heads.items()}, folder / HEADS_FILE)
    (folder / HEADS_FILE).chmod(0o644)
    settings = {"version": VERSION, "form": FORM, "instruction": instruction, "side": side}
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def is_caig(folder: Path) -> bool:
    """Whether a folder's settings say that it is of this form; False for anything that cannot be read."""
    try:
        return read_json(folder / SETTINGS_FILE, dict[str, Any]).get("form") == FORM
    except (OSError, WorkspaceError):
        return False


def load(folder: Path, *, device: str = "cpu") -> CaigRewardModel:
    """Open what `clickscape convert` wrote. ModelError for anything missing, damaged or of another kind."""
    file = folder / SETTINGS_FILE
    try:
        settings = read_json(file, dict[str, Any], error=ModelError, remedy=_REMEDY)
        version, instruction, side = settings["version"], settings["instruction"], settings["side"]
    except (OSError, KeyError) as error:
        raise ModelError(f"{file}: damaged ({error}). {_REMEDY}") from None
    if version != VERSION:
        raise ModelError(f"{file}: version {version!r}, this release reads {VERSION}. {_REMEDY}")
    if not (isinstance(instruction, str) and instruction.strip() and isinstance(side, int) and side > 0):
        raise ModelError(f"{file}: instruction must be words and side a number of pixels > 0. {_REMEDY}")
    heads, _ = read_tensors(folder / HEADS_FILE, remedy=_REMEDY)
    backbone = vlm_model.load(folder, dtype="auto" if device == "cpu" else "stored", device=device)
    wanted = (2, backbone.hidden_size)
    for name in {"score", *heads}:
        found = tuple(heads[name].shape) if name in heads else None
        if found != wanted or name not in ("score", "ctr"):
            raise ModelError(f"{folder / HEADS_FILE}: {name!r} has the shape {found}, expected 'score' and perhaps "
                             f"'ctr' of {wanted}. {_REMEDY}")  # fmt: skip
    made = CaigHeads(heads["score"], heads.get("ctr")).requires_grad_(False).to(backbone.device)
    return CaigRewardModel(backbone, made, instruction=instruction, side=side)
