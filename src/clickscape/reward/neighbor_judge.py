"""The neighbor judge: an ad is as good as what its like earned, learned from the log CTRs of single ads.

Its form is none of the reward model's: no effect of any element and no trained vector, but the judge's own ads, each
with a weight, and how like they are to the ad in question (kriging, Krige 1951; Rasmussen and Williams 2006, ch. 2):

    likeness = ⅔ · e^(−¼ · slots that differ) · (½ across departments) + ⅓ · e^(−½ · mean square of the pictures' gaps)

so what only a combination of elements does is seen, too. Pictures are compared by CIELAB colors of nine regions and the
directions of their edges, which the reward model does not read. The loss is the squared error of log CTRs, centered
within products and weighted by their clicks; the one number to choose is chosen on clusters left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from safetensors.torch import save_file

from clickscape import model_card
from clickscape.compute.weights import read_tensors
from clickscape.errors import ModelError
from clickscape.files import atomic_file
from clickscape.json_files import parse_json
from clickscape.reward.data import RewardData
from clickscape.reward.protocol import Slots, check_lengths
from clickscape.types import Product

FILE = "neighbors.safetensors"
MOST = 4_000
"""Ads that a judge keeps, at most: those of the products with most clicks."""

_REMEDY = "Train the judge again."
_DECAY, _PICTURE_SHARE = 0.25, 0.5  # loss of likeness by a differing slot; share that pictures have in it
_VARIANCES = (0.005, 0.015, 0.045, 0.15)  # of what an ad's like tells of it, log CTR
_PRODUCT_VARIANCE, _AD_VARIANCE = 10.0, 0.02  # of a product's own level, and of what no other ad tells, log CTR
_SIDE, _DIRECTIONS = 48, 4  # pixels of a picture's sides as it is measured; directions of edges
_UNKNOWN = -2  # code of a value that no ad of the judge's shows; −1 is no value

Tables = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class NeighborJudge:
    """The judge's ads. weights: (ad,) log CTR per likeness. codes: (ad, slot) of values; department: (ad,) its code.

    pictures: (ad, figure), standardized by center and spread, (figure,). values: slot → its values, by code.
    """

    weights: Float64[np.ndarray, " ad"]
    codes: Int64[np.ndarray, "ad slot"]
    department: Int64[np.ndarray, " ad"]
    pictures: Float64[np.ndarray, "ad figure"]
    center: Float64[np.ndarray, " figure"]
    spread: Float64[np.ndarray, " figure"]
    values: Tables
    departments: tuple[str, ...]

    def score(
        self, products: Sequence[Product], images: Sequence[np.ndarray], scenes: Sequence[Slots], /
    ) -> np.ndarray:
        """Return log CTRs of ads, (ad,), 0 for one like no other; only differences within a product mean something."""
        check_lengths(products, images, scenes)
        pictures = (_figures(images) - self.center) / self.spread
        codes, department = _codes(scenes, self.values), _department_codes(products, self.departments)
        own = (self.codes, self.department, self.pictures)
        return np.asarray(_likeness((codes, department, pictures), own) @ self.weights)

    def save(self, folder: Path) -> None:
        """Write neighbors.safetensors into a folder, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in _TENSORS}
        names = json.dumps({"values": self.values, "departments": self.departments})
        with atomic_file(folder / FILE) as temporary:
            save_file(tensors, temporary, {"names": names})  # one entry: of several, the order is left to chance
        model_card.write(folder, model_card.JUDGE, base=None, tags=["neighbors"])


@dataclass(frozen=True)
class _Names:
    """What the codes stand for."""

    values: dict[str, tuple[str, ...]]
    departments: tuple[str, ...]


_TENSORS = ("weights", "codes", "department", "pictures", "center", "spread")


