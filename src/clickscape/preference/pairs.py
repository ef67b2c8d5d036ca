"""Preference pairs: two descriptions of one product, of which the reward model prefers the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from clickscape.generation.sample import Candidate
from clickscape.preference.corruption import CorruptedInput


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two descriptions of one product, the better one first, and the corrupted input x̃ of this pair in this round.

    ``margin`` is the difference of reward in logits; None where the rejected one did not parse, or not relevant.
    """

    product_id: str
    chosen: str
    rejected: str
    margin: float | None
    corrupted: CorruptedInput | None = None

    def __post_init__(self) -> None:
        if self.chosen == self.rejected:
            raise ValueError(f"a pair needs two different descriptions, got {self.chosen!r} twice")

    @property
    def probability(self) -> float:
        """Return P(chosen ≻ rejected) by the reward model, σ(margin); 1 where the rejected one did not parse."""
        return 1.0 if self.margin is None else 1.0 / (1.0 + math.exp(-self.margin))


def choose_pairs(
    candidates: Sequence[Sequence[Candidate]], *, min_margin: float, per_product: int = 1, unparsed_share: float = 1.0
) -> list[PreferencePair]:
    """Pair best with worst of every product, then second best with second worst …: at most `per_product` of each.

    None for ties, equal texts and margins below `min_margin`. Of all pairs, at most `unparsed_share` may have a loser
    that did not parse; beyond it, a product's pairs are made of its parsed candidates alone, and the first to
    change are those whose parsed candidates lie furthest apart, because there the least is lost.
    """
    mixed = [_ranked_pairs(each, min_margin=min_margin, count=per_product) for each in candidates]
    if unparsed_share >= 1:
        return [pair for each in mixed for pair in each]
    clean = [
        _ranked_pairs([one for one in each if one.eligible], min_margin=min_margin, count=per_product)
        for each in candidates
    ]
    order = sorted(
        range(len(candidates)), key=lambda row: -max((pair.margin or 0.0 for pair in clean[row]), default=0.0)
    )
    unparsed, total = sum(map(_unparsed, mixed)), sum(map(len, mixed))
    for row in order:
        if unparsed <= unparsed_share * total:
            break
        if _unparsed(mixed[row]):
            unparsed -= _unparsed(mixed[row])
            total += len(clean[row]) - len(mixed[row])
            mixed[row] = clean[row]
    return [pair for each in mixed for pair in each]


def _ranked_pairs(candidates: Sequence[Candidate], *, min_margin: float, count: int) -> list[PreferencePair]:
    """First over last of one product's ranking, second over last but one …; no two pairs of the same two texts."""

    def rank(candidate: Candidate) -> tuple[bool, float]:
        return candidate.eligible, candidate.score

    best_first, worst_first = sorted(candidates, key=rank, reverse=True), sorted(candidates, key=rank)
    pairs: dict[tuple[str, str], PreferencePair] = {}
    for depth in range(min(count, len(candidates) // 2)):
        better, worse = best_first[depth], worst_first[depth]
        if not better.eligible or better.text == worse.text:
            continue
        margin = better.score - worse.score if worse.eligible else None
        if margin is not None and (margin <= 0 or margin < min_margin):
            continue
        pairs.setdefault((better.text, worse.text), PreferencePair(better.product_id, better.text, worse.text, margin))
    return list(pairs.values())


def _unparsed(pairs: Sequence[PreferencePair]) -> int:
    return sum(pair.margin is None for pair in pairs)
