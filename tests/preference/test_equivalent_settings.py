"""Settings of preference training that must not change what it computes: the same loss and gradient, to 1e-9.

A policy that has moved away from its reference, so that no term of the loss is at rest.
"""

from __future__ import annotations

import pytest
import torch
from tests.factory import corrupted_pairs, noise_picture, tiny_vlm
from torch.nn.functional import logsigmoid

from clickscape.config import OptimizeConfig
from clickscape.preference.loss import AnswerLogProbs
from clickscape.preference.pairs import PreferencePair
from clickscape.preference.train import (
    TrainingPairs,
    backward_in_chunks,
    build_training_pairs,
    pair_log_probs,
    question,
    sample_log_probs,
    tower_features,
    trainable_parameters,
)
from clickscape.types import Product
from clickscape.vlm import answers, logits
from clickscape.vlm.batch import Sample, answer_log_probs, collate
from clickscape.vlm.model import VisionLanguageModel

TEXTS = ["oak table, soft light", "sand, noon, palm leaves, on a beach", "neon city, ice", "slate slab"]
PRODUCTS = {
    f"{department}{number}": Product(f"{department}{number}", f"{department} thing {number}", (department,))
    for department in ("Drinks", "Toys")
    for number in range(4)
}


def model(*, moved: bool) -> VisionLanguageModel:
    """Random weights in float64; `moved`: some way off."""
    vlm = tiny_vlm([*TEXTS, *(question(product) for product in PRODUCTS.values())])
    vlm.model.double().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for parameter in vlm.model.parameters():
        parameter.add_(0.05 * moved * torch.randn(parameter.shape, generator=generator))
    return vlm


@pytest.fixture(scope="module")
def pairs() -> list[PreferencePair]:
    return corrupted_pairs(list(PRODUCTS.values()), TEXTS)


@pytest.fixture(scope="module")
def training_pairs(pairs: list[PreferencePair]) -> TrainingPairs:
    return build_training_pairs(pairs, products=PRODUCTS, pictures=noise_picture, vlm=model(moved=False))


def gradients(
    vlm: VisionLanguageModel,
    training_pairs: TrainingPairs,
    *,
    reference: AnswerLogProbs,
    config: OptimizeConfig,
    cached: bool = True,
) -> tuple[float, dict[str, torch.Tensor]]:
    trainable_parameters(vlm, config=config)
    vlm.model.zero_grad(set_to_none=True)
    features = tower_features(vlm, training_pairs.pictures) if cached else None
    rows = range(len(training_pairs))
    losses = backward_in_chunks(vlm, training_pairs, rows, reference=reference, features=features, config=config)
    found = {name: value.grad.clone() for name, value in vlm.model.named_parameters() if value.grad is not None}
    return float(torch.cat([loss.total.detach() for loss in losses]).mean()), found


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], *, within: float) -> None:
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=within, atol=within)


@pytest.mark.usefixtures("exact")
def test_a_step_equals_the_plain_implementation_of_the_loss(training_pairs: TrainingPairs) -> None:
    """Three passes per pair, every picture through the tower, the reference beside it: the same loss and gradient."""
    config = OptimizeConfig(anchor="nll", anchor_weight=0.3, beta=0.4, weight=0.7, pairs_per_pass=3)
    pretrained, policy = model(moved=False), model(moved=True)
    loss, found = gradients(
        policy,
        training_pairs,
        reference=pair_log_probs(pretrained, training_pairs, product_centric=True),
        config=config,
    )
    policy.model.zero_grad(set_to_none=True)

    def log_prob(vlm: VisionLanguageModel, asked: str, picture: int, text: str) -> torch.Tensor:
        sample = Sample(asked, (training_pairs.pictures[picture],), text)
        return answer_log_probs(vlm, collate(vlm, [sample], side="right", answers=True))[0]

    total = torch.zeros((), dtype=torch.float64)
    for one in training_pairs.pairs:
        assert one.corrupted_question is not None
        sequences = (
            (one.question, one.picture, one.chosen),
            (one.question, one.picture, one.rejected),
            (one.corrupted_question, one.corrupted_picture, one.chosen),
        )
        now = [log_prob(policy, *sequence) for sequence in sequences]
        with torch.no_grad():
            then = [log_prob(pretrained, *sequence) for sequence in sequences]
        chosen, rejected, corrupted = (a - b for a, b in zip(now, then, strict=True))
        tokens = len(policy.tokenizer(one.chosen, add_special_tokens=False).input_ids) + 1
        total = total - logsigmoid(0.4 * (chosen - rejected)) - 0.7 * logsigmoid(0.4 * (chosen - corrupted))
        total = total - 0.3 * now[0] / tokens
    (total / len(training_pairs)).backward()
    assert loss == pytest.approx(total.item() / len(training_pairs), abs=1e-9)
    expected = {name: value.grad for name, value in policy.model.named_parameters() if value.grad is not None}
    assert_same(found, expected, within=1e-9)


