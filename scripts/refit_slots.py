"""Fit the slot classifiers of the shipped model anew to what the studio draws today; its weights stay as they are.

Whoever changes how sets look runs this: reward models begin with these maps (`vlm/slots.py`), and maps of older
pictures misname scenes. Draws pictures of objects that may be learned from, a third as the copywriter chooses scenes
and the rest with all values equally likely, and fits a ridge-penalized logistic regression per slot on the frozen
tower's pooled tokens. A slot keeps its old map where that is better on objects that were left out of the fit. Prints
the accuracy on held-out objects, before and after.

    python scripts/refit_slots.py --pictures 9000
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clickscape import render, vlm
from clickscape.catalog import sample
from clickscape.reward.features import picture_tokens
from clickscape.simulator import writer
from clickscape.vlm import slots
from clickscape.vlm.shipped import TINY, TINY_FOLDER
from clickscape.vlm.slots import NamedSlots

RIDGE = 0.03  # per picture, on standardized tokens
LIKE_COPYWRITER = 1 / 3
TESTED = 900
_CHUNK = 256


@dataclass(frozen=True)
class Pictures:
    """Pooled tokens of pictures (picture, width), the class of each slot (picture,), −100 where none, and objects."""

    tokens: Tensor
    classes: dict[str, Tensor]
    objects: np.ndarray

    def only(self, rows: np.ndarray) -> Pictures:
        """Return some of the pictures."""
        chosen = torch.from_numpy(rows)
        return Pictures(
            self.tokens[chosen], {slot: row[chosen] for slot, row in self.classes.items()}, self.objects[rows]
        )


def main() -> None:
    """Draw, fit, choose, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=9_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    old = slots.read(TINY_FOLDER)
    assert old is not None
    learning = draw(asked.pictures, old, held_out=False, like_copywriter=LIKE_COPYWRITER, seed=asked.seed)
    testing = draw(TESTED, old, held_out=True, like_copywriter=1.0, seed=asked.seed + 1)
    some = np.random.default_rng(asked.seed).permutation(np.unique(learning.objects))
    apart = np.isin(learning.objects, some[: len(some) // 5])
    trial = fit(learning.only(np.flatnonzero(~apart)), old)
    checked = learning.only(np.flatnonzero(apart))
    better = {slot: accuracy(trial, checked)[slot] > share for slot, share in accuracy(old, checked).items()}
    made = merged(old, fit(learning, old), better)
    for name, maps in (("before", old), ("after", made)):
        print(name, {slot: round(share, 3) for slot, share in accuracy(maps, testing).items()})
    made.write(TINY_FOLDER)


def draw(count: int, names: NamedSlots, *, held_out: bool, like_copywriter: float, seed: int) -> Pictures:
    """Draw pictures of objects that are held out or not, and read their tokens with the shipped tower."""
    rng, backbone, studio = np.random.default_rng(seed), vlm.load(TINY).vlm, render.load()
    ids = [product.product_id for product in sample.products() if sample.is_held_out(product.product_id) == held_out]
    chosen = [ids[int(place)] for place in rng.integers(len(ids), size=count)]
    shown: list[dict[str, str | None]] = []
    tokens: list[Tensor] = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        products = {one.product_id: one for one in sample.write(folder, 220, product_ids=set(chosen))}
        for start in range(0, count, _CHUNK):
            some, pictures = [products[name] for name in chosen[start : start + _CHUNK]], []
            for product in some:
                if rng.random() < like_copywriter:
                    text, scene = writer.write(product, rng)
                else:
                    scene = writer.random_scene(rng)
                    text = writer.describe(scene, rng)
                drawn = studio.render(product, text, size=(128, 128), seed=int(rng.integers(2**31)))
                pictures.append(drawn.image)
                assert drawn.scene is not None
                shown.append(drawn.scene.slots)
            tokens.append(torch.from_numpy(picture_tokens(backbone, pictures)))
    objects = np.array([sample.object_of(name).object_id for name in chosen])
    classes = {slot: _classes(shown, slot, values) for slot, values in names.values.items()}
    return Pictures(torch.cat(tokens).clone(), classes, objects)


def _classes(shown: Sequence[dict[str, str | None]], slot: str, values: tuple[str, ...]) -> Tensor:
    return torch.tensor([values.index(str(one[slot])) if one[slot] in values else -100 for one in shown])


def fit(pictures: Pictures, names: NamedSlots) -> NamedSlots:
    """Fit every slot's classifier by logistic regression."""
    mean, scale = pictures.tokens.mean(0), pictures.tokens.std(0) + 1e-6
    standardized = (pictures.tokens - mean) / scale
    weights, biases = [], []
    for slot, values in names.values.items():
        known = pictures.classes[slot] >= 0
        tokens, target = standardized[known], pictures.classes[slot][known]
        weight = torch.zeros(len(values), tokens.shape[1], requires_grad=True)
        bias = torch.zeros(len(values), requires_grad=True)
        search = torch.optim.LBFGS([weight, bias], max_iter=150, line_search_fn="strong_wolfe")

        def loss(tokens: Tensor, target: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            found = cross_entropy(tokens @ weight.T + bias, target) + RIDGE / 2 * weight.square().sum()
            weight.grad, bias.grad = torch.autograd.grad(found, (weight, bias))
            return found

        search.step(partial(loss, tokens, target, weight, bias))
        plain = (weight / scale).detach()
        weights.append(plain)
        biases.append(bias.detach() - plain @ mean)
    return NamedSlots(names.values, torch.cat(weights), torch.cat(biases))


def merged(old: NamedSlots, new: NamedSlots, better: dict[str, bool]) -> NamedSlots:
    """Return the new map of every slot that got better, and the old one of the others."""
    rows = torch.cat([torch.full((len(values),), better[slot]) for slot, values in old.values.items()])
    return NamedSlots(
        old.values, torch.where(rows[:, None], new.weight, old.weight), torch.where(rows, new.bias, old.bias)
    )


def accuracy(maps: NamedSlots, pictures: Pictures) -> dict[str, float]:
    """Share of the pictures whose slot is named rightly, by slot; those that do not have it are left out."""
    logits = pictures.tokens @ maps.weight.T + maps.bias
    found = {}
    for (slot, truth), part in zip(
        pictures.classes.items(), logits.split([len(values) for values in maps.values.values()], dim=1), strict=True
    ):
        known = truth >= 0
        found[slot] = float((part.argmax(1) == truth)[known].float().mean())
    return found


if __name__ == "__main__":
    main()
