"""Training: losses worked by hand, gradients where they belong, and a separable world that must be learned."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.reward import pair_batch
from clickscape.reward import train as training
from clickscape.reward.evaluate import evaluate
from clickscape.reward.heads import HeadOutput
from clickscape.reward.model import RewardModel, build

QUICK = RewardConfig(epochs=25, products_per_batch=6, learning_rate=1e-2, validation_share=0.2)


def _fit(model: RewardModel, data: Any, config: RewardConfig, seed: int = 0) -> list[training.Step]:
    return list(training.train(model, data, config=config, rng=np.random.default_rng(seed)))


def _losses(**changes: Any) -> training.Losses:
    """Two rows of one side, one pair between them, one head."""
    arguments = {
        "output": HeadOutput(
            logits=torch.tensor([[[1.0], [0.0]]]),
            regression=torch.tensor([[[0.5], [-0.5]]]),
            slots=torch.tensor([[[0.0, 0.0]], [[0.0, math.log(3.0)]]]),
            topics=torch.tensor([[0.0, 0.0], [0.0, 0.0]]),
        ),
        "first": torch.tensor([[0, 0]]),
        "second": torch.tensor([[1, 0]]),
        "preference": torch.tensor([0.8]),
        "weight": torch.tensor([[1.0]]),
        "targets": torch.tensor([[1.0], [-1.0]]),
        "labels": torch.tensor([[[0]], [[1]]]),
        "slot_groups": (2,),
        "departments": torch.tensor([-100, -100]),
    }
    return training.reward_losses(**(arguments | changes))


def test_losses_worked_by_hand() -> None:
    losses = _losses()
    # −[.8·log σ(1) + .2·log σ(−1)] = log(1 + e⁻¹) + .2
    assert losses.classification.item() == pytest.approx(math.log1p(math.exp(-1)) + 0.2)
    assert losses.regression.item() == pytest.approx(0.25)
    assert losses.slots.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    # the department costs log 2 more where it is known
    named = _losses(departments=torch.tensor([-100, 1]))
    assert named.slots.item() - losses.slots.item() == pytest.approx(math.log(2))


def test_soft_cross_entropy_of_two_logits_is_the_logistic_loss_of_their_difference() -> None:
    output = HeadOutput(torch.tensor([[[0.3, -0.9]]]), torch.zeros(1, 1, 2), torch.zeros(1, 2, 0), torch.zeros(1, 2))
    losses = _losses(
        output=output, second=torch.tensor([[0, 1]]), targets=torch.zeros(1, 2), labels=torch.zeros(1, 2, 0).long(),
        slot_groups=(), departments=torch.tensor([-100]),
    )  # fmt: skip
    wanted = torch.nn.functional.cross_entropy(torch.tensor([[0.3, -0.9]]), torch.tensor([[0.8, 0.2]]))
    assert losses.classification.item() == pytest.approx(wanted.item())


def test_unknown_targets_and_labels_cost_nothing() -> None:
    losses = _losses(targets=torch.tensor([[1.0], [math.nan]]), labels=torch.full((2, 1, 1), -100))
    assert losses.regression.item() == pytest.approx(0.25)
    assert losses.slots.item() == 0
    assert _losses(targets=torch.full((2, 1), math.nan)).regression.item() == 0


@pytest.mark.slow
@pytest.mark.parametrize("form", ["single", "pair"])
def test_a_separable_world_is_learned_for_products_never_seen(form: Any, world: Any, backbone: Any) -> None:
    products = world.products(54)
    seen, unseen = world.data(products[:42]), world.data(products[42:])
    model = build(backbone, form=form, slots=world.slots, departments=world.departments, ensemble=3, seed=0)
    steps = _fit(model, seen, QUICK.model_copy(update={"form": form}))
    assert [step.number for step in steps] == list(range(1, 25 * 6 + 1))
    assert np.mean([step.loss for step in steps[-4:]]) < 0.6 * np.mean([step.loss for step in steps[:4]])
    assert sum(step.validation is not None for step in steps) == 25
    clicks = {"clicks": 1e5 * np.exp(seen.log_ctr), "examinations": np.full(len(seen.creative_ids), 1e5)}
    report = evaluate(
        model, unseen, rng=np.random.default_rng(0), true_log_ctr=unseen.log_ctr, training=replace(seen, **clicks)
    )
    assert report.accuracy.value > 0.9
    # the walls are equally good on average: only the fit of wall and product can tell
    assert report.baselines["scene only"].value < 0.7
    assert report.baselines["caption only"].value == 0.5
    assert report.baselines["product shuffled"].value < 0.7


def test_heads_without_named_slots_learn_factors_of_their_own(world: Any, backbone: Any) -> None:
    data = world.data(world.products(30))
    model = build(backbone, ensemble=2, seed=0)
    _fit(model, replace(data, slots=None), QUICK)
    assert evaluate(model, data, rng=np.random.default_rng(0)).accuracy.value > 0.9


def test_the_same_seed_gives_the_same_weights(world: Any, backbone: Any) -> None:
    data = world.data(world.products(9))
    config = QUICK.model_copy(update={"epochs": 2})
    models = [build(backbone, slots=world.slots, departments=world.departments, seed=0) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        _fit(model, data, config, seed=seed)
    first, again, other = (model.heads.state_dict() for model in models)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["value"], other["value"])


def test_heads_only_leaves_the_backbone_alone(world: Any) -> None:
    backbone = world.fresh_backbone()
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    model = build(backbone, slots=world.slots, departments=world.departments, ensemble=2)
    _fit(model, world.data(world.products(6)), QUICK.model_copy(update={"epochs": 1}))
    assert all(torch.equal(before[name], value) for name, value in backbone.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


@pytest.mark.parametrize(("trainable", "form"), [("full", "single"), ("full", "pair"), ("lora", "pair")])
def test_gradients_reach_the_backbone(trainable: Any, form: Any, world: Any) -> None:
    backbone = world.fresh_backbone()
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    model = build(backbone, form=form, slots=world.slots, departments=world.departments, ensemble=2)
    config = QUICK.model_copy(
        update={
            "epochs": 3,
            "trainable": trainable,
            "form": form,
            "lora_rank": 2,
            "learning_rate": 0.05,
            "weight_decay": 0.0,
        }  # weights that change do so by a gradient
    )
    _fit(model, world.data(world.products(6)), config)
    after = model.backbone.model.state_dict()
    assert after.keys() == before.keys()  # LoRA is folded in: any program opens the checkpoint
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    for part in ("vision_tower", "multi_modal_projector", "language_model"):
        assert any(part in name for name in changed), part


def test_the_best_epoch_is_kept(world: Any, backbone: Any) -> None:
    """Validation products that like the opposite: every epoch makes it worse, so the first one must be kept."""
    data = world.data(world.products(12))
    _, held = training.split(data, share=QUICK.validation_share, rng=np.random.default_rng(0))
    odd = {pair.product_id for pair in held.pairs}
    turned = [replace(pair, preference=1 - pair.preference) if pair.product_id in odd else pair for pair in data.pairs]
    data, held = replace(data, pairs=turned), replace(held, pairs=[p for p in turned if p.product_id in odd])
    model = build(backbone, slots=world.slots, departments=world.departments, ensemble=2)
    measured = [step.validation for step in _fit(model, data, QUICK) if step.validation is not None]
    odds = model.log_odds(
        [data.products[pair.product_id] for pair in held.pairs],
        [data.image(first) for first, _ in held.pair_indices],
        [data.image(second) for _, second in held.pair_indices],
    ).mean(0) * float(model.heads.temperature)  # the loss of an epoch is that of the odds as they were learned
    wanted = np.array([pair.preference for pair in held.pairs])
    loss = np.mean(np.logaddexp(0, -odds) * wanted + np.logaddexp(0, odds) * (1 - wanted))
    assert loss == pytest.approx(min(measured), rel=1e-4)
    assert min(measured) < measured[-1]


@pytest.mark.parametrize("form", ["single", "pair"])
def test_batches_hold_every_pair_of_their_products_the_right_way_round(form: Any, world: Any) -> None:
    data = world.data(world.products(5))
    rows = pair_batch.build_batch(data, form=form, rng=np.random.default_rng(0))
    found = {}
    for chosen in ([0, 3], [1, 2, 4]):
        _, batch = pair_batch.take_products(rows, torch.tensor(chosen))
        firsts, seconds = (batch.creatives[ends[:, 0], ends[:, 1]].tolist() for ends in (batch.first, batch.second))
        assert {data.product_of[place] for place in firsts} == {rows.products[number] for number in chosen}
        found |= dict(zip(zip(firsts, seconds, strict=True), batch.preference.tolist(), strict=True))
    wanted = {tuple(ends): pair.preference for ends, pair in zip(data.pair_indices.tolist(), data.pairs, strict=True)}
    assert found == pytest.approx(wanted)


def test_what_cannot_be_trained_is_refused(world: Any, backbone: Any) -> None:
    data = world.data(world.products(3))
    model = build(backbone, slots=world.slots, departments=world.departments)
    with pytest.raises(ModelError, match="ask for the pair form"):
        _fit(model, data, QUICK.model_copy(update={"form": "pair"}))
    with pytest.raises(ModelError, match="no pair of creatives"):
        _fit(model, replace(data, pairs=[replace(pair, preference=0.5) for pair in data.pairs]), QUICK)


def test_one_product_can_be_trained_on(world: Any, backbone: Any) -> None:
    model = build(backbone, slots=world.slots, departments=world.departments, ensemble=2)
    steps = _fit(model, world.data(world.products(1)), QUICK.model_copy(update={"epochs": 2}))
    assert len(steps) == 2
    assert all(math.isfinite(step.loss) and step.validation is None for step in steps)
