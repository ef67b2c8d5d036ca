"""How varied descriptions are, within a department: distinct scenes, self-BLEU, entropy of every slot.

A policy that writes one thing for every shoe looks fine product by product, so variety is measured over all texts of a
department and averaged over departments; what departments have to differ in is not counted as variety.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

ORDER = 4
"""Longest n-gram of BLEU, in words and commas."""

EPSILON = 0.1
"""Matches that an n-gram order without any counts as (Chen & Cherry 2014, method 1)."""

_TOKEN = re.compile(r"\w+|[^\w\s]")


class DescribedAd(Protocol):
    """A description with what the renderer drew of it: `Rendering.content` and `Rendering.slots`."""

    @property
    def text(self) -> str: ...
    @property
    def scene(self) -> str: ...
    @property
    def slots(self) -> Mapping[str, str | None] | None: ...


@dataclass(frozen=True, slots=True)
class Diversity:
    """Means over departments: `scenes`, a count; `self_bleu`, 0 to 1, 1 where all texts are alike; `entropy`, nats.

    `self_bleu` is the mean BLEU-4 of every text against all others (Zhu et al. 2018), None where a department has one.
    """

    scenes: float
    self_bleu: float | None
    entropy: Mapping[str, float]

    def shares_of(self, first: Diversity) -> dict[str, float]:
        """Return each measure as a share of the first diversity's; measures that were zero there are left out."""
        kinds = {
            "distinct scenes": (self.scenes, first.scenes),
            "unlikeness (1 − self-BLEU)": (1 - (self.self_bleu or 0.0), 1 - (first.self_bleu or 0.0)),
            "scene entropy": (sum(self.entropy.values()), sum(first.entropy.values())),
        }
        return {kind: now / before for kind, (now, before) in kinds.items() if before > 0}


def diversity(ads: Sequence[DescribedAd], *, departments: Sequence[str]) -> Diversity:
    """Measure descriptions and the scenes that the renderer made of them, one department each.

    Where it has no scenes, every description counts as one of its own, and no slot has entropy.
    """
    shelves: dict[str, list[DescribedAd]] = {}
    for ad, department in zip(ads, departments, strict=True):
        shelves.setdefault(department, []).append(ad)
    if not shelves:
        raise ValueError("the diversity of no description was asked for")
    slots = [[ad.slots or {} for ad in shelf] for shelf in shelves.values()]
    alike = [self_bleu([ad.text for ad in shelf]) for shelf in shelves.values() if len(shelf) > 1]
    return Diversity(
        scenes=_mean([len({ad.scene or ad.text for ad in shelf}) for shelf in shelves.values()]),
        self_bleu=_mean(alike) if alike else None,
        entropy={slot: _mean([_entropy([one.get(slot) for one in shelf]) for shelf in slots]) for slot in slots[0][0]},
    )


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU-4 of every text against all others; exact, and linear in the length of all texts together."""
    if len(texts) < 2:
        raise ValueError(f"self-BLEU compares texts, got {len(texts)}")
    tokens = [_TOKEN.findall(text.lower()) for text in texts]
    counts = [[_grams(grams, order) for grams in tokens] for order in range(1, ORDER + 1)]
    most = [_two_largest(grams) for grams in counts]
    lengths = Counter(map(len, tokens))
    return _mean([_bleu(number, counts, most, lengths) for number in range(len(texts))])


_Largest = dict[tuple[str, ...], tuple[int, int, int]]
"""n-gram → the largest count in one text, the number of that text, the largest count in any other."""


def _bleu(number: int, counts: Sequence[Sequence[Counter]], most: Sequence[_Largest], lengths: Counter[int]) -> float:
    """BLEU-4 of one text against all others: clipped precisions, closest reference length, uniform weights."""
    size = sum(counts[0][number].values())
    logs = []
    for grams, largest in zip(counts, most, strict=True):
        total = max(1, sum(grams[number].values()))
        matched = 0
        for gram, count in grams[number].items():
            top, holder, second = largest[gram]
            matched += min(count, second if holder == number else top)
        logs.append(math.log((matched or EPSILON) / total))
    others = lengths - Counter([size])
    closest = min(others, key=lambda length: (abs(length - size), length))
    brevity = min(0.0, 1 - closest / size) if size else -math.inf
    return math.exp(brevity + _mean(logs))


def _grams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[place : place + order]) for place in range(len(tokens) - order + 1))


def _two_largest(counts: Sequence[Counter[tuple[str, ...]]]) -> _Largest:
    largest: _Largest = {}
    for number, grams in enumerate(counts):
        for gram, count in grams.items():
            top, holder, second = largest.get(gram, (0, -1, 0))
            largest[gram] = (count, number, top) if count > top else (top, holder, max(second, count))
    return largest


def _entropy(values: Sequence[str | None]) -> float:
    """Shannon entropy of what is there, nats."""
    return -sum(count / len(values) * math.log(count / len(values)) for count in Counter(values).values())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
