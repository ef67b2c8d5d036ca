"""The paper's reward model as its authors trained it: one picture of two halves, two linear maps on one hidden state.

It is asked in the original's words and shown the original's picture (both ads at 512 × 512, side by side, in tiles), so
a converted checkpoint computes what it computed there; in all else it is a `TwoBranch` of one head. The public
checkpoint was trained on questions that do not name the product; `instruction` may name it with `{product}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from clickscape import model_card
from clickscape.compute.weights import read_tensors
from clickscape.errors import ModelError
from clickscape.files import atomic_folder
from clickscape.json_files import read_json
from clickscape.reward.features import side_by_side
from clickscape.reward.protocol import Image
from clickscape.reward.two_branch import HEADS_FILE, SETTINGS_FILE, Branches, TwoBranch, Views
from clickscape.types import Product
from clickscape.vlm import model as vlm_model
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import MAX_TITLE, sanitize

FORM, VERSION = "paper", 1
INSTRUCTION = "Which part will bring more click-through rate in this image?"
"""One of the questions on which the public checkpoint was trained."""

SIDE = 512
"""Pixels of each ad's square in the picture of both."""

_REMEDY = "Convert the checkpoint again with `clickscape convert`."


class CaigRewardModel(TwoBranch):
    """A converted reward model of the paper; see the module. Its CTRs are in the unit that it was trained on."""

    chunk = 8  # each picture is up to five tiles

    def __init__(
        self,
        backbone: VisionLanguageModel,
        branches: Branches,
        *,
        instruction: str = INSTRUCTION,
        side: int = SIDE,
        orders: int = 2,
    ) -> None:
        super().__init__(backbone, branches, side=side, orders=orders)
        self.instruction = instruction

    def question(self, product: Product) -> str:
        """Return the question about a product: the instruction, with the product's title where it wants one."""
        return self.instruction.replace("{product}", sanitize(product.title, limit=MAX_TITLE))

    def hidden(self, questions: Sequence[str], pairs: Sequence[Views]) -> Float[Tensor, "pair hidden"]:
        """Return the last hidden states; the tower sees both ads as one picture, so pairs share nothing exactly."""
        return self.one_by_one(questions, pairs)

    def shown(self, views: Views) -> Sequence[Image]:
        """Return one picture of two halves; ads of another shape are stretched, as the original does."""
        return [side_by_side(views, size=self.side)]

    def worded(self, asked: Sequence[str], questions: Sequence[str | None]) -> Sequence[str]:
        """Return the given questions where there are such: the original was trained on several."""
        return [question or own for question, own in zip(questions, asked, strict=True)]

    def save(self, folder: Path) -> None:
        """Write backbone, settings and heads; the folder appears whole or not at all, an older one is replaced."""
        heads = {"score": self.branches.score.detach()[0]}
        if self.branches.ctr is not None:
            heads["ctr"] = self.branches.ctr.detach()[0]
        with atomic_folder(Path(folder)) as waiting:
            vlm_model.save_into(self.backbone, waiting)
            model_card.write(waiting, model_card.REWARD, base=self.backbone.model_id, tags=[FORM])
            write_heads(waiting, heads, instruction=self.instruction, side=self.side, orders=self.orders)


def write_heads(
    folder: Path,
    heads: dict[str, Float[Tensor, "2 hidden"]],
    *,
    instruction: str = INSTRUCTION,
    side: int = SIDE,
    orders: int = 2,
) -> None:
    """Write heads (`score`, perhaps `ctr`) and settings beside a backbone."""
    save_file({name: value.cpu().contiguous() for name, value in heads.items()}, folder / HEADS_FILE)
    (folder / HEADS_FILE).chmod(0o644)
    settings = {"version": VERSION, "form": FORM, "instruction": instruction, "side": side, "orders": orders}
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def load(folder: Path, *, device: str = "cpu") -> CaigRewardModel:
    """Open what `clickscape convert` wrote. ModelError for anything missing, damaged or of another kind."""
    file = folder / SETTINGS_FILE
    try:
        settings = read_json(file, dict[str, Any], error=ModelError, remedy=_REMEDY)
        version, instruction, side = settings["version"], settings["instruction"], settings["side"]
        orders = settings.get("orders", 2)
    except (OSError, KeyError) as error:
        raise ModelError(f"{file}: damaged ({error}). {_REMEDY}") from None
    if version != VERSION:
        raise ModelError(f"{file}: version {version!r}, this release reads {VERSION}. {_REMEDY}")
    if not (isinstance(instruction, str) and instruction.strip() and isinstance(side, int) and side > 0):
        raise ModelError(f"{file}: instruction must be words and side a number of pixels > 0. {_REMEDY}")
    if orders not in (1, 2):
        raise ModelError(f"{file}: orders is {orders!r}, expected 1 or 2: in how many orders a pair is asked.")
    heads, _ = read_tensors(folder / HEADS_FILE, remedy=_REMEDY)
    backbone = vlm_model.load(folder, dtype="auto" if device == "cpu" else "stored", device=device)
    wanted = (2, backbone.hidden_size)
    for name in {"score", *heads}:
        found = tuple(heads[name].shape) if name in heads else None
        if found != wanted or name not in ("score", "ctr"):
            raise ModelError(f"{folder / HEADS_FILE}: {name!r} has the shape {found}, expected 'score' and perhaps "
                             f"'ctr' of {wanted}. {_REMEDY}")  # fmt: skip
    ctr = heads.get("ctr")
    made = Branches(heads["score"][None].float(), None if ctr is None else ctr[None].float())
    made.requires_grad_(False).to(backbone.device)
    return CaigRewardModel(backbone, made, instruction=instruction, side=side, orders=orders)
