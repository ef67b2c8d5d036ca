"""Decisions of a logging policy as arrays: choice sets, what was shown of each, and whether it was clicked.

A choice set is one product at one position and placement with its candidates and their propensities; many decisions
share it. Position and placement are context: propensities are those of a creative among its product's, given where it
stands, and how far down a page is looked at is in every arm of a comparison alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clickscape.errors import ExperimentError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_TOLERANCE = 1e-6  # of the sum of propensities
_CONTEXT = ("position", "placement")


@dataclass(frozen=True, eq=False)
class Decisions:
    """What was chosen from what; every code is the number of a name.

    creatives, products: their ids. product: (set,). places: a code (set,) for each of position and placement that the
    log has. start: (set + 1,) where the entries of each set begin. creative, propensity: (entry,), one entry for each
    candidate of a set. shown: (decision,) entry. clicked: (decision,) 0 or 1. user: (decision,), None where the log has
    no users. ordered: whether decisions stand in the order of time. ExperimentError for what contradicts itself.
    """

    creatives: tuple[str, ...]
    products: tuple[str, ...]
    product: Integers
    places: tuple[Integers, ...]
    start: Integers
    creative: Integers
    propensity: Floats
    shown: Integers
    clicked: Floats
    user: Integers | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        if not len(self.shown):
            raise ExperimentError("there is no decision to evaluate a policy on. Log traffic first.")
        sums = np.add.reduceat(self.propensity, self.start[:-1]) if len(self.product) else np.zeros(0)
        if not np.all(np.isfinite(self.propensity) & (self.propensity >= 0)) or np.any(np.abs(sums - 1) > _TOLERANCE):
            raise ExperimentError(
                "the propensities of a decision's candidates are no probabilities that sum to 1. Correct the log."
            )
        if np.any(self.propensity[self.shown] <= 0):
            raise ExperimentError("a creative was shown that has the propensity 0. Correct the log.")

    @classmethod
    def from_tables(cls, decisions: pa.Table, choices: pa.Table) -> Decisions:
        """Return the decisions of a log, as `clicks.decisions.read` returns both tables."""
        product, products = _coded(decisions["product_id"])
        given = [_coded(decisions[name])[0] for name in _CONTEXT if name in decisions.column_names]
        keys = np.stack([decisions["choice"].to_numpy(), product, *given])
        sets, set_of = np.unique(keys, axis=1, return_inverse=True)
        lists = choices["candidates"].combine_chunks()
        offsets = np.asarray(lists.offsets)
        candidate, names = _coded(lists.flatten())
        chances = choices["propensities"].combine_chunks().flatten().to_numpy()
        sizes = np.diff(offsets)[sets[0]]
        start = np.concatenate([[0], np.cumsum(sizes)])
        source = np.repeat(offsets[sets[0]] - start[:-1], sizes) + np.arange(start[-1])  # entry → place in the lists
        creative = candidate[source]
        number = {name: place for place, name in enumerate(names)}
        code, shown_names = _coded(decisions["creative_id"])
        shown_creative = np.array([number.get(name, -1) for name in shown_names])[code]
        entry = _find(np.repeat(np.arange(len(sizes)), sizes), creative, set_of.ravel(), shown_creative, len(names))
        if np.any(entry < 0):
            name = shown_names[int(code[np.argmax(entry < 0)])]
            raise ExperimentError(f"creative {name!r} was shown and is not among its candidates. Correct the log.")
        return cls(
            creatives=names,
            products=products,
            product=sets[1],
            places=tuple(sets[2:]),
            start=start,
            creative=creative,
            propensity=chances[source],
            shown=entry,
            clicked=decisions["clicked"].to_numpy(zero_copy_only=False).astype(np.float64),
            user=_users(decisions["user_key"]) if "user_key" in decisions.column_names else None,
            ordered="at" in decisions.column_names,
        )

    @cached_property
    def set_of_entry(self) -> Integers:
        """Number of the set of each entry, (entry,)."""
        return np.repeat(np.arange(len(self.product)), np.diff(self.start))

    @cached_property
    def size(self) -> Integers:
        """Number of decisions of each set, (set,)."""
        return np.bincount(self.set_of_entry[self.shown], minlength=len(self.product))

    @cached_property
    def impressions(self) -> Floats:
        """How often each candidate was shown, (entry,)."""
        return totals(self.shown, np.ones(len(self.shown)), len(self.creative))

    @cached_property
    def clicks(self) -> Floats:
        """How often each candidate was clicked, (entry,)."""
        return totals(self.shown, self.clicked, len(self.creative))

    @cached_property
    def context(self) -> Integers:
        """Number of each set's product × position × placement, (set,): sets differ from one another by propensities."""
        return np.unique(np.stack([self.product, *self.places]), axis=1, return_inverse=True)[1].ravel()

    @property
    def ctr(self) -> float:
        """Clicks per decision: what the logging policy earned."""
        return float(self.clicked.mean())

    def entries(self, sets: Integers, creatives: Integers) -> Integers:
        """Return the entry of each creative in its set, −1 where it is no candidate; all (row,)."""
        return _find(self.set_of_entry, self.creative, sets, creatives, len(self.creatives))

    def only(self, kept: NDArray[np.bool_]) -> Decisions:
        """Return the decisions of some sets, `kept`: (set,); ExperimentError where there is none."""
        sizes = np.diff(self.start)[kept]
        of_entry, of_decision = kept[self.set_of_entry], kept[self.set_of_entry[self.shown]]
        place = np.cumsum(of_entry) - 1
        return replace(
            self,
            product=self.product[kept],
            places=tuple(code[kept] for code in self.places),
            start=np.concatenate([[0], np.cumsum(sizes)]),
            creative=self.creative[of_entry],
            propensity=self.propensity[of_entry],
            shown=place[self.shown[of_decision]],
            clicked=self.clicked[of_decision],
            user=None if self.user is None else self.user[of_decision],
        )


def totals(code: Integers, values: Floats, count: int) -> Floats:
    """Return the sum of the values of each code, (count,); code, values: (row,)."""
    return np.bincount(code, values, count).astype(np.float64)


def _find(set_of: Integers, creative: Integers, sets: Integers, creatives: Integers, count: int) -> Integers:
    """The entry of each (set, creative), −1 where there is none."""
    keys = set_of * (count + 1) + creative
    order = np.argsort(keys, kind="stable")
    wanted = sets * (count + 1) + np.where((creatives >= 0) & (creatives < count), creatives, count)
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    found = order[place]
    return np.where(keys[found] == wanted, found, -1)


def _coded(column: pa.ChunkedArray | pa.Array) -> tuple[Integers, tuple[str, ...]]:
    """Codes of a column's values, 0 for the least; a value that is missing is one of them."""
    texts = column.cast(pa.string()).fill_null("")
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    encoded = texts.dictionary_encode()
    names: Sequence[str] = encoded.dictionary.to_pylist()
    order = np.argsort(np.array(names, dtype=object), kind="stable")
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return rank[encoded.indices.to_numpy()], tuple(names[place] for place in order)


def _users(column: pa.ChunkedArray) -> Integers:
    """Codes of users; a decision of which nobody noted the user is its own."""
    code, names = _coded(column)
    nobody = np.asarray(column.is_null()) | (code == (names.index("") if "" in names else -1))
    return np.where(nobody, len(names) + np.arange(len(code)), code)
