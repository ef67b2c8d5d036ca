"""Packed rows: several answers share one pass of the question that they begin with.

All sequences that show one picture become one row of tokens, a tree: the question, its answers, and, where the same
picture is asked about with another caption, that caption and the answers to it branch off behind the picture.  A mask
lets every token see the branch that leads to it and nothing else; positions count along the branch.  A key/value cache
handed from question to answers costs a sixth more time and a third more memory: it is copied for every answer, is
padded more, and no picture is shared between captions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from clickscape.compute.fsdp import is_sharded
from clickscape.vlm.batch import MODALITIES, Batch, Sample, answer_ids, check_length, collate, encoder_outputs
from clickscape.vlm.logits import target_log_probs
from clickscape.vlm.model import VisionLanguageModel

PACKABLE = frozenset({"llava", "llava_next", "qwen2_5_vl", "idefics3", "smolvlm"})
"""Model types of which tests prove that packed is separate; others may read pictures both ways, or ignore a mask."""

MAX_LENGTH_RATIO = 1.15
"""Rows that share a pass differ at most by this factor in length: padding costs as much as tokens do."""


TOKEN_MULTIPLE = 16
"""A row's tokens are a multiple of this on a GPU: its attention kernels copy any other mask in every layer."""


@dataclass(frozen=True, slots=True)
class PrefixBranch:
    """Tokens ``run.start … run.stop − 1``; each sees those before it among them, and all of ``before``."""

    run: slice
    before: tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class PrefixTree:
    """Sequences with shared beginnings, each token once: ``ids`` and ``depths`` (token,).

    ``paths`` holds for every sequence the numbers of its tokens, in order; the first one is 0, 1, 2, …  ``branches``
    are the runs of neighboring tokens that each sequence adds, every one with the runs that lead to it.
    """

    ids: np.ndarray
    depths: np.ndarray
    paths: tuple[np.ndarray, ...]
    branches: tuple[PrefixBranch, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class _Row:
    """One row of a pass: its tree, the number of its first question, and which answer every path of the tree is."""

    tree: PrefixTree
    question: int
    answers: tuple[int, ...]


def can_pack(vlm: VisionLanguageModel) -> bool:
    """Whether this model's answers can share a row: full causal attention everywhere, under a mask of ours."""
    text = vlm.core.config.get_text_config()
    windowed = getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True)
    full = all(kind == "full_attention" for kind in getattr(text, "layer_types", None) or ())
    plain = text._attn_implementation in {"sdpa", "eager"}
    return vlm.core.config.model_type in PACKABLE and plain and full and not windowed


def packed_log_probs(
    vlm: VisionLanguageModel,
    questions: Sequence[Sample],
    answers: Sequence[tuple[int, str]],
    *,
    features: Float[Tensor, "image token width"] | None = None,
) -> tuple[Float[Tensor, " answer_token"], Int64[Tensor, " answer_token"]]:
    """As `batch.token_log_probs` for answers that share questions or pictures: (answer token,) twice, answer by answer.

    `answers` are (number of the question, text); the second tensor numbers the answers.  Questions share a picture when
    they hold the same array.  ``features`` (picture, token, width), in order of the questions, replace the tower; every
    shared picture's first are used.  Only for models that `can_pack`.
    """
    asked = collate(vlm, questions, side="right", answers=False, pixels=not vlm.is_llava)
    lengths = asked.attention_mask.sum(1).tolist()
    question_ids = [row[:length] for row, length in zip(asked.input_ids.cpu().numpy(), lengths, strict=True)]
    replies = [answer_ids(vlm, text) for _, text in answers]
    first = np.cumsum([0, *(len(question.images) for question in questions)])
    hidden, targets, owners = [], [], []
    # Split weights are gathered by all processes together, whose answers have other lengths: one pass each.
    ratio = math.inf if torch.is_grad_enabled() and is_sharded(vlm.core) else MAX_LENGTH_RATIO
    for rows in _passes(_rows(vlm, questions, question_ids, answers, replies), ratio=ratio):
        roots = [questions[row.question] for row in rows]
        shown = None
        if features is not None:
            numbers = [number for row in rows for number in range(first[row.question], first[row.question + 1])]
            shown = features[numbers] if numbers else None
        states = _read(vlm, rows, roots, features=shown, pixels=features is None)
        for number, row in enumerate(rows):
            for path, answer in zip(row.tree.paths, row.answers, strict=True):
                # The question's last state predicts the first token; the end token predicts nothing and is not read.
                places = path[lengths[answers[answer][0]] - 1 :]
                hidden.append(states[number, torch.from_numpy(places).to(states.device)])
                targets.extend(replies[answer])
                owners.extend([answer] * len(replies[answer]))
    values = target_log_probs(vlm, torch.cat(hidden), torch.tensor(targets, device=vlm.device))
    owned = torch.tensor(owners, device=vlm.device)
    order = owned.argsort(stable=True)
    return values[order], owned[order]


def prefix_tree(sequences: Sequence[np.ndarray]) -> PrefixTree:
    """Put sequences of token ids into one tree; each leaves at most one of the earlier ones, where it first differs."""
    ids: list[int] = []
    depths: list[int] = []
    paths: list[np.ndarray] = []
    branches: list[PrefixBranch] = []
    for number, sequence in enumerate(sequences):
        common = [_shared(sequence, other) for other in sequences[:number]]
        most = max(common, default=0)
        before = paths[common.index(most)][:most] if most else np.zeros(0, np.int64)
        paths.append(np.concatenate([before, np.arange(len(ids), len(ids) + len(sequence) - most)]))
        branches.append(PrefixBranch(slice(len(ids), len(ids) + len(sequence) - most), _runs(before)))
        ids.extend(sequence[most:].tolist())
        depths.extend(range(most, len(sequence)))
    return PrefixTree(np.array(ids), np.array(depths), tuple(paths), tuple(branches))


