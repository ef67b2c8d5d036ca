"""The heads: hand-worked scores, standardized features, slots and their classes."""

from __future__ import annotations

from dataclasses import replace
from typing import get_type_hints

import pytest
import torch
from jaxtyping import jaxtyped

from clickscape.errors import ModelError
from clickscape.reward.heads import Features, FusionHeads, HeadShape, slot_targets
from clickscape.vlm.slots import NamedSlots


def _heads(**changes: object) -> FusionHeads:
    small = {"sides": 1, "vision_width": 2, "text_width": 2, "hidden_width": 0, "ensemble": 1}
    return FusionHeads(HeadShape(**(small | {"slots": {"wall": ("red",)}} | changes)), seed=0)


def _features(count: int = 1, sides: int = 1, hidden: int = 0, prices: int = 0, image_statistics: int = 0) -> Features:
    generator = torch.Generator().manual_seed(1)
    return Features(
        vision=torch.randn(count, sides, 2, generator=generator),
        text=torch.randn(count, 2, generator=generator),
        hidden=torch.randn(count, hidden, generator=generator),
        price_features=torch.randn(count, prices, generator=generator),
        image_statistics=torch.randn(count, sides, image_statistics, generator=generator),
        department=torch.full((count,), -1),
        scene=torch.full((count, sides, 1), -100),
    )


