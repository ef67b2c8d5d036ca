from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clickscape.config import OptimizeConfig
from clickscape.errors import ModelError
from clickscape.preference import adapter
from clickscape.preference.corruption import CorruptedInput
from clickscape.preference.pairs import PreferencePair
from clickscape.preference.train import (
    TrainingPairs,
    build_training_pairs,
    pair_log_probs,
    patch_grid,
    question,
    tower_features,
    train,
)
from clickscape.types import Product
from clickscape.vlm.batch import Sample, answer_log_probs, collate, image_features
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import product_text

Build = Callable[..., VisionLanguageModel]
Pictures = Callable[[Product], np.ndarray]


def test_corrupted_samples_keep_the_answer_and_change_only_the_product(
    training_pairs: TrainingPairs, pairs: list[PreferencePair], products: list[Product], pictures: Pictures
) -> None:
    by_id = {product.product_id: product for product in products}
    for training_pair, pair in zip(training_pairs.pairs, pairs, strict=True):
        product = by_id[pair.product_id]
        assert (training_pair.chosen, training_pair.rejected) == (pair.chosen, pair.rejected)
        assert product_text(product) in training_pair.question
        assert (training_pairs.pictures[training_pair.picture] == pictures(product)).all()
        assert pair.corrupted is not None
        if pair.corrupted.caption_of is not None:
            other = by_id[pair.corrupted.caption_of]
            assert product_text(other) in training_pair.corrupted_question
            assert product_text(product) not in training_pair.corrupted_question
            assert other.department != product.department
            assert training_pair.corrupted_picture == training_pair.picture
        else:
            assert training_pair.corrupted_question == training_pair.question
            same = training_pairs.pictures[training_pair.corrupted_picture] == pictures(product)
            corners = [(row, column) for row in range(0, 32, 8) for column in range(0, 32, 8)]
            hidden = [not same[row : row + 8, column : column + 8].all() for row, column in corners]
            assert [number for number in range(16) if hidden[number]] == list(pair.corrupted.hidden)


def test_texts_are_trained_exactly_as_sampled(build: Build, products: list[Product], pictures: Pictures) -> None:
    vlm = build(0)
    odd = " two  spaces, a trailing comma,\n"
    pair = PreferencePair(products[0].product_id, odd, odd.strip(), 1.0)
    training_pairs = build_training_pairs(
        [pair], products={products[0].product_id: products[0]}, pictures=pictures, vlm=vlm
    )
    scored = pair_log_probs(vlm, training_pairs, product_centric=False)
    asked, seen = question(products[0]), (pictures(products[0]),)
    for text, value in ((odd, scored.chosen), (odd.strip(), scored.rejected)):
        batch = collate(vlm, [Sample(asked, seen, text)], side="right", answers=True)
        answer = batch.labels[batch.labels != -100].tolist()
        assert vlm.tokenizer.decode(answer) == text + vlm.tokenizer.eos_token
        torch.testing.assert_close(value, answer_log_probs(vlm, batch).detach(), rtol=1e-5, atol=1e-5)


def test_the_patch_grid_is_that_of_the_vision_tower(build: Build) -> None:
    vlm = build(0)
    assert patch_grid(vlm) == 4
    assert patch_grid(vlm) ** 2 == vlm.image_tokens


def test_the_vision_tower_gets_the_pixels_of_the_image_processor(build: Build, training_pairs: TrainingPairs) -> None:
    vlm = build(0)
    features = tower_features(vlm, training_pairs.pictures)
    assert features is not None
    projected = vlm.core.model.multi_modal_projector(features)
    torch.testing.assert_close(projected, image_features(vlm, training_pairs.pictures), rtol=0, atol=0)


def test_the_first_loss_is_log_2_per_term(build: Build, training_pairs: TrainingPairs) -> None:
    vlm = build(0)
    reference = pair_log_probs(vlm, training_pairs, product_centric=True)
    config = OptimizeConfig(anchor="none", batch_size=4, epochs=1, weight=0.5)
    first = next(train(vlm, training_pairs, reference=reference, config=config, rng=np.random.default_rng(0)))
    assert first.loss == pytest.approx(1.5 * math.log(2), abs=1e-5)
    assert (first.chosen, first.rejected, first.corrupted) == pytest.approx((0, 0, 0), abs=1e-4)
    assert first.steps == 3


