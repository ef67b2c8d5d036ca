from __future__ import annotations

import pytest
import torch

from clickscape.vlm.logits import target_log_probs


@pytest.fixture
def places(small):
    """13 hidden states, and the tokens that come after them."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = small.core.config.get_text_config().vocab_size
    hidden = torch.randn(13, small.hidden_size, generator=generator, dtype=torch.float64)
    return hidden, torch.randint(vocabulary, (13,), generator=generator), vocabulary


def test_chunked_log_probs_equal_full_ones_and_hold_one_chunk_at_a_time(build, places) -> None:
    vlm = build(seed=3)
    vlm.model.double().requires_grad_(True)
    hidden, targets, vocabulary = places
    head = vlm.core.get_output_embeddings()
    made: list[int] = []
    hook = head.register_forward_hook(lambda _, args, output: made.append(len(output)))
    results = []
    for at_once in (13 * vocabulary, 4 * vocabulary + 7, 1):
        kept: list[int] = []
        asked = hidden.clone().requires_grad_(True)
        made.clear()

        def keep(value: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            if value.shape[1:] == (vocabulary,):
                kept.append(len(value))
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            values = target_log_probs(vlm, asked, targets, at_once=at_once)
        vlm.model.zero_grad(set_to_none=True)
        (values * torch.linspace(-1, 2, 13)).sum().backward()
        results.append((values.detach(), asked.grad, head.weight.grad.clone(), max(made), sum(kept)))
    hook.remove()
    whole = results[0]
    logits = hidden @ head.weight.detach().T
    torch.testing.assert_close(whole[0], logits.log_softmax(-1).gather(1, targets[:, None])[:, 0])
    for part, rows in zip(results[1:], (4, 1), strict=True):
        for found, expected in zip(part[:3], whole[:3], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        assert part[3] == rows
        assert part[4] == 0  # no logits are kept for the way back
    assert whole[3] == 13
    assert whole[4] >= 13


def test_half_precision_is_summed_in_float32(build, places) -> None:
    vlm = build(seed=3)
    vlm.model.bfloat16()
    hidden, targets, _ = places
    values = target_log_probs(vlm, hidden.bfloat16(), targets)
    assert values.dtype == torch.float32
