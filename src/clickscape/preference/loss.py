"""The loss of product-centric preference optimization, and nothing else: log-probabilities in, nats out.

Written with Δ(y|x) = log π_θ(y|x) − log π_ref(y|x), how far the policy moved (Chen et al. 2025, eq. 9).
With weight 0 it is plain DPO (Rafailov et al. 2023, eq. 7).  With the reward model's probability p of every pair, the
preference term is the cross entropy −p log σ(h) − (1 − p) log σ(−h), h = β[Δ(y+|x) − Δ(y−|x)]: the conservative DPO of
Mitchell (2023), each pair with an ε = 1 − p of its own.  At the reference its gradient is that of DPO times 2p − 1, and
it rests where h is the reward's own margin, log p/(1 − p), while DPO pushes a certain and a doubtful pair alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

Anchor = Literal["none", "nll"]


@dataclass(frozen=True, slots=True, eq=False)
class AnswerLogProbs:
    """log π of whole answers, nats, each (pair,): y+ given x, y− given x, y+ given corrupted x̃ (None: not scored)."""

    chosen: Float[Tensor, " pair"]
    rejected: Float[Tensor, " pair"]
    corrupted: Float[Tensor, " pair"] | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> AnswerLogProbs:
        """Return the same with `change` applied to what was scored: moved to a device, some rows of it."""
        corrupted = None if self.corrupted is None else change(self.corrupted)
        return AnswerLogProbs(change(self.chosen), change(self.rejected), corrupted)


@dataclass(frozen=True, slots=True, eq=False)
class PreferenceLoss:
    """Every term of the loss and both Δ that each compares, all (pair,) in nats.

    ``total`` = preference + weight · product + anchor_weight · anchor.  Only total carries a gradient;
    ``corrupted_log_ratio`` is None where the corrupted input was not scored.
    """

    total: Float[Tensor, " pair"]
    preference: Float[Tensor, " pair"]
    product: Float[Tensor, " pair"]
    anchor: Float[Tensor, " pair"]
    chosen_log_ratio: Float[Tensor, " pair"]
    rejected_log_ratio: Float[Tensor, " pair"]
    corrupted_log_ratio: Float[Tensor, " pair"] | None

    @property
    def margin(self) -> Float[Tensor, " pair"]:
        """Δ(y+|x) − Δ(y−|x), nats, (pair,): how much further the policy has moved towards the chosen description."""
        return self.chosen_log_ratio - self.rejected_log_ratio

    def some(self, chosen: Bool[Tensor, " pair"]) -> PreferenceLoss:
        """Return the terms of some of the pairs."""
        parts: dict[str, Tensor | None] = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: part[chosen] for name, part in parts.items() if part is not None})


def pcpo_loss(
    policy: AnswerLogProbs,
    reference: AnswerLogProbs,
    *,
    beta: float,
    weight: float,
    anchor: Anchor = "none",
    anchor_weight: float = 0.5,
    chosen_tokens: Int[Tensor, " pair"] | None = None,
    probability: Float[Tensor, " pair"] | None = None,
) -> PreferenceLoss:
    """Preference and product-centric loss of every pair, nats (Chen et al. 2025, eq. 9).

    −log σ(β[Δ(y+|x) − Δ(y−|x)]) + weight · (−log σ(β[Δ(y+|x) − Δ(y+|x̃)])) + anchor_weight · anchor, where the anchor
    `nll` is −log π(y+|x) per token (needs chosen_tokens, (pair,)).
    `probability`, (pair,): P(y+ ≻ y−), None: 1; the product-centric term compares an answer with itself and needs none.
    At π_θ = π_ref without an anchor it is (1 + weight) · log 2.  ValueError when a part that it needs is missing.
    """
    chosen = policy.chosen - reference.chosen
    rejected = policy.rejected - reference.rejected
    lead = beta * (chosen - rejected)
    preference = -logsigmoid(lead)
    if probability is not None:  # −log σ(−h) = h − log σ(h)
        preference = preference + (1 - probability.to(lead)) * lead
    total = preference

    corrupted: Float[Tensor, " pair"] | None = None
    product = preference.new_zeros(preference.shape)
    if policy.corrupted is not None and reference.corrupted is not None:
        corrupted = policy.corrupted - reference.corrupted
        product = -logsigmoid(beta * (chosen - corrupted))
    if weight > 0:
        if corrupted is None:
            raise ValueError(
                "the product-centric term needs log π(y+|x̃) of policy and reference; score it, or use weight 0"
            )
        total = total + weight * product

    anchored = preference.new_zeros(preference.shape)
    if anchor == "nll":
        if chosen_tokens is None:
            raise ValueError(
                "the nll anchor is per token: pass chosen_tokens, the number of tokens of every chosen answer"
            )
        anchored = -policy.chosen / chosen_tokens
        total = total + anchor_weight * anchored

    return PreferenceLoss(
        total=total,
        preference=preference.detach(),
        product=product.detach(),
        anchor=anchored.detach(),
        chosen_log_ratio=chosen.detach(),
        rejected_log_ratio=rejected.detach(),
        corrupted_log_ratio=None if corrupted is None else corrupted.detach(),
    )
