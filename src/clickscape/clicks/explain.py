"""Explain why each pair was kept or left out: the model of the whole log, then the creatives and pairs of products."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clickscape.clicks import logs
from clickscape.clicks.ctr import ClickModel
from clickscape.clicks.pairs import label_pairs
from clickscape.config import ClicksConfig
from clickscape.errors import LogError

_ID = 18  # characters of an id in the table; two of them and a reason fit into 100 columns
_LEVELS = 8  # levels of a stratum that are listed; of more, the best and the worst
_CREATIVE = ("creative_id", "impressions", "clicks", "examinations", "ctr", "ctr_low", "ctr_high", "log_ctr",
             "log_ctr_se")  # fmt: skip


@dataclass(frozen=True)
class Explanation:
    """The model of the log, how many pairs were kept, and how many were left out for which reason.

    products: product_id → its creatives (posterior) and pairs (P, gap, weight, reason), in order.
    """

    model: ClickModel
    kept: int
    left_out: Mapping[str, int]
    products: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]

    def as_record(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return everything as lines of text, at most 100 characters wide where ids are short."""
        lines = [*_positions(self.model), *_strata(self.model), *_prior(self.model)]
        lines.append(f"pairs: {self.kept:,} kept of {self.kept + sum(self.left_out.values()):,}")
        lines += [f"  {number:,} left out: {reason}" for reason, number in self.left_out.items()]
        for product_id, rows in self.products.items():
            lines += ["", f"product {product_id}", *_creatives(rows["creatives"]), *_pairs(rows["pairs"])]
        return lines


def explain(
    estimates: pa.Table, *, model: ClickModel, config: ClicksConfig, product_id: str | None = None, whole: bool = False
) -> Explanation:
    """Explain the labels made from table ESTIMATES; LogError at a product without a creative in it.

    Shown in full: the product `product_id`, else all (`whole`), else the one with the most clicks.
    """
    rows = label_pairs(logs.connect().create_table("estimates", estimates), config=config).to_pyarrow()
    rows = rows.sort_by([(name, "ascending") for name in ("product_id", "first", "second")])
    known = estimates["product_id"].to_pylist()
    if product_id is None:
        totals = Counter[str]()
        for name, clicks in zip(known, estimates["clicks"].to_pylist(), strict=True):
            totals[name] += clicks
        shown = sorted(totals) if whole else [name for name, _ in totals.most_common(1)]
    elif product_id in known:
        shown = [product_id]
    else:
        raise LogError(
            f"no creative of product {product_id!r} is in the click log. Name one that is, "
            f"such as {known[0]!r}, or none to see the whole log."
        )
    reasons = Counter(reason for reason in rows["reason"].to_pylist() if reason is not None)
    return Explanation(
        model=model,
        kept=len(rows) - reasons.total(),
        left_out=dict(reasons.most_common()),
        products=_by_product(shown, estimates.select(["product_id", *_CREATIVE]), rows),
    )


def _by_product(
    shown: Sequence[str], estimates: pa.Table, labeled: pa.Table
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    found: dict[str, dict[str, list[dict[str, Any]]]] = {name: {"creatives": [], "pairs": []} for name in shown}
    for part, table in (("creatives", estimates), ("pairs", labeled)):
        for row in table.filter(pc.is_in(table["product_id"], pa.array(shown, pa.string()))).to_pylist():
            found[row.pop("product_id")][part].append(row)
    return found


def _positions(model: ClickModel) -> Iterator[str]:
    examination = model.examination
    if examination.reason:
        yield f"positions not corrected: {examination.reason}"
        return
    yield "examination by position, relative to the first"
    for position, value, error in zip(examination.positions, examination.probability, examination.log_se, strict=True):
        yield f"  {position:>10}  {value:.3f} ± {1.96 * error * value:.3f}"


def _strata(model: ClickModel) -> Iterator[str]:
    for stratum in model.strata:
        if stratum.reason:
            yield f"{stratum.name} left out: {stratum.reason}"
            continue
        order = np.arange(len(stratum.values))
        if len(order) > _LEVELS:
            order = np.sort(np.argsort(stratum.effect)[[*range(_LEVELS // 2), *range(-_LEVELS // 2, 0)]])
            yield f"{stratum.name}: factor on the CTR; the {_LEVELS} most extreme of {len(stratum.values)}"
        else:
            yield f"{stratum.name}: factor on the CTR, 1 on the average impression"
        for level in order:
            effect, error = stratum.effect[level], stratum.log_se[level]
            yield f"  {_cut(stratum.values[level], 10):>10}  {effect:.3f} ± {1.96 * error * effect:.3f}"


def _prior(model: ClickModel) -> Iterator[str]:
    prior = model.prior
    if prior is None:
        yield "prior: a Beta of fixed strength (clicks.prior_impressions)"
        return
    yield (
        f"prior, learned: the sd of log CTR is {prior.creative_sd:.2f} between creatives of a product, "
        f"{prior.product_sd:.2f} between products"
    )
    for name, mean in zip(prior.categories, prior.means, strict=True):
        yield f"  {_cut(name, _ID) or 'all products':>{_ID}}  mean CTR {100 * mean:.2f} %"


def _creatives(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"  {'creative':<{_ID}} {'impressions':>11} {'clicks':>7} {'examinations':>12} {'CTR %':>7}  95 % interval"
    for row in rows:
        counts = f"{row['impressions']:>11,} {row['clicks']:>7,} {row['examinations']:>12,.0f}"
        low, high = 100 * row["ctr_low"], 100 * row["ctr_high"]
        yield f"  {_cut(row['creative_id'], _ID):<{_ID}} {counts} {100 * row['ctr']:>7.2f}  [{low:.2f}, {high:.2f}]"


def _pairs(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"  {'first':<{_ID}} {'second':<{_ID}} {'P first':>7} {'log gap':>7} {'weight':>6}  result"
    for row in rows:
        ids = " ".join(f"{_cut(row[side], _ID):<{_ID}}" for side in ("first", "second"))
        figures = f"{_number(row['preference'], 3):>7} {_number(row['gap'], 3):>7} {row['weight']:>6.3f}"
        yield f"  {ids} {figures}  {row['reason'] or 'kept'}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _cut(text: str, length: int) -> str:
    """The text, or its end when it is too long: ids of one product differ there."""
    return text if len(text) <= length else "…" + text[1 - length :]