def test_the_reference_uses_its_own_vision_tower_and_projector(build: Build, training_pairs: TrainingPairs) -> None:
    own = build(0)
    expected = pair_log_probs(own, training_pairs, product_centric=True)
    other = build(0)
    with torch.no_grad():
        for name, parameter in other.model.named_parameters():
            if "vision_tower" in name or "projector" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    assert (pair_log_probs(other, training_pairs, product_centric=True).chosen - expected.chosen).abs().max() > 1e-3
    # a policy whose tower has moved does not drag the cached reference with it
    config = OptimizeConfig(batch_size=5, epochs=2, learning_rate=1e-2, train_tower=True)
    policy = build(0)
    list(train(policy, training_pairs, reference=expected, config=config, rng=np.random.default_rng(0)))
    assert (pair_log_probs(policy, training_pairs, product_centric=True).chosen - expected.chosen).abs().max() > 0.1
    again = pair_log_probs(own, training_pairs, product_centric=True)
    for part in ("chosen", "rejected", "corrupted"):
        torch.testing.assert_close(getattr(again, part), getattr(expected, part), rtol=0, atol=0)


def test_the_vision_tower_is_frozen_and_the_rest_is_trained(build: Build, training_pairs: TrainingPairs) -> None:
    policy, before = build(0), build(0).model.state_dict()
    reference = pair_log_probs(policy, training_pairs, product_centric=True)
    config = OptimizeConfig(batch_size=5, epochs=1, learning_rate=1e-3)
    list(train(policy, training_pairs, reference=reference, config=config, rng=np.random.default_rng(0)))
    moved = {name for name, value in policy.model.state_dict().items() if not torch.equal(value, before[name])}
    assert any("language_model" in name for name in moved)
    assert any("projector" in name for name in moved)
    assert not any("vision_tower" in name for name in moved)


def test_the_same_generator_gives_the_same_policy(build: Build, training_pairs: TrainingPairs) -> None:
    config = OptimizeConfig(batch_size=4, epochs=2, learning_rate=1e-3)
    results = []
    for seed in (0, 0, 1):
        policy = build(0)
        reference = pair_log_probs(policy, training_pairs, product_centric=True)
        steps = list(train(policy, training_pairs, reference=reference, config=config, rng=np.random.default_rng(seed)))
        results.append((steps, policy.model.state_dict()))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(results[0][1][name], value) for name, value in results[1][1].items())
    assert results[0][0] != results[2][0]


def test_the_preference_only_objective_never_scores_corrupted_inputs(
    build: Build, pairs: list[PreferencePair], products: list[Product], pictures: Pictures
) -> None:
    bare = [PreferencePair(pair.product_id, pair.chosen, pair.rejected, pair.margin) for pair in pairs]
    by_id = {product.product_id: product for product in products}
    training_pairs = build_training_pairs(bare, products=by_id, pictures=pictures, vlm=build(0))
    assert len(training_pairs.pictures) == len(bare)
    config = OptimizeConfig(objective="preference_only", anchor="none", epochs=1)
    vlm = build(0)
    reference = pair_log_probs(vlm, training_pairs, product_centric=False)
    step = next(train(vlm, training_pairs, reference=reference, config=config, rng=np.random.default_rng(0)))
    assert step.loss == pytest.approx(math.log(2), abs=1e-5)
    assert step.corrupted is None
    with pytest.raises(ValueError, match="corrupted input for every pair"):
        pair_log_probs(vlm, training_pairs, product_centric=True)


@pytest.mark.slow
def test_training_raises_chosen_over_rejected_and_corrupted(build: Build, training_pairs: TrainingPairs) -> None:
    gaps = {}
    for objective in ("product_centric", "preference_only"):
        policy = build(0)
        reference = pair_log_probs(policy, training_pairs, product_centric=True)
        config = OptimizeConfig(objective=objective, anchor="none", batch_size=10, epochs=20, learning_rate=3e-3)
        steps = list(train(policy, training_pairs, reference=reference, config=config, rng=np.random.default_rng(0)))
        assert steps[-1].accuracy >= 0.7  # 0.9 or 1 over seeds
        assert steps[-1].margin > 3  # 9.9 to 18.3
        after = pair_log_probs(policy, training_pairs, product_centric=True)
        assert after.corrupted is not None
        assert reference.corrupted is not None
        log_ratio, corrupted_log_ratio = after.chosen - reference.chosen, after.corrupted - reference.corrupted
        gaps[objective] = float((log_ratio - corrupted_log_ratio).mean())
    # only the product-centric term asks that the product's information carries the answer
    assert gaps["product_centric"] > gaps["preference_only"]  # by 5.7 to 20.8


