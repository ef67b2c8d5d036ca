"""The last hidden state of a question about two pictures, read so that what pairs share is computed once.

The question stands first, then the left picture, then the right one. Attention looks back only, so a question's keys
and values serve all of its pictures, and those of question and left picture serve every picture that is compared with
it: of n pictures, in both orders, n left halves and n·(n − 1) right halves are read instead of n·(n − 1) pairs. Each
picture goes through the tower once. The numbers are those of whole pairs read one by one (`whole`), to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from clickscape.reward.features import CHUNK
from clickscape.reward.protocol import Image, unique
from clickscape.vlm import batch as vlm_batch
from clickscape.vlm.model import VisionLanguageModel

PICTURES = 256
"""Pictures whose tokens are in memory at once."""

Pair = tuple[Image, Image]
_One = TypeVar("_One")


class _Read(NamedTuple):
    """What was read of some sequences: their keys and values, which places are no padding, and the last state."""

    cache: DynamicCache
    mask: Int64[Tensor, "sequence token"]
    last: Float[Tensor, "sequence hidden"]


def whole(
    vlm: VisionLanguageModel, questions: Sequence[str], pairs: Sequence[Pair], *, side: int
) -> Float[Tensor, "pair hidden"]:
    """Return the states of all pairs, read whole in one pass; gradients flow if torch records them.

    side: pixels of the square as which each picture is shown, a multiple of the tower's patch.
    """
    asked = _Asked(vlm, questions, pairs, side=side)
    sequences = [
        torch.cat([asked.opening(asked.question[row]), asked.left(row), asked.right(row)]) for row in range(len(pairs))
    ]
    return _read(vlm, sequences, None).last


@torch.no_grad()
def shared(
    vlm: VisionLanguageModel, questions: Sequence[str], pairs: Sequence[Pair], *, side: int, together: int
) -> Float[Tensor, "pair hidden"]:
    """Return what `whole` returns, reading every question, left picture and pair once, `together` of them in a pass.

    The same array is the same picture.
    """
    states = torch.zeros(len(pairs), vlm.hidden_size, device=vlm.device)
    for rows in _few_pictures(questions, pairs):
        asked = _Asked(vlm, [questions[row] for row in rows], [pairs[row] for row in rows], side=side)
        for own, found in _states(vlm, asked, together):
            states[[rows[place] for place in own]] = found
    return states


def _states(vlm: VisionLanguageModel, asked: _Asked, together: int) -> Iterator[tuple[list[int], Tensor]]:
    """Places of some pairs at a time and their states."""
    lefts: dict[tuple[int, int], list[int]] = {}  # question and left picture → pairs
    for row, key in enumerate(zip(asked.question, asked.picture[0], strict=True)):
        lefts.setdefault(key, []).append(row)
    for keys in _lots(sorted(lefts), together):
        numbers = sorted({question for question, _ in keys})
        openings = _read(vlm, [asked.opening(number) for number in numbers], None)
        parents = [numbers.index(question) for question, _ in keys]
        halves = _read(vlm, [asked.left(lefts[key][0]) for key in keys], _rows(openings, parents))
        for lot in _lots([(place, row) for place, key in enumerate(keys) for row in lefts[key]], together):
            places, rows = (list(column) for column in zip(*lot, strict=True))
            yield rows, _read(vlm, [asked.right(row) for row in rows], _rows(halves, places)).last


def _few_pictures(questions: Sequence[str], pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """Rows of as many pairs as hold PICTURES pictures, those of one question beside each other."""
    first = {question: row for row, question in reversed(list(enumerate(questions)))}
    lot, seen = list[int](), set[int]()
    for row in sorted(range(len(pairs)), key=lambda row: first[questions[row]]):
        new = {id(picture) for picture in pairs[row]}
        if lot and len(seen | new) > PICTURES:
            yield lot
            lot, seen = [], set()
        lot.append(row)
        seen |= new
    if lot:
        yield lot


class _Asked:
    """Embedded pieces of all pairs; every question is tokenized once, every picture is looked at once."""

    def __init__(self, vlm: VisionLanguageModel, questions: Sequence[str], pairs: Sequence[Pair], *, side: int) -> None:
        texts = list(dict.fromkeys(questions))
        numbers = {text: number for number, text in enumerate(texts)}
        self.question = [numbers[question] for question in questions]
        pictures, places = unique([picture for pair in pairs for picture in pair])
        self.picture = places[::2], places[1::2]
        self._tokens = picture_tokens(vlm, pictures, side=side)
        sizes = [self._tokens.shape[1]] * 2
        words = [vlm_batch.words_around_pictures(vlm, text, image_tokens=sizes) for text in texts]
        embed = vlm.core.get_input_embeddings()
        self._words = [[embed(torch.tensor(part, device=vlm.device, dtype=torch.long)) for part in parts]
                       for parts in words]  # fmt: skip

    def opening(self, question: int) -> Float[Tensor, "token width"]:
        """Return all that stands before the pictures."""
        return self._words[question][0]

    def left(self, row: int) -> Float[Tensor, "token width"]:
        """Return a pair's left picture, and what separates it from the right one."""
        return torch.cat([self._tokens[self.picture[0][row]], self._words[self.question[row]][1]])

    def right(self, row: int) -> Float[Tensor, "token width"]:
        """Return a pair's right picture, and what ends the question."""
        return torch.cat([self._tokens[self.picture[1][row]], self._words[self.question[row]][2]])


def picture_tokens(
    vlm: VisionLanguageModel, pictures: Sequence[Image], *, side: int
) -> Float[Tensor, "picture token width"]:
    """Return what the language model is given of each picture, stretched to a square of `side` pixels."""
    return torch.cat([
        vlm_batch.features_of_pixels(vlm, vlm_batch.square_pixels(vlm, lot, side=side).to(vlm.device))
        for lot in _lots(pictures, CHUNK)
    ])  # fmt: skip


def _read(vlm: VisionLanguageModel, pieces: Sequence[Tensor], before: _Read | None) -> _Read:
    """Read one more piece, (token, width), of every sequence; padding stands on the left of each piece."""
    embedded = pad_sequence(list(pieces), batch_first=True, padding_side="left")
    lengths = torch.tensor([len(piece) for piece in pieces], device=embedded.device)
    mask = (torch.arange(embedded.shape[1], 0, -1, device=embedded.device) <= lengths[:, None]).long()
    if before is not None:
        mask = torch.cat([before.mask, mask], dim=1)
    cache = DynamicCache() if before is None else before.cache
    output = vlm.core.model.language_model(
        inputs_embeds=embedded,
        attention_mask=mask,
        position_ids=vlm_batch.positions(mask)[:, -embedded.shape[1] :],
        past_key_values=None if torch.is_grad_enabled() else cache,
        use_cache=not torch.is_grad_enabled(),
    )
    return _Read(cache, mask, output.last_hidden_state[:, -1].float())


def _rows(read: _Read, rows: Sequence[int]) -> _Read:
    """Copy what was read of some sequences, so that each can go on in several ways."""
    at = torch.tensor(rows, device=read.mask.device)
    cache = DynamicCache()
    for number, layer in enumerate(read.cache.layers):
        cache.update(layer.keys[at], layer.values[at], number)
    return _Read(cache, read.mask[at], read.last[at])


def _lots(items: Sequence[_One], size: int) -> Iterator[Sequence[_One]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
