"""log π of several answers to one question, for the price of one question: the chosen and the rejected share theirs.

A question (picture, instruction, product) is six times as long as a description.  Each passes the language model once;
its keys and values are then handed to all of its answers, with gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from clickscape.vlm.batch import Sample, answer_log_probs, collate, encoder_outputs, positions
from clickscape.vlm.model import VisionLanguageModel


def log_probs(
    vlm: VisionLanguageModel,
    questions: Sequence[Sample],
    answers: Sequence[tuple[int, str]],
    *,
    features: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """log π of every answer in nats, and its number of tokens (end token included): (answer,) twice.

    `answers` are (number of the question, text), tokenized exactly as they stand; `features`: (question, token, width).
    """
    if not vlm.is_llava:
        return _separately(vlm, questions, answers)
    batch = collate(vlm, questions, side="left", answers=False, pixels=features is None)
    cache = DynamicCache(config=vlm.core.config.get_text_config())
    asked = vlm.core.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=positions(batch.attention_mask),
        mm_encoder_outputs=encoder_outputs(vlm, batch, features=features),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state[:, -1:]
    owners = torch.tensor([number for number, _ in answers], device=vlm.device)
    tokens, known = _tokens(vlm, [text for _, text in answers])
    cache.batch_select_indices(owners)
    mask = torch.cat([batch.attention_mask[owners], known[:, :-1].long()], dim=1)
    # The question's last state predicts the first token; the end token predicts nothing, so it need not be read.
    told = vlm.core.model(
        input_ids=tokens[:, :-1],
        attention_mask=mask,
        position_ids=positions(mask)[:, batch.input_ids.shape[1] :],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    hidden = torch.cat([asked[owners], told], dim=1)[known]
    logits = vlm.core.get_output_embeddings()(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    values = logits.log_softmax(-1).gather(1, tokens[known][:, None])[:, 0]
    total = values.new_zeros(len(answers)).index_add(0, known.nonzero()[:, 0], values)
    return total, known.sum(1)


def _tokens(vlm: VisionLanguageModel, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids with the end token, padded on the right, and which of them are real: (answer, token) twice."""
    rows = [[*vlm.tokenizer(text, add_special_tokens=False)["input_ids"], vlm.tokenizer.eos_token_id] for text in texts]
    tokens = torch.full((len(rows), max(map(len, rows))), vlm.tokenizer.eos_token_id, device=vlm.device)
    known = torch.zeros_like(tokens, dtype=torch.bool)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = torch.tensor(row)
        known[number, : len(row)] = True
    return tokens, known


def _separately(
    vlm: VisionLanguageModel, questions: Sequence[Sample], answers: Sequence[tuple[int, str]]
) -> tuple[Tensor, Tensor]:
    """Every answer with a question of its own, for models whose questions cannot be shared."""
    samples = [Sample(questions[number].instruction, questions[number].images, text) for number, text in answers]
    batch = collate(vlm, samples, side="right", answers=True)
    return answer_log_probs(vlm, batch), (batch.labels != -100).sum(1)