@pytest.mark.usefixtures("exact")
def test_accumulated_gradients_equal_those_of_one_batch(training_pairs: TrainingPairs) -> None:
    policy = model(moved=True)
    reference = pair_log_probs(model(moved=False), training_pairs, product_centric=True)
    whole = gradients(policy, training_pairs, reference=reference, config=OptimizeConfig(pairs_per_pass=16))
    for some in (1, 4):
        parts = gradients(policy, training_pairs, reference=reference, config=OptimizeConfig(pairs_per_pass=some))
        assert parts[0] == pytest.approx(whole[0], abs=1e-9)
        assert_same(parts[1], whole[1], within=1e-9)


@pytest.mark.usefixtures("exact")
def test_cached_vision_features_change_nothing(training_pairs: TrainingPairs) -> None:
    policy = model(moved=True)
    reference = pair_log_probs(model(moved=False), training_pairs, product_centric=True)
    cached = gradients(policy, training_pairs, reference=reference, config=OptimizeConfig())
    recomputed = gradients(policy, training_pairs, reference=reference, config=OptimizeConfig(), cached=False)
    assert cached[0] == pytest.approx(recomputed[0], abs=1e-9)
    assert_same(cached[1], recomputed[1], within=1e-9)
    assert any("projector" in name for name in cached[1])
    assert not any("vision_tower" in name for name in cached[1])
    tower = gradients(
        policy, training_pairs, reference=reference, config=OptimizeConfig(train_tower=True), cached=False
    )
    assert any("vision_tower" in name for name in tower[1])


@pytest.mark.usefixtures("exact")
def test_packed_answers_equal_answers_one_by_one(
    training_pairs: TrainingPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = model(moved=True)
    reference = pair_log_probs(model(moved=False), training_pairs, product_centric=True)
    packed = gradients(policy, training_pairs, reference=reference, config=OptimizeConfig())
    monkeypatch.setattr(answers, "can_pack", lambda vlm: False)
    torch.testing.assert_close(
        pair_log_probs(model(moved=False), training_pairs, product_centric=True).corrupted,
        reference.corrupted,
        rtol=1e-9,
        atol=1e-9,
    )
    separate = gradients(policy, training_pairs, reference=reference, config=OptimizeConfig())
    assert packed[0] == pytest.approx(separate[0], abs=1e-9)
    assert_same(packed[1], separate[1], within=1e-9)


@pytest.mark.usefixtures("exact")
def test_chunked_logits_equal_full_logits(training_pairs: TrainingPairs, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = model(moved=True)
    reference = pair_log_probs(model(moved=False), training_pairs, product_centric=True)
    whole = gradients(policy, training_pairs, reference=reference, config=OptimizeConfig())
    made: list[int] = []
    policy.core.lm_head.register_forward_hook(lambda _, args, output: made.append(output.numel()))
    for at_once in (1_000, 5_000):
        monkeypatch.setattr(logits.target_log_probs, "__kwdefaults__", {"at_once": at_once})
        made.clear()
        parts = gradients(policy, training_pairs, reference=reference, config=OptimizeConfig())
        assert max(made) <= at_once
        assert parts[0] == pytest.approx(whole[0], abs=1e-9)
        assert_same(parts[1], whole[1], within=1e-9)


@pytest.mark.usefixtures("exact")
def test_batched_scores_equal_single_scores(pairs: list[PreferencePair], training_pairs: TrainingPairs) -> None:
    vlm = model(moved=True)
    together = pair_log_probs(vlm, training_pairs, product_centric=True)
    for row, pair in enumerate(pairs):
        alone = pair_log_probs(
            vlm, build_training_pairs([pair], products=PRODUCTS, pictures=noise_picture, vlm=vlm), product_centric=True
        )
        for part in ("chosen", "rejected", "corrupted"):
            torch.testing.assert_close(getattr(together, part)[row], getattr(alone, part)[0], rtol=1e-9, atol=1e-9)
    owners = [PRODUCTS[pair.product_id] for pair in pairs]
    samples = [
        Sample(question(product), (noise_picture(product),), pair.chosen)
        for product, pair in zip(owners, pairs, strict=True)
    ]
    torch.testing.assert_close(sample_log_probs(vlm, samples), together.chosen, rtol=1e-9, atol=1e-9)
