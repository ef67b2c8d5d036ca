"""The pairwise test list of the paper's code: two ads of a product side by side, and which of them was clicked more.

A JSON list; every row has `image` (one picture of two halves, or a list of two), `target` ("left" or "right") or
`left_ctr` and `right_ctr`, and may have an `id` ("product_number"), a caption, and the question as it was asked. All
rows are checked before any model looks at one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from clickscape.catalog.formats.row import parse_json, shown, words
from clickscape.catalog.images import check_image, open_image
from clickscape.errors import ImageError, LogError
from clickscape.regular_files import read_bytes, real_path
from clickscape.reward.protocol import RewardModel
from clickscape.stats.accuracy import pair_agreement
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Estimate, Product
from clickscape.vlm.batch import WIDE

UNNAMED = "product"
"""Title of a product whose row says nothing about it."""

_PRODUCT_KEYS, _CAPTION_KEYS = ("product_id", "item_id", "sku"), ("new_caption", "caption", "title")
_QUOTED = re.compile(r"product '(.+)'")


@dataclass(frozen=True, slots=True)
class ListedPair:
    """One row: a product, its pictures (one of two halves, or left and right), and which side was clicked more.

    `question`: the words in which the paper's code asks, None when the row has none.
    """

    product: Product
    images: tuple[Path, ...]
    better: Literal["left", "right"]
    question: str | None = None

    def views(self) -> tuple[np.ndarray, np.ndarray]:
        """The left and the right ad, each uint8 (height, width, 3) sRGB."""
        pictures = [open_image(path)[..., :3] for path in self.images]
        if len(pictures) == 2:
            return pictures[0], pictures[1]
        half = pictures[0].shape[1] // 2
        return pictures[0][:, :half], pictures[0][:, -half:]


@dataclass(frozen=True, slots=True)
class PairwiseListReport:
    """How often a model agrees with the list; intervals are over products, whose pairs are not independent.

    accuracy: both orders averaged. as_shown: the paper's way, in the list's own order only. takes_left: how often the
    left is preferred over both orders (½ is unbiased). left_targets: how often the list says "left". as_shown and
    takes_left are None for a model that looks at one picture at a time.
    """

    rows: int
    products: int
    accuracy: Estimate
    as_shown: Estimate | None
    takes_left: Estimate | None
    left_targets: float


def read(path: Path, *, image_dir: Path | None = None) -> list[ListedPair]:
    """Return the rows of a list; pictures lie below `image_dir`, or below the list's own folder.

    LogError with file and row for what cannot be read, pictures that are missing or damaged among it.
    """
    try:
        items = parse_json(read_bytes(path, error=LogError).decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such list" if isinstance(error, FileNotFoundError) else f"cannot be read ({type(error).__name__})"
        raise LogError(f"{path}: {reason}. Name a JSON list in UTF-8.") from error
    except ValueError as error:
        raise LogError(f"{path}: {error}.") from error
    if not isinstance(items, list) or not items:
        raise LogError(
            f'{path}: expected a JSON list [{{"image", "left_ctr", "right_ctr", "target"}}, …], and not empty.'
        )
    root = (image_dir or path.parent).resolve()
    return [_row(item, root, where=f"{path}, row {number}") for number, item in enumerate(items, 1)]


def left_log_odds(model: RewardModel, rows: Sequence[ListedPair]) -> np.ndarray:
    """Return log-odds that the left ad is better, as shown and with the sides exchanged, (row, 2): mean over the heads.

    A converted model of the paper is asked each row's own question where it has one. A model that looks at one picture
    at a time gives the same in both columns.
    """
    products, questions = [row.product for row in rows], [row.question for row in rows]
    views = [row.views() for row in rows]
    forward = model.side_by_side(products, views, questions).log_odds
    if not model.reads_sides:
        return np.stack([forward, forward], axis=1)
    turned = model.side_by_side(products, [(right, left) for left, right in views], questions).log_odds
    return np.stack([forward, -turned], axis=1)


def evaluate(
    rows: Sequence[ListedPair], odds: np.ndarray, *, orders: bool, rng: np.random.Generator
) -> PairwiseListReport:
    """Return how often the log-odds of `left_log_odds`, (row, 2), agree with the list; a tie counts half.

    orders: whether the model can prefer a side.
    """
    wanted = np.array([1.0 if row.better == "left" else -1.0 for row in rows])
    bootstrap = ClusterBootstrap.draw([row.product.product_id for row in rows], rng=rng)
    estimate = bootstrap.mean
    left = np.stack([pair_agreement(odds[:, 0], np.ones(len(rows))), pair_agreement(-odds[:, 1], np.ones(len(rows)))])
    return PairwiseListReport(
        rows=len(rows),
        products=len(bootstrap.names),
        accuracy=estimate(pair_agreement(odds.mean(1), wanted)),
        as_shown=estimate(pair_agreement(odds[:, 0], wanted)) if orders else None,
        takes_left=estimate(left.mean(0)) if orders else None,
        left_targets=float((wanted > 0).mean()),
    )


def _row(item: object, root: Path, *, where: str) -> ListedPair:
    if not isinstance(item, Mapping):
        raise LogError(f"{where}: expected an object, got {shown(item)}. Fix or remove it.")
    question = _question(item)
    caption = next((text for key in _CAPTION_KEYS if (text := words(item.get(key)))), "")
    quoted = _QUOTED.search(question or "")
    title = caption or (quoted.group(1).strip() if quoted else "") or UNNAMED
    return ListedPair(
        product=Product(_product_id(item, where), title),
        images=_images(item.get("image"), root, where=where),
        better=_better(item, where),
        question=question,
    )


def _product_id(item: Mapping[str, object], where: str) -> str:
    """Named outright, or what stands before the last "_" of the id; a row without either is a product of its own."""
    named = next((text for key in _PRODUCT_KEYS if (text := words(item.get(key)))), "")
    identifier = words(item.get("id"))
    return named or identifier.rpartition("_")[0] or identifier or where


def _question(item: Mapping[str, object]) -> str | None:
    """`question`, or the human's turn in `conversations`, without the mark for the picture."""
    said: object = item.get("question")
    turns = item.get("conversations")
    if said is None and isinstance(turns, list):
        said = next(
            (turn.get("value") for turn in turns if isinstance(turn, Mapping) and turn.get("from") == "human"), ""
        )
    text = said.replace("<image>", "").strip() if isinstance(said, str) else ""
    return text or None