@torch.no_grad()
def test_a_score_is_the_one_worked_out_by_hand() -> None:
    heads = _heads(departments=("Toys",), statistic_width=1)
    heads.slot_map.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    heads.topic.copy_(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    heads.value.copy_(torch.tensor([[[0.5, 0.0], [0.0, 0.0]]]))
    heads.interaction.copy_(torch.tensor([[[[0.25, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]]))
    heads.statistic.copy_(torch.tensor([[[2.0], [0.0]]]))
    features = Features(
        vision=torch.tensor([[[3.0, 9.0]], [[3.0, 9.0]]]),
        text=torch.tensor([[7.0, 2.0], [7.0, 2.0]]),
        hidden=torch.zeros(2, 0),
        price_features=torch.zeros(2, 0),
        image_statistics=torch.tensor([[[0.5]], [[0.5]]]),
        department=torch.tensor([-1, 0]),
        scene=torch.tensor([[[-100]], [[-100]]]),
    )
    # P(red) = σ(3); the text says P(toy) = σ(2), the second product is known to be one; the statistics add 2 · .5
    red, toy = torch.sigmoid(torch.tensor(3.0)), torch.tensor([torch.sigmoid(torch.tensor(2.0)), 1.0])
    assert torch.allclose(heads(features).logits[0, :, 0], red * (0.5 + 0.25 * toy) + 1)


@torch.no_grad()
def test_without_slots_the_score_depends_on_image_features() -> None:
    heads = _heads(slots={})
    before = heads(_features(count=3)).logits
    heads.picture[0, 0] = torch.tensor([0.0, 2**0.5])
    moved = heads(_features(count=3)).logits - before
    assert torch.allclose(moved[0, :, 0], _features(count=3).vision[:, 0, 1])


@torch.no_grad()
def test_given_names_stay_and_the_others_are_learned() -> None:
    heads = _heads(slots={"wall": ("red", "blue")})
    given = NamedSlots({"wall": ("blue", "green"), "floor": ("oak",)}, torch.tensor([[1.0, 2], [8, 8], [9, 9]]),
                       torch.tensor([0.5, 8.0, 9.0]))  # fmt: skip
    heads.use_named_slots(given)
    features = _features(count=5)
    heads.standardize(features)
    slots = heads(features).slots[:, 0]
    assert torch.allclose(slots[:, 1], features.vision[:, 0] @ torch.tensor([1.0, 2]) + 0.5)
    heads.slot_map.add_(1.0)
    moved = heads(features).slots[:, 0] - slots
    assert torch.equal(moved[:, 1], torch.zeros(5))
    assert moved[:, [0, 2]].abs().min() > 0
    noisy = heads(features, noise=torch.Generator().manual_seed(0))
    assert torch.equal(noisy.slots[:, 0, 1], heads(features).slots[:, 0, 1])  # what was given is not dropped out
    assert torch.equal(noisy.logits, heads(features).logits)
    with pytest.raises(ModelError, match=r"on 3 numbers a picture, this backbone gives 2\. Delete slots.safetensors"):
        heads.use_named_slots(NamedSlots({"wall": ("red",)}, torch.zeros(1, 3), torch.zeros(1)))


@torch.no_grad()
def test_every_part_of_a_score_is_penalized() -> None:
    for name in ("value", "interaction", "statistic", "last_token", "fact_interaction"):
        heads = _heads(departments=("Toys",), statistic_width=1, hidden_width=2, fact_width=1)
        before = heads.penalty()
        getattr(heads, name).add_(1.0)
        assert heads.penalty() > before, name


@torch.no_grad()
def test_small_interactions_are_penalized_quadratically_and_large_ones_linearly() -> None:
    heads = _heads(departments=("Toys",))
    heads.interaction.zero_()
    nothing = heads.penalty()
    costs = []
    for size in (0.001, 0.002, 1.0, 2.0):
        heads.interaction[0, 0, 0, 0] = size
        costs.append(float(heads.penalty() - nothing))
    assert costs[1] / costs[0] == pytest.approx(4, rel=0.05)
    assert costs[3] / costs[2] == pytest.approx(2, rel=0.05)


@torch.no_grad()
def test_product_facts_change_the_effect_of_a_slot() -> None:
    heads, features = _heads(fact_width=1), _features(count=2, prices=1)
    features.price_features[:] = torch.tensor([[2.0], [-1.0]])
    assert not heads.fact_interaction.any()  # a price says nothing before the clicks say that it does
    before = heads(features)
    heads.fact_interaction[0, 0] = torch.tensor([[0.5], [0.0]])
    red = before.slots.softmax(-1)[:, 0, 0]
    # a red wall is worth .5 more per unit of the fact: 2 · .5 = 1 and −1 · .5
    moved = heads(features).logits - before.logits
    assert torch.allclose(moved[0, :, 0], red * torch.tensor([1.0, -0.5]), atol=1e-6)


def test_clicks_do_not_teach_to_name_but_latent_factors_do_learn() -> None:
    for names, learns in (({"departments": ("Toys",)}, False), ({"slots": {}, "departments": ()}, True)):
        heads = _heads(**names)
        with torch.no_grad():
            heads.value.add_(1.0)
        heads(_features(count=3)).logits.square().sum().backward()
        assert (heads.slot_map.grad is not None) == learns
        assert (heads.topic.grad is not None) == learns
        assert heads.value.grad is not None


def test_noise_is_an_argument() -> None:
    heads, features = _heads(), _features(count=20)
    seeded = [heads(features, noise=torch.Generator().manual_seed(seed)).slots for seed in (0, 0, 1)]
    assert torch.equal(seeded[0], seeded[1])
    assert not torch.equal(seeded[0], seeded[2])
    assert torch.equal(heads(features).slots, heads(features).slots)


def test_untrained_heads_are_nearly_indifferent_and_reproducible() -> None:
    features = _features(count=50)
    first, again, other = (FusionHeads(_heads().shape, seed=seed)(features).logits for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.abs().max() < 0.5


def test_sides_share_everything_but_the_last_token() -> None:
    heads = _heads(sides=2, hidden_width=3, ensemble=2)
    features = _features(count=4, sides=2, hidden=3)
    turned = replace(features, vision=features.vision.flip(1))
    with torch.no_grad():
        heads.last_token.zero_()
    assert torch.allclose(heads(features).logits.flip(2), heads(turned).logits, atol=1e-6)
    with torch.no_grad():
        heads.last_token[:, :, 0] = 1.0
    assert not torch.allclose(heads(features).logits.flip(2), heads(turned).logits, atol=1e-3)


def test_standardize_gives_unit_features_and_survives_constant_ones() -> None:
    heads = _heads()
    values = _features(count=200)
    constant = torch.cat([values.text[:, :1], torch.ones(200, 1)], 1)
    shifted = replace(values, vision=values.vision * 50 + 9, text=constant)
    heads.standardize(shifted)
    seen = (shifted.vision - heads.vision_mean) / heads.vision_scale
    assert torch.allclose(seen.mean((0, 1)), torch.zeros(2), atol=1e-4)
    assert torch.allclose(seen.std((0, 1)), torch.ones(2), atol=1e-4)
    assert heads.text_scale[1] == 1.0


def test_soft_slots_are_one_distribution_per_slot() -> None:
    heads = _heads(slots={"wall": ("red", "blue"), "prop": ("none",)})
    soft = heads.soft_slots(heads(_features(count=3)).slots)
    assert soft.shape == (3, 1, 5)  # two walls or no wall at all; one prop or no slot at all
    assert torch.allclose(soft[..., :3].sum(-1), torch.ones(3, 1))
    assert torch.allclose(soft[..., 3:].sum(-1), torch.ones(3, 1))


def test_without_slots_the_factors_are_latent() -> None:
    heads = _heads(slots={})
    assert heads.shape.groups == ()
    assert heads.soft_slots(heads(_features()).slots).abs().max() < 1
    assert heads.topic_weights(heads(_features()).topics, torch.tensor([-1])).shape == (1, 12)


def test_slot_targets_are_classes_and_unknown_values_are_ignored() -> None:
    slots = {"wall": ("red", "blue"), "prop": ("none", "palm")}
    scenes = [{"wall": "blue", "prop": "none"}, {"wall": None, "prop": "cactus"}, {}]
    assert slot_targets(slots, scenes).tolist() == [[1, 0], [2, -100], [-100, -100]]
    assert slot_targets({}, scenes).shape == (3, 0)


@torch.no_grad()
def test_a_noted_scene_counts_only_for_heads_that_learned_so() -> None:
    noted = replace(_features(count=3), scene=torch.tensor([[[0]], [[1]], [[-100]]]))
    for given in (False, True):
        heads = _heads(given_scenes=given)
        heads.value[0, 0] = torch.tensor([1.0, 0.0])
        heads.interaction.zero_()
        seen, scores = heads(_features(count=3)).logits[0, :, 0], heads(noted).logits[0, :, 0]
        assert torch.equal(scores, seen) != given
        if given:
            assert scores.tolist() == [1.0, 0.0, pytest.approx(float(seen[2]))]


@pytest.mark.parametrize("sides", [1, 2])
@torch.no_grad()
def test_tensors_have_the_shapes_that_their_annotations_name(sides: int) -> None:
    """Rows, sides, factors and topics mean the same number in features, predicted slots and scores."""
    heads = _heads(sides=sides, hidden_width=3, ensemble=4, fact_width=2, statistic_width=5, departments=("A", "B"))
    features = _features(count=7, sides=sides, hidden=3, prices=2, image_statistics=5)
    with jaxtyped("context"):
        for record in (features, heads.predict_slots(features), heads(features)):
            for name, annotation in get_type_hints(type(record)).items():
                assert isinstance(getattr(record, name), annotation), f"{type(record).__name__}.{name}"