def attention_mask(
    trees: Sequence[PrefixTree], *, tokens: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "tree 1 token token"]:
    """What every token may see of its row, as attention adds it: 0 or the least number, (tree, 1, tokens, tokens).

    Padding up to `tokens` sees the first token, so that no softmax is over nothing; nobody looks at it.
    """
    made = torch.full((len(trees), 1, tokens, tokens), torch.finfo(dtype).min, dtype=dtype, device=device)
    made[..., 0] = 0
    for rows, tree in zip(made[:, 0], trees, strict=True):
        for branch in tree.branches:
            rows[branch.run, branch.run].triu_(1)
            for run in branch.before:
                rows[branch.run, run] = 0
    return made


def _runs(places: np.ndarray) -> tuple[slice, ...]:
    """Ascending numbers as runs of neighbors."""
    if not len(places):
        return ()
    parts = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
    return tuple(slice(int(part[0]), int(part[-1]) + 1) for part in parts)


def _shared(one: np.ndarray, other: np.ndarray) -> int:
    """How many tokens two sequences begin with in common."""
    length = min(len(one), len(other))
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if len(differing) else length


def _rows(
    vlm: VisionLanguageModel,
    questions: Sequence[Sample],
    question_ids: Sequence[np.ndarray],
    answers: Sequence[tuple[int, str]],
    replies: Sequence[list[int]],
) -> list[_Row]:
    """One tree per picture; questions join only if they are the same up to the end of it."""
    grouped: dict[tuple[object, ...], list[int]] = {}
    for answer, (question, _) in enumerate(answers):
        pictured = np.flatnonzero(question_ids[question] == vlm.image_token_id)
        key: tuple[object, ...] = (question,)
        if len(pictured):
            key = (*map(id, questions[question].images), question_ids[question][: pictured[-1] + 1].tobytes())
        grouped.setdefault(key, []).append(answer)
    rows = []
    for members in grouped.values():
        read = [
            np.concatenate([question_ids[answers[one][0]], np.array(replies[one][:-1], np.int64)]) for one in members
        ]
        check_length(vlm, max(map(len, read)) + 1)
        rows.append(_Row(prefix_tree(read), answers[members[0]][0], tuple(members)))
    return rows


def _passes(rows: Sequence[_Row], *, ratio: float) -> Iterator[list[_Row]]:
    """Rows of like length together, the shortest first; ratio: of the longest to the shortest, at most."""
    some: list[_Row] = []
    for row in sorted(rows, key=lambda row: len(row.tree)):
        if some and len(row.tree) > ratio * len(some[0].tree):
            yield some
            some = []
        some.append(row)
    yield some


def _read(
    vlm: VisionLanguageModel, rows: Sequence[_Row], roots: Sequence[Sample], *, features: Tensor | None, pixels: bool
) -> Tensor:
    """Hidden states of the last layer, (row, token, width)."""
    batch = collate(vlm, roots, side="right", answers=False, pixels=pixels)
    longest = max(len(row.tree) for row in rows)
    if vlm.device.type == "cuda":
        longest = -(-longest // TOKEN_MULTIPLE) * TOKEN_MULTIPLE
    ids = np.full((len(rows), longest), vlm.tokenizer.eos_token_id)
    for number, row in enumerate(rows):
        ids[number, : len(row.tree)] = row.tree.ids
    trees = [row.tree for row in rows]
    inputs: dict[str, Any] = {
        "input_ids": torch.from_numpy(ids).to(vlm.device),
        "attention_mask": attention_mask(trees, tokens=longest, dtype=vlm.core.dtype, device=vlm.device),
        "position_ids": _positions(vlm, batch, rows, longest=longest),
    }
    if vlm.is_llava:
        inputs["mm_encoder_outputs"] = encoder_outputs(vlm, batch, features=features)
    elif batch.pixel_values is not None:
        inputs |= {"pixel_values": batch.pixel_values, **batch.extras}
        inputs.pop(MODALITIES, None)  # they only say where positions go, and these are given
    return vlm.core.model(**inputs, use_cache=False).last_hidden_state


def _positions(vlm: VisionLanguageModel, batch: Batch, rows: Sequence[_Row], *, longest: int) -> Tensor:
    """Position of every token along its branch: (row, token), or (3, row, token) where pictures have two dimensions."""
    places = torch.zeros((len(rows), longest), dtype=torch.long)
    for number, row in enumerate(rows):
        places[number, : len(row.tree)] = torch.from_numpy(row.tree.depths)
    places = places.to(vlm.device)
    if MODALITIES not in batch.extras:
        return places
    grids, _ = vlm.core.model.get_rope_index(batch.input_ids, attention_mask=batch.attention_mask, **batch.extras)
    known = batch.attention_mask.bool()
    last = known.sum(1) - 1
    # A picture takes fewer positions than tokens; every token behind it, in any branch, is moved by the same number.
    moved = places + (grids.gather(2, last.expand(3, -1)[..., None]) - last[None, :, None])
    moved[:, :, : known.shape[1]] = torch.where(known, grids, moved[:, :, : known.shape[1]])
    return moved