def _better(item: Mapping[str, object], where: str) -> Literal["left", "right"]:
    ctrs = [item.get(f"{side}_ctr") for side in ("left", "right")]
    numbers = [
        float(ctr) for ctr in ctrs if isinstance(ctr, int | float) and not isinstance(ctr, bool) and abs(ctr) <= 1
    ]
    if any(ctr is not None for ctr in ctrs) and not (
        len(numbers) == 2 and all(math.isfinite(number) and 0 <= number <= 1 for number in numbers)
    ):
        raise LogError(f"{where}: left_ctr and right_ctr are {shown(ctrs[0])} and {shown(ctrs[1])}, expected two "
                       f"numbers from 0 to 1. Fix or remove the row.")  # fmt: skip
    target = item.get("target")
    if target not in (None, "left", "right"):
        raise LogError(f"{where}: target is {shown(target)}, expected 'left' or 'right'. Fix or remove the row.")
    if not numbers and target is None:
        raise LogError(f"{where}: neither target nor left_ctr and right_ctr. Add which side was clicked more.")
    if numbers and numbers[0] == numbers[1] and target is None:
        raise LogError(f"{where}: both CTRs are {numbers[0]:g}: no side is better. Remove the row.")
    by_ctr = None if not numbers or numbers[0] == numbers[1] else "left" if numbers[0] > numbers[1] else "right"
    if target is not None and by_ctr is not None and target != by_ctr:
        raise LogError(f"{where}: target is {target!r}, but the CTRs are {numbers[0]:g} on the left and {numbers[1]:g} "
                       f"on the right. Fix or remove the row.")  # fmt: skip
    return "left" if (target or by_ctr) == "left" else "right"


def _images(names: object, root: Path, *, where: str) -> tuple[Path, ...]:
    named = [names] if isinstance(names, str) else names
    if not (isinstance(named, list) and len(named) in (1, 2) and all(isinstance(name, str) and name for name in named)):
        raise LogError(f"{where}: image is {shown(names)}, expected one path of a picture of two halves, or a list of "
                       f"two. Fix or remove the row.")  # fmt: skip
    paths = []
    for name in named:
        path = real_path(root / name)
        if path is None or not path.is_relative_to(root):
            raise LogError(f"{where}: the image {shown(name)} leaves {root}. Name its folder with --image-dir.")
        try:
            width, height = check_image(path)
        except (ImageError, OSError, ValueError) as error:
            raise LogError(f"{where}: {error} Or name the pictures' folder with --image-dir.") from error
        if len(named) == 1 and width < WIDE * height:
            raise LogError(f"{where}: {shown(name)} is {width} × {height}, expected two squares side by side. "
                           f"Name two images, [left, right].")  # fmt: skip
        paths.append(path)
    return tuple(paths)