@pytest.mark.slow
def test_soft_labels_train_to_the_reward_margin(build: Build, training_pairs: TrainingPairs) -> None:
    """Where DPO pushes on and on, soft labels rest: β · margin of the policy = margin of the reward."""
    doubtful = replace(training_pairs, pairs=tuple(replace(one, probability=0.75) for one in training_pairs.pairs))
    ends = {}
    for preference in ("dpo", "margin_dpo"):
        policy = build(0)
        reference = pair_log_probs(policy, doubtful, product_centric=False)
        config = OptimizeConfig(
            preference=preference, weight=0, anchor="none", batch_size=10, epochs=25, learning_rate=6e-3
        )
        *_, last = train(policy, doubtful, reference=reference, config=config, rng=np.random.default_rng(0))
        ends[preference] = config.beta * last.margin
    assert ends["margin_dpo"] == pytest.approx(math.log(3), abs=0.3)
    assert ends["dpo"] > 3


@pytest.mark.slow
def test_an_adapter_starts_as_the_reference_and_detached_stays_it(build: Build, training_pairs: TrainingPairs) -> None:
    plain = pair_log_probs(build(0), training_pairs, product_centric=True)
    policy = adapter.attach(build(0), rank=4, seed=1)
    torch.testing.assert_close(
        pair_log_probs(policy, training_pairs, product_centric=True).chosen, plain.chosen, rtol=0, atol=0
    )
    config = OptimizeConfig(lora_rank=4, batch_size=5, epochs=10, learning_rate=1e-2, anchor_weight=0.5)
    steps = list(train(policy, training_pairs, reference=plain, config=config, rng=np.random.default_rng(0)))
    assert steps[-1].number == 20
    with adapter.disabled(policy):
        detached = pair_log_probs(policy, training_pairs, product_centric=True)
    for part in ("chosen", "rejected", "corrupted"):
        torch.testing.assert_close(getattr(detached, part), getattr(plain, part), rtol=0, atol=0)
    attached, merged = (
        pair_log_probs(vlm, training_pairs, product_centric=True) for vlm in (policy, adapter.merged(policy))
    )
    torch.testing.assert_close(attached.chosen, merged.chosen, rtol=1e-4, atol=1e-3)
    assert (attached.chosen - plain.chosen).abs().max() > 0.1


def test_adapters_are_drawn_from_their_seed_and_come_back_from_a_file(build: Build, tmp_path: Path) -> None:
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    first, second, third = (adapter.attach(build(0), rank=4, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = [dict(vlm.model.named_parameters()) for vlm in (first, second, third)]
    drawn = [name for name in weights[0] if ".lora_A." in name]
    assert all("language_model" in name for name in drawn)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in drawn)
    assert not any(torch.equal(weights[0][name], weights[2][name]) for name in drawn)
    adapter.save(first, tmp_path)
    adapter.restore(third, tmp_path)
    assert all(torch.equal(weights[0][name], weights[2][name]) for name in drawn)
    with pytest.raises(ModelError, match="another model or rank"):
        adapter.restore(adapter.attach(build(0), rank=2, seed=1), tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"not an adapter")
    with pytest.raises(ModelError, match="damaged"):
        adapter.restore(first, tmp_path)


def test_a_swapped_caption_must_be_of_a_known_product(
    build: Build, products: list[Product], pictures: Pictures
) -> None:
    pair = PreferencePair(products[0].product_id, "a", "b", 1.0, CorruptedInput(caption_of="nobody"))
    with pytest.raises(KeyError, match="nobody"):
        build_training_pairs([pair], products={products[0].product_id: products[0]}, pictures=pictures, vlm=build(0))
