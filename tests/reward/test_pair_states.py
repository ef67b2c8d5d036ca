"""States of pairs that share what they can are those of whole pairs, and what is shared is read once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.factory import tiny_vlm

from clickscape.reward import pair_states, two_branch, two_branch_training
from clickscape.reward.two_branch import Branches, TwoBranch
from clickscape.vlm.model import VisionLanguageModel

SHAPES = ((32, 32), (48, 20), (20, 60), (64, 64))


@pytest.fixture(scope="module")
def vlm() -> VisionLanguageModel:
    """Weights large enough that every token matters."""
    made = tiny_vlm(["which one is better red mug of stone"] * 20, vision_width=32, vision_heads=4, text_ffn=64)
    with torch.no_grad():
        for weight in made.model.parameters():
            weight.mul_(4)
    return made


def _pictures(count: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*SHAPES[place % 4], 3), dtype=np.uint8) for place in range(count)]


@pytest.mark.parametrize("side", [32, 24])
@torch.no_grad()
def test_shared_states_are_those_of_whole_pairs(vlm: Any, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of any shape, both orders, questions of several lengths, passes of one pair and of all."""
    pictures = _pictures()
    pairs = [(first, second) for first in pictures for second in pictures]
    questions = [f"which is better red mug {'of stone ' * (row % 3)}?" for row in range(len(pairs))]
    alone = torch.cat([
        pair_states.whole(vlm, [question], [pair], side=side) for question, pair in zip(questions, pairs, strict=True)
    ])  # fmt: skip
    assert float(alone.std(0).mean()) > 0.5, "random weights must say something"
    assert float((alone[1] - alone[4]).abs().max()) > 0.1, "the sides are seen"
    torch.testing.assert_close(pair_states.whole(vlm, questions, pairs, side=side), alone, atol=1e-4, rtol=0)
    for together in (1, 3, 100):
        found = pair_states.shared(vlm, questions, pairs, side=side, together=together)
        torch.testing.assert_close(found, alone, atol=1e-4, rtol=0)
    monkeypatch.setattr(pair_states, "PICTURES", 2)
    found = pair_states.shared(vlm, questions, pairs, side=side, together=5)
    torch.testing.assert_close(found, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("orders", [1, 2])
def test_a_ranking_reads_each_picture_once_and_what_pairs_share_once(
    vlm: Any, world: Any, orders: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four pictures of 16 tokens: the tower sees four, the question and each left picture are read once."""
    looked, read = [], []
    seen = pair_states.picture_tokens
    monkeypatch.setattr(
        pair_states,
        "picture_tokens",
        lambda vlm, pictures, **rest: (looked.append(len(pictures)), seen(vlm, pictures, **rest))[1],
    )
    hook = vlm.core.model.language_model.register_forward_pre_hook(
        lambda _module, _args, given: read.append(given["inputs_embeds"].shape[:2]), with_kwargs=True
    )
    branches = Branches(torch.randn(1, 2, vlm.hidden_size, generator=torch.Generator().manual_seed(0)), None)
    model = TwoBranch(vlm, branches, orders=orders)
    model.chunk = 100
    model.rank(world.products(1)[0], _pictures())
    hook.remove()
    assert looked == [4]
    (questions, _), (lefts, left), (rights, right) = read
    assert (questions, rights) == (1, 6 * orders)
    assert lefts <= 4
    assert left == 16 + 1, "a picture and a line break"
    assert 16 < right < 16 + 14, "a picture and what ends the question, which stands before the pictures"


def test_one_order_is_the_same_whoever_comes_first(vlm: Any, world: Any) -> None:
    branches = Branches(torch.randn(3, 2, vlm.hidden_size, generator=torch.Generator().manual_seed(0)), None)
    model = TwoBranch(vlm, branches, orders=1)
    pictures, products = _pictures(12), world.products(6)
    there, back = (
        model.odds(products, *sides).mean for sides in ((pictures[:6], pictures[6:]), (pictures[6:], pictures[:6]))
    )
    np.testing.assert_allclose(there, -back, atol=1e-5)
    views = list(zip(pictures[:6], pictures[6:], strict=True))
    shown = model.side_by_side(products, views).mean
    turned = -model.side_by_side(products, [(second, first) for first, second in views]).mean
    assert np.minimum(np.abs(there - shown), np.abs(there - turned)).max() < 1e-4, "each is one of the two orders"
    assert 0 < (np.abs(there - shown) < 1e-4).sum() < 6, "now the first stands left, now the second"
    assert model.odds(products[:1], pictures[:1], [pictures[0].copy()]).mean[0] == 0


@pytest.mark.parametrize(("bias", "orders"), [(0.0, 1), (2.0, 2)])
def test_one_order_is_asked_where_the_other_adds_nothing(
    world: Any, monkeypatch: pytest.MonkeyPatch, bias: float, orders: int, tmp_path: Any
) -> None:
    """Log-odds of 60 held-out products without a preference for a side, and with one that hides the better picture."""
    data = world.data(world.products(60))
    backbone = tiny_vlm(["red mug"] * 20)
    weights = torch.zeros(2, 1, 2, backbone.hidden_size)
    model = TwoBranch(backbone, Branches(weights[0], weights[1]))
    rows = two_branch_training._Rows(model, data, rng=np.random.default_rng(0), cached=False)
    known = np.where(rows.preference.numpy() > 0.5, 1.0, -1.0)
    monkeypatch.setattr(
        rows, "gaps", lambda *, turned=False: bias + (-known if turned else known) + 1e-6 * np.arange(len(known))
    )
    gain = rows.settle_orders(np.random.default_rng(0))
    assert model.orders == orders
    assert (gain.high < 0.002) == (orders == 1)
    model.save(tmp_path / "reward")
    assert two_branch.load(tmp_path / "reward").orders == orders
