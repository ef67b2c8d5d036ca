"""The paper's two branches: losses by hand, gradients where they should reach, and the epoch that is best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clickscape import reward
from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.reward import training, two_branch_training
from clickscape.reward.evaluate import evaluate
from clickscape.reward.two_branch import Branches, TwoBranch
from clickscape.reward.two_branch_training import two_branch_losses

QUICK = RewardConfig(form="two_branch", epochs=2, products_per_batch=6, learning_rate=1e-2, validation_share=0.2)


def _trained(world: Any, backbone: Any, count: int = 12, **changes: Any) -> TwoBranch:
    config = QUICK.model_copy(update=changes)
    return training.run(two_branch_training.train(backbone, world.data(world.products(count)), config=config))


def test_losses_worked_by_hand() -> None:
    """Gap 1: CE of a certain left is log(1 + e⁻¹), of a soft ½ it is that of both halves; MSE over known targets."""
    logits = torch.tensor([[[1.5, 0.5], [0.0, 0.0]]])
    ctr = torch.tensor([[[1.0, 0.0], [2.0, 5.0]]])
    targets = torch.tensor([[0.0, 0.0], [0.0, float("nan")]])
    classification, regression = two_branch_losses(
        logits, ctr, preference=torch.tensor([1.0, 0.5]), weight=torch.tensor([[1.0, 2.0]]), targets=targets
    )
    assert classification.item() == pytest.approx(np.log1p(np.exp(-1)) + 2 * np.log(2))
    assert regression.item() == pytest.approx((1 + 0 + 4) / 3)
    nothing = torch.full((2, 2), float("nan"))
    _, none = two_branch_losses(logits, ctr, preference=torch.ones(2), weight=torch.ones(1, 2), targets=nothing)
    assert none.item() == 0


def test_both_orders_are_asked_and_averaged(world: Any, backbone: Any) -> None:
    """A branch with a bias for the left has none in its odds; side by side it shows."""
    score = torch.zeros(1, 2, backbone.hidden_size)
    score[0, 0, 0] = 1.0
    model = TwoBranch(backbone, Branches(score, None))
    model.branches.shift.fill_(-100.0)
    products, pictures = world.products(3), world.pictures(6)
    views = list(zip(pictures[:3], pictures[3:], strict=True))
    shown, turned = (model.side_by_side(products, pairs).mean for pairs in (views, [(b, a) for a, b in views]))
    assert (shown > 50).all()
    assert (turned > 50).all()
    assert model.odds(products, pictures[:3], pictures[3:]).mean == pytest.approx((shown - turned) / 2, abs=1e-3)


@pytest.mark.slow
def test_what_sells_everywhere_is_learned_for_products_never_seen(world: Any) -> None:
    """Red beats green beats blue whatever the product: with a backbone that learns, most new pairs are ordered so."""
    worth = {"red": 1.0, "green": 0.0, "blue": -1.0}

    def simple(products: list[Any]) -> Any:
        data = world.data(products)
        gaps = [worth[pair.first.split("-")[1]] - worth[pair.second.split("-")[1]] for pair in data.pairs]
        pairs = [
            replace(pair, gap=gap, preference=0.95 if gap > 0 else 0.05)
            for pair, gap in zip(data.pairs, gaps, strict=True)
        ]
        return replace(data, pairs=pairs, log_ctr=np.array([worth[name.split("-")[1]] for name in data.creative_ids]))

    config = QUICK.model_copy(update={"trainable": "full", "epochs": 20, "learning_rate": 2e-2})
    steps = two_branch_training.train(world.fresh_backbone(), simple(world.products(24)), config=config)
    unseen = simple(world.products(36)[24:])
    report = evaluate(training.run(steps), unseen, rng=np.random.default_rng(0))
    assert report.accuracy.value > 0.8
    assert report.left_share is not None


def test_the_same_seed_gives_the_same_weights(world: Any) -> None:
    first, second = (_trained(world, world.fresh_backbone()).branches.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("trainable", ["head", "full", "lora"])
def test_gradients_reach_the_backbone_where_they_should(trainable: Any, world: Any, tmp_path: Path) -> None:
    backbone = world.fresh_backbone()
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    model = _trained(world, backbone, 6, trainable=trainable, lora_rank=2, learning_rate=0.05, weight_decay=0.0)
    after = model.backbone.model.state_dict()
    assert after.keys() == before.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before) == (trainable != "head")
    product, pictures = world.products(1)[0], world.pictures(3)
    model.save(tmp_path / "reward")
    again = reward.load(tmp_path / "reward").score([product] * 3, pictures)
    assert again == pytest.approx(model.score([product] * 3, pictures), abs=1e-4)


def test_the_best_epoch_is_kept(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation says that the first epoch was best: its weights come back."""
    losses = iter([0.1, 0.5, 0.9])
    monkeypatch.setattr(two_branch_training._Rows, "cross_entropy", lambda _self: next(losses))
    kept = _trained(world, world.fresh_backbone(), epochs=3).branches.score
    losses = iter([0.9, 0.5, 0.1])
    assert not torch.equal(kept, _trained(world, world.fresh_backbone(), epochs=3).branches.score)


def test_what_cannot_be_trained_is_refused(world: Any, backbone: Any) -> None:
    data = world.data(world.products(4))
    tied = replace(data, pairs=[replace(pair, preference=0.5) for pair in data.pairs])
    with pytest.raises(ModelError, match="no pair of creatives says which is better"):
        training.run(two_branch_training.train(backbone, tied, config=QUICK))
