from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clickscape.preference.loss import AnswerLogProbs, pcpo_loss

LOG2 = math.log(2)


def log_probs(chosen: list[float], rejected: list[float], corrupted: list[float] | None = None) -> AnswerLogProbs:
    double = lambda values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    return AnswerLogProbs(double(chosen), double(rejected), None if corrupted is None else double(corrupted))


def test_the_loss_worked_out_by_hand() -> None:
    # Δ(y+|x) = −10 − (−12) = 2, Δ(y−|x) = −11 − (−10) = −1, Δ(y+|x̃) = −13 − (−13.5) = 0.5; β = 0.5:
    # −log σ(0.5 · 3) = log(1 + e^−1.5), −log σ(0.5 · 1.5) = log(1 + e^−0.75)
    policy, reference = log_probs([-10], [-11], [-13]), log_probs([-12], [-10], [-13.5])
    loss = pcpo_loss(policy, reference, beta=0.5, weight=0.7)
    preference, product = math.log(1 + math.exp(-1.5)), math.log(1 + math.exp(-0.75))
    assert loss.preference.item() == pytest.approx(preference)
    assert loss.product.item() == pytest.approx(product)
    assert loss.total.item() == pytest.approx(preference + 0.7 * product)
    assert loss.margin.item() == pytest.approx(3.0)
    assert loss.corrupted_log_ratio is not None
    assert (loss.chosen_log_ratio.item(), loss.rejected_log_ratio.item(), loss.corrupted_log_ratio.item()) == (
        2.0,
        -1.0,
        0.5,
    )


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 2.5])
def test_a_policy_equal_to_the_reference_has_a_loss_of_log_2_per_term(weight: float) -> None:
    same = log_probs([-10, -3.3], [-11, -40], [-13, -2])
    loss = pcpo_loss(same, same, beta=0.5, weight=weight)
    assert loss.total.tolist() == pytest.approx([(1 + weight) * LOG2] * 2)


def test_with_zero_weight_it_is_plain_dpo_and_needs_no_corrupted_input() -> None:
    policy, reference = log_probs([-10, -4], [-11, -9]), log_probs([-12, -5], [-10, -6])
    loss = pcpo_loss(policy, reference, beta=0.1, weight=0.0)
    # Rafailov et al. 2023, eq. 7: margins 3 and (1 − (−3)) = 4
    assert loss.total.tolist() == pytest.approx([math.log(1 + math.exp(-0.3)), math.log(1 + math.exp(-0.4))])
    assert loss.corrupted_log_ratio is None
    with pytest.raises(ValueError, match="product-centric term needs"):
        pcpo_loss(policy, reference, beta=0.1, weight=1.0)


def test_with_zero_weight_a_corrupted_input_is_logged_but_adds_no_loss() -> None:
    policy, reference = log_probs([-10], [-11], [-13]), log_probs([-12], [-10], [-13.5])
    policy.corrupted.requires_grad_()
    policy.chosen.requires_grad_()
    loss = pcpo_loss(policy, reference, beta=0.5, weight=0.0)
    loss.total.sum().backward()
    assert policy.corrupted.grad is None
    assert loss.corrupted_log_ratio.item() == 0.5


def test_anchors_worked_out_by_hand() -> None:
    policy, reference = log_probs([-10], [-11]), log_probs([-12], [-10])
    plain = math.log(1 + math.exp(-1.5))
    tokens = torch.tensor([8])
    nll = pcpo_loss(policy, reference, beta=0.5, weight=0, anchor="nll", anchor_weight=0.5, chosen_tokens=tokens)
    assert nll.total.item() == pytest.approx(plain + 0.5 * 10 / 8)
    with pytest.raises(ValueError, match="chosen_tokens"):
        pcpo_loss(policy, reference, beta=0.5, weight=0, anchor="nll")


def test_gradients_worked_out_by_hand() -> None:
    # d/dx −log σ(βx) = −β σ(−βx); the chosen answer is pulled by both terms, each other one by its own
    policy, reference = log_probs([-10], [-11], [-13]), log_probs([-12], [-10], [-13.5])
    for part in (policy.chosen, policy.rejected, policy.corrupted):
        part.requires_grad_()
    pcpo_loss(policy, reference, beta=0.5, weight=1.0).total.sum().backward()
    first, second = 0.5 / (1 + math.exp(1.5)), 0.5 / (1 + math.exp(0.75))
    assert policy.chosen.grad.item() == pytest.approx(-first - second)
    assert policy.rejected.grad.item() == pytest.approx(first)
    assert policy.corrupted.grad.item() == pytest.approx(second)


def test_soft_labels_worked_out_by_hand() -> None:
    # h = 0.5 · 3 = 1.5: −0.8 log σ(1.5) − 0.2 log σ(−1.5)
    policy, reference = log_probs([-10], [-11], [-13]), log_probs([-12], [-10], [-13.5])
    soft = torch.tensor([0.8], dtype=torch.float64)
    loss = pcpo_loss(policy, reference, beta=0.5, weight=1, probability=soft)
    preference = 0.8 * math.log(1 + math.exp(-1.5)) + 0.2 * math.log(1 + math.exp(1.5))
    assert loss.preference.item() == pytest.approx(preference)
    assert loss.product.item() == pytest.approx(math.log(1 + math.exp(-0.75)))  # as without
    assert loss.total.item() == pytest.approx(preference + math.log(1 + math.exp(-0.75)))


@pytest.mark.parametrize(("p", "margin"), [(0.5, 0.0), (0.8, math.log(4)), (0.99, math.log(99))])
def test_soft_labels_are_minimal_at_the_reward_margin_and_start_as_weighted_dpo(p: float, margin: float) -> None:
    soft, zero = torch.tensor([p], dtype=torch.float64), log_probs([0], [0])

    def pull(ahead: float, probability: torch.Tensor | None) -> float:
        policy = log_probs([ahead], [0])
        policy.chosen.requires_grad_()
        pcpo_loss(policy, zero, beta=0.5, weight=0, probability=probability).total.sum().backward()
        return policy.chosen.grad.item()

    assert pull(margin / 0.5, soft) == pytest.approx(0, abs=1e-12)
    assert pull(0, soft) == pytest.approx((2 * p - 1) * pull(0, None))


@given(margin=st.floats(-2_000, 2_000))
def test_certain_labels_are_plain_dpo(margin: float) -> None:
    policy, reference = log_probs([margin], [0]), log_probs([0], [0])
    one = torch.ones(1, dtype=torch.float64)
    certain = pcpo_loss(policy, reference, beta=0.5, weight=0, probability=one)
    assert certain.total.item() == pcpo_loss(policy, reference, beta=0.5, weight=0).total.item()


nats = st.floats(-300, 0)


@given(a=nats, b=nats, c=nats, shift=st.floats(-50, 50), beta=st.floats(0.01, 2))
def test_the_loss_depends_only_on_log_ratios_to_the_reference(
    a: float, b: float, c: float, shift: float, beta: float
) -> None:
    reference = log_probs([a], [b], [c])
    moved = log_probs([a + shift], [b + shift], [c + shift])
    assert pcpo_loss(moved, reference, beta=beta, weight=1).total.item() == pytest.approx(2 * LOG2, abs=1e-9)


@given(margin=st.floats(-2_000, 2_000))
def test_the_loss_never_overflows(margin: float) -> None:
    policy, reference = log_probs([margin], [0], [0]), log_probs([0], [0], [0])
    policy.chosen.requires_grad_()
    loss = pcpo_loss(policy, reference, beta=0.5, weight=1, anchor="nll", chosen_tokens=torch.ones(1)).total
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(policy.chosen.grad).all()