def fit(data: RewardData) -> NeighborJudge:
    """Learn from the clicks of creatives, with or without known scenes; ModelError where no two of a product have any.

    Exact and without chance: the same data give the same judge to the bit.
    """
    rows = _rows(data)
    scenes = [(data.slots[row] if data.slots is not None else None) or {} for row in rows]
    values = {
        slot: tuple(sorted({value for scene in scenes if (value := scene.get(slot)) is not None}))
        for slot in sorted({slot for scene in scenes for slot in scene})
    }
    products = [data.product(row) for row in rows]
    departments = tuple(sorted({product.department for product in products}))
    figures = _figures([data.image(row) for row in rows])
    center, spread = figures.mean(0), figures.std(0) + 1e-6
    codes, department = _codes(scenes, values), _department_codes(products, departments)
    pictures = (figures - center) / spread
    likeness = _likeness((codes, department, pictures), (codes, department, pictures))
    assert data.clicks is not None  # both: `_rows`
    assert data.examinations is not None
    product = np.unique([product.product_id for product in products], return_inverse=True)[1]
    cluster = np.unique([data.group(product.product_id) for product in products], return_inverse=True)[1]
    clicks = data.clicks[rows] + 0.5
    log_ctr = np.log(clicks / (data.examinations[rows] + 1))
    weights = _weights(likeness, log_ctr, 1 / clicks + _AD_VARIANCE, product=product, cluster=cluster)
    return NeighborJudge(weights, codes, department, pictures, center, spread, values, departments)


def load(folder: Path) -> NeighborJudge:
    """Open what `NeighborJudge.save` wrote; ModelError for anything missing, damaged or of another kind."""
    file = Path(folder) / FILE
    tensors, metadata = read_tensors(file, remedy=_REMEDY)
    try:
        names = parse_json(metadata["names"], _Names, where=str(file), error=ModelError, remedy=_REMEDY)
        arrays = {name: tensors[name].numpy() for name in _TENSORS}
    except KeyError as missing:
        raise ModelError(f"{file}: damaged (no {missing}). {_REMEDY}") from None
    ads, figures = len(arrays["weights"]), len(arrays["center"])
    shapes = {"weights": (ads,), "codes": (ads, len(names.values)), "department": (ads,), "pictures": (ads, figures),
              "center": (figures,), "spread": (figures,)}  # fmt: skip
    if figures != _FIGURES or any(arrays[name].shape != shape for name, shape in shapes.items()):
        raise ModelError(f"{file}: its arrays do not fit each other. {_REMEDY}")
    return NeighborJudge(**arrays, values=names.values, departments=names.departments)


def _rows(data: RewardData) -> np.ndarray:
    """Return the ads to learn from: of products with two ads and a click; the most clicked products, up to MOST ads."""
    rows: dict[str, list[int]] = {}
    if data.clicks is not None and data.examinations is not None:
        for row in np.flatnonzero(np.isfinite(data.clicks) & (data.examinations > 0)).tolist():
            rows.setdefault(data.product_of[row], []).append(row)
        clicks = {name: data.clicks[own].sum() for name, own in rows.items()}
        rows = {name: own for name, own in rows.items() if len(own) > 1 and clicks[name] > 0}
    if not rows:
        raise ModelError(
            "no two creatives of a product with clicks, so a judge that compares ads with their like has nothing to "
            "learn from. Choose judge = 'two_branch', which learns from pairs."
        )
    ranked = sorted(rows, key=lambda name: (-clicks[name], name))
    room = np.cumsum([len(rows[name]) for name in ranked]) <= MOST
    room[0] = True
    return np.sort(np.concatenate([rows[name] for name, fits in zip(ranked, room, strict=True) if fits]))


