"""The pre-stage: fifths counted by hand, a loss worked by hand, and scores that it alone teaches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from clickscape.config import RewardConfig
from clickscape.reward import train as training
from clickscape.reward.buckets import bucket_loss, bucket_of
from clickscape.reward.evaluate import evaluate
from clickscape.reward.model import build


def test_fifths_counted_by_hand() -> None:
    targets = torch.tensor([9.0, 0.0, 1.0, math.nan, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    assert bucket_of(targets).tolist() == [4, 0, 0, -100, 1, 1, 2, 2, 3, 3, 4]
    assert bucket_of(torch.full((3,), math.nan)).tolist() == [-100] * 3


def test_loss_worked_by_hand() -> None:
    # thresholds log(1/4), log(2/3), log(3/2), log 4; a score of 0 says that every fifth is as likely as any other
    middle = bucket_loss(torch.zeros(1, 1, 1), torch.tensor([[2]]), weight=torch.ones(1, 1))
    assert middle.item() == pytest.approx(-(2 * math.log(4 / 5) + 2 * math.log(3 / 5)) / 4)
    # the best fifth, score log 4: above all four thresholds with odds 16, 6, 8/3 and 1
    best = bucket_loss(torch.full((1, 1, 1), math.log(4)), torch.tensor([[4]]), weight=torch.ones(1, 1))
    assert best.item() == pytest.approx(-math.log(16 / 17 * 6 / 7 * 8 / 11 * 1 / 2) / 4)
    # the second row is unknown, the third has no weight: they cost nothing
    scores = torch.tensor([[[math.log(4)], [7.0], [9.0]]])
    again = bucket_loss(scores, torch.tensor([[4], [-100], [0]]), weight=torch.tensor([[2.0, 1.0, 0.0]]))
    assert again.item() == pytest.approx(best.item())


@pytest.mark.parametrize("form", ["single", "pair"])
def test_buckets_alone_teach_an_order(form: Any, world: Any, backbone: Any) -> None:
    """All the pairs say the opposite of the rates: with next to no pairs' epochs, the order is that of the rates."""
    seen, unseen = world.data(world.products(48)), world.data(world.products(60)[48:])
    turned = replace(seen, pairs=[replace(pair, preference=1 - pair.preference) for pair in seen.pairs])
    model = build(backbone, form=form, slots=world.slots, departments=world.departments, ensemble=2, seed=0)
    config = RewardConfig(
        form=form, bucket_epochs=24, epochs=1, products_per_batch=6, validation_share=0.2, regression_weight=0
    )
    steps = training.train(model, turned, config=config, rng=np.random.default_rng(0))
    per_epoch = math.ceil(38 / 6)
    for step in steps:
        if step.number == 24 * per_epoch:  # the pairs have not begun
            break
    report = evaluate(model, unseen, rng=np.random.default_rng(0))
    assert report.accuracy.low > 0.7
    rest = list(steps)
    assert [step.number for step in rest] == list(range(24 * per_epoch + 1, 25 * per_epoch + 1))
    assert rest[0].classification > 2 * step.classification  # now it is the pairs that are asked