def _weights(
    likeness: np.ndarray, log_ctr: np.ndarray, noise: np.ndarray, *, product: np.ndarray, cluster: np.ndarray
) -> np.ndarray:
    """Return the weight of every ad, (ad,), by the variance whose error on clusters left out is least.

    What the others say of a cluster follows from the inverse of the whole: y − prediction = (A⁻¹)⁻¹ (A⁻¹ y), each of
    the cluster's own rows (Rasmussen and Williams 2006, eq. 5.12).
    """
    centered = _within(log_ctr, 1 / noise, product)
    level = _PRODUCT_VARIANCE * (product[:, None] == product) + np.diag(noise)
    best, found = np.inf, np.zeros_like(centered)
    for variance in _VARIANCES:
        inverse = np.linalg.inv(variance * likeness + level)
        dual = inverse @ centered
        left = np.empty_like(centered)
        for number in range(cluster.max() + 1):
            own = np.flatnonzero(cluster == number)
            left[own] = np.linalg.solve(inverse[np.ix_(own, own)], dual[own])
        error = float(np.sum(_within(left, 1 / noise, product) ** 2 / noise))
        if error < best:
            best, found = error, variance * dual
    return found


def _within(values: np.ndarray, weight: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Return values less their product's weighted mean, (ad,)."""
    return np.asarray(values - (np.bincount(product, weight * values) / np.bincount(product, weight))[product])


def _likeness(
    some: tuple[np.ndarray, np.ndarray, np.ndarray], others: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return likeness in [0, 1], (some, other), of ads as (codes of slots, codes of departments, pictures)."""
    differ = sum(
        (one[:, None] != other for one, other in zip(some[0].T, others[0].T, strict=True)),
        np.zeros((len(some[1]), len(others[1])), np.int64),
    )
    near = some[1][:, None] == others[1]
    squares = (some[2] ** 2).sum(1)[:, None] + (others[2] ** 2).sum(1) - 2 * some[2] @ others[2].T
    by_picture = np.exp(-np.maximum(squares, 0) / (2 * some[2].shape[1]))
    by_scene = np.exp(-_DECAY * differ) * (1 + near) / 2
    return np.asarray((by_scene + _PICTURE_SHARE * by_picture) / (1 + _PICTURE_SHARE))


def _codes(scenes: Sequence[Slots], values: Tables) -> np.ndarray:
    """Return the code of every slot's value, (scene, slot)."""
    tables = {slot: {value: code for code, value in enumerate(known)} for slot, known in values.items()}
    return np.array(
        [
            [-1 if (value := scene.get(slot)) is None else table.get(value, _UNKNOWN) for slot, table in tables.items()]
            for scene in scenes
        ],
        np.int64,
    ).reshape(len(scenes), len(tables))


def _department_codes(products: Sequence[Product], departments: Sequence[str]) -> np.ndarray:
    """Return the code of every product's department, (product,)."""
    table = {name: code for code, name in enumerate(departments)}
    return np.array([table.get(product.department, _UNKNOWN) for product in products], np.int64)


_FIGURES = 9 * (3 + _DIRECTIONS)


def _figures(images: Sequence[UInt8[np.ndarray, "height width 3"]]) -> Float64[np.ndarray, "image figure"]:
    """Return mean CIELAB color and strength of edges by direction in each of nine regions (Dalal and Triggs 2005)."""
    return np.array([_measure(image) for image in images], np.float64).reshape(len(images), _FIGURES)


def _measure(image: UInt8[np.ndarray, "height width 3"]) -> Float64[np.ndarray, " figure"]:
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    across, down = (cv2.Sobel(lab[..., 0], cv2.CV_32F, *axis) / 8 for axis in ((1, 0), (0, 1)))
    turn = (np.arctan2(down, across) % np.pi) / np.pi  # an edge has no sign
    direction = np.minimum((turn * _DIRECTIONS).astype(np.int64), _DIRECTIONS - 1)
    strength = np.hypot(across, down)[..., None] * (direction[..., None] == np.arange(_DIRECTIONS))
    third = _SIDE // 3
    regions = np.concatenate([lab, strength], -1).reshape(3, third, 3, third, -1)
    return np.asarray(regions.mean((1, 3)).ravel(), np.float64)
