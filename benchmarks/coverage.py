"""Do the intervals and checks of an experiment keep what they promise?  python benchmarks/coverage.py

Simulated experiments with a known lift in several worlds: users who come back, few clicks, heavy-tailed users, unequal
shares, few users, users who leave after a click. Looks after every 100 users, and at 14 even times ("days"). Beside the
always-valid intervals: what peeking does to an interval of one look, and the mSPRT on impressions. Writes the tables of
docs/experiments/coverage.md and appends one JSON row per world to benchmarks/results/coverage.jsonl.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from _results import Row, measure_each, write_part
from clickscape.experiment import lift_sequence as sequences
from clickscape.experiment.confidence_sequence import msprt_half_width, one_sided_level
from clickscape.experiment.fixed_horizon import fixed_lift
from clickscape.experiment.lift_sequence import lift_sequence
from clickscape.experiment.many_products import discoveries, e_discoveries, shrink
from clickscape.experiment.moments import CLICKS, CONVERSIONS, UnitMoments, daily_moments, from_counts
from clickscape.experiment.ratio import log_ratio
from clickscape.experiment.sample_ratio import check_sample_ratio
from clickscape.types import Estimate

PAGE = Path(__file__).parents[1] / "docs" / "experiments" / "coverage.md"
_STEP, _DAYS = 100, 14
_PRIOR_SD = 0.1  # of the mSPRT, relative lift


@dataclass(frozen=True)
class World:
    """Users and how they differ.

    ctr: clicks per visit, which is two impressions on average. visits: of a user, on average. spread: sd of the log of
    their frequency. personal: variance of the factor of the CTR. leave: users never come back after a click. past:
    impressions before the start. conversion: share of clicks.
    """

    name: str
    users: int = 3_000
    ctr: float = 0.1
    share: float = 0.5
    visits: float = 1.0
    spread: float = 0.0
    personal: float = 0.5
    leave: bool = False
    past: float = 5.0
    conversion: float = 0.0


WORLDS = (
    World("users come once"),
    World("users come back five times", visits=5.0),
    World("few clicks (CTR 0.5 %)", ctr=0.01, users=8_000),
    World("heavy-tailed users", spread=1.5, personal=2.0, visits=2.0),
    World("one in ten sees the new ad", share=0.1, users=6_000),
    World("few users (1,000)", users=1_000),
    World("users leave after a click", visits=5.0, leave=True, personal=0.0),
    World("users come back, much is known of them", visits=6.0, personal=2.0, past=40.0),
)
_FEW = (
    *(
        World(f"about {clicks} clicks a variant, users alike", users=1_500, ctr=clicks / 1_500, personal=0.0)
        for clicks in (6, 12, 25, 50)
    ),
    *(
        World(f"about {clicks} clicks a variant, heavy-tailed users", users=1_500, ctr=clicks / 1_500, visits=2.0,
              spread=1.5, personal=2.0)
        for clicks in (6, 12, 25, 50)
    ),
    World("100 very heavy-tailed users in one variant", users=1_000, share=0.1, ctr=0.2, visits=3.0, spread=2.0,
          personal=4.0),
)  # fmt: skip


def draw(world: World, lift: float, rng: np.random.Generator) -> UnitMoments:
    """Return the moments of (variant, look), a look after every 100 new users."""
    looks = world.users // _STEP
    variant = (rng.random(world.users) < world.share).astype(np.int64)
    factor = rng.gamma(1 / world.personal, world.personal, world.users) if world.personal else np.ones(world.users)
    often = np.exp(rng.normal(-(world.spread**2) / 2, world.spread, world.users)) if world.spread else 1.0
    visits = rng.poisson((world.visits - 1) * often, world.users) + 1
    unit = np.repeat(np.arange(world.users), visits)
    entry = unit // _STEP
    first = np.diff(unit, prepend=-1) != 0
    look = np.where(first, entry, rng.integers(0, looks, len(unit)))
    unit, look = unit[look >= entry], look[look >= entry]
    key, row = np.unique(unit * looks + look, return_inverse=True)
    shown = np.bincount(row, weights=rng.poisson(1.0, len(unit)) + 1).astype(np.int64)
    unit, look = key // looks, key % looks
    chance = np.minimum(world.ctr / 2 * factor * np.where(variant == 1, 1 + lift, 1), 1)  # a visit is two impressions
    clicks = rng.binomial(shown, chance[unit])
    if world.leave:
        unit, look, shown, clicks = _until_a_click(unit, look, shown, clicks)
    before = rng.poisson(world.past, world.users)
    clicked_before = rng.binomial(before, np.minimum(world.ctr / 2 * factor, 1))
    bought = rng.binomial(clicks, world.conversion) if world.conversion else np.zeros(len(clicks), np.int64)
    return daily_moments(
        unit=unit, variant=variant[unit], day=look, counts=np.stack([shown, clicks, bought], axis=1),
        before=np.stack([before, clicked_before], axis=1)[unit], variants=2, days=looks,
    )  # fmt: skip


def _until_a_click(unit: np.ndarray, look: np.ndarray, shown: np.ndarray, clicks: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows of users up to the first with a click, on which they click once."""
    clicked = (clicks > 0).astype(np.int64)
    before = np.cumsum(clicked) - clicked
    starts = np.flatnonzero(np.diff(unit, prepend=-1))
    before -= np.repeat(before[starts], np.diff(np.append(starts, len(unit))))
    kept = before == 0
    return unit[kept], look[kept], shown[kept], clicked[kept]


def truth(world: World, lift: float) -> float:
    """Return the log ratio that the estimates have as their limit; where users leave, from 400,000 of them."""
    if not world.leave or not lift:
        return math.log1p(lift)
    total = draw(replace(world, users=400_000), lift, np.random.default_rng(99)).total
    return float(log_ratio(total[0], total[1]).value)


def measure_world(world: World, simulations: int, seed: int, limit: bool = True) -> Row:
    """Return shares of simulations: whose intervals cover +20 %, and which find a lift that is not there."""
    start, rng = time.process_time(), np.random.default_rng([seed, *world.name.encode()])
    least = sequences.LEAST_CLICKS, sequences.LEAST_UNITS
    if not limit:
        sequences.LEAST_CLICKS, sequences.LEAST_UNITS = 2, 2
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for lift in (0.2, 0.0) if limit else (0.2,):
        true = truth(world, lift)
        for _ in range(simulations):
            known = draw(world, lift, rng).cumulative()
            if not limit:
                with np.errstate(all="ignore"):  # some of so few users have no variance
                    _look(known, lift=lift, true=true, adjusted=False, suffix="", note=note)
                continue
            for adjusted, suffix in ((False, ""), (True, " CUPED")):
                _look(known, lift=lift, true=true, adjusted=adjusted, suffix=suffix, note=note)
    sequences.LEAST_CLICKS, sequences.LEAST_UNITS = least
    means = {name: round(float(np.nanmean(values)), 5) if len(values) else None for name, values in found.items()}
    answered = {f"n {name}": int(np.isfinite(values).sum()) for name, values in found.items()}
    spent = round(time.process_time() - start, 1)
    return {"world": world.name, "limit": limit, "simulations": simulations, "cpu_seconds": spent, **means, **answered}


def _look(
    known: UnitMoments, *, lift: float, true: float, adjusted: bool, suffix: str, note: Callable[[str, float], None]
) -> None:
    control, variant = known[0], known[1]
    looks = known.units.shape[1]
    sequence = lift_sequence(control, variant, days=looks, adjusted=adjusted)
    if lift:
        fixed = fixed_lift(control[-1], variant[-1], adjusted=adjusted) if sequence is not None else None
        note(f"fixed{suffix}", fixed.lift.low <= math.expm1(true) <= fixed.lift.high if fixed else math.nan)
        if sequence is None:
            return note(f"always{suffix}", math.nan)
        off = np.abs(sequence.ratio.value - true) > sequence.half
        note(f"always{suffix}", not off[sequence.first :].any())
        if fixed:
            wide = sequence.half[-1] / (math.log1p(fixed.lift.high) - math.log1p(fixed.lift.low)) * 2
            note(f"width{suffix}", float(wide))
        note(f"sd{suffix}", float(np.sqrt(sequence.ratio.variance[-1])))
        return None
    days = np.linspace(0, looks - 1, _DAYS + 1).round().astype(int)[1:]
    daily = known[:, days]
    sequence = lift_sequence(daily[0], daily[1], days=_DAYS, adjusted=adjusted)
    if sequence is None:
        return note(f"false{suffix}", math.nan)
    later = slice(sequence.first, None)
    note(f"false{suffix}", bool((np.abs(sequence.ratio.value) > sequence.half)[later].any()))
    naive = np.abs(sequence.ratio.value) > 1.959964 * np.sqrt(sequence.ratio.variance)
    note(f"false peeked{suffix}", bool(naive[later].any()))
    if not adjusted:
        counts = from_counts(impressions=daily.sums[..., 0], clicks=daily.sums[..., CLICKS])
        plain = log_ratio(counts[0], counts[1])
        half = msprt_half_width(variance=plain.variance, prior_sd=_PRIOR_SD)
        note("false mSPRT", bool((np.abs(plain.value) > half)[later].any()))
    return None


def measure_shares(shares: Sequence[float], users: int, simulations: int, seed: int) -> Row:
    """Return the share of experiments of 28 days with a false alarm about their shares, and with a true one."""
    rng = np.random.default_rng([seed, len(shares), users])
    lossy = np.array(shares, float)
    lossy[-1] *= 0.97  # one variant loses 3 % of its users
    rows = {}
    for name, chances in (("false alarms", np.array(shares)), ("found", lossy / lossy.sum())):
        drawn = rng.multinomial(users, chances, size=(simulations, 28))
        rows[name] = float(np.mean([check_sample_ratio(one.T, shares=shares).alarm for one in drawn]))
    return {"shares": list(shares), "users": users, "simulations": simulations, **rows}


def measure_guardrail(simulations: int, seed: int, margin: float = 0.1) -> Row:
    """Return how often a loss of conversions as large as the margin is ever taken for smaller, looking 14 times."""
    world = World("conversions", ctr=0.4, visits=3.0, conversion=0.3)
    rng, level = np.random.default_rng([seed, 7]), one_sided_level(0.95)
    held = []
    for _ in range(simulations):
        known = draw(world, -margin, rng).cumulative()
        daily = known[:, np.linspace(0, known.units.shape[1] - 1, _DAYS + 1).round().astype(int)[1:]]
        sequence = lift_sequence(daily[0], daily[1], days=_DAYS, numerator=CONVERSIONS, level=level)
        lows = np.expm1(sequence.ratio.value - sequence.half)[sequence.first :] if sequence else np.zeros(0)
        held.append(bool((lows > -margin).any()))
    return {"guardrail": margin, "simulations": simulations, "false held": float(np.mean(held))}


def measure_products(products: int, kind: str, simulations: int, seed: int) -> Row:
    """Return false discoveries, coverage of shrunk intervals and of the winner's, and errors, over many products."""
    rng = np.random.default_rng([seed, products, *kind.encode()])
    notes: dict[str, list[float]] = {}
    for _ in range(simulations):
        true = np.zeros(products)
        if kind == "normal":
            true = rng.normal(0.02, 0.1, products)
        elif kind == "one in ten differs":
            true = np.where(rng.random(products) < 0.1, rng.normal(0, 0.4, products), 0.0)
        error = rng.uniform(0.05, 0.15, products)
        seen = rng.normal(true, error)
        z = np.abs(seen) / error
        p_values = np.array([math.erfc(one / math.sqrt(2)) for one in z])
        evidence = 0.5 * np.log(error**2 / (error**2 + _PRIOR_SD**2)) + z**2 / 2 / (1 + error**2 / _PRIOR_SD**2)
        for name, called in (("BH", discoveries(p_values.tolist())), ("e-BH", e_discoveries(evidence.tolist()))):
            number = sum(called)
            wrong = float(np.sum(np.array(called) & (true == 0)))
            notes.setdefault(f"false {name}", []).append(wrong / max(number, 1))
            notes.setdefault(f"found {name}", []).append(number)
        found = shrink([_relative(value, noise) for value, noise in zip(seen, error, strict=True)]).lifts
        low, high, middle = np.log1p([(one.low, one.high, one.value) for one in found]).T
        best = int(np.argmax(seen))
        covers = (low <= true) & (true <= high)
        notes.setdefault("cover", []).append(float(covers.mean()))
        notes.setdefault("winner covers", []).append(float(covers[best]))
        notes.setdefault("winner covers raw", []).append(float(abs(seen[best] - true[best]) < 1.959964 * error[best]))
        notes.setdefault("error", []).append(float(np.mean((middle - true) ** 2)))
        notes.setdefault("error raw", []).append(float(np.mean((seen - true) ** 2)))
        notes.setdefault("winner excess", []).append(float(middle[best] - true[best]))
        notes.setdefault("winner excess raw", []).append(float(seen[best] - true[best]))
    means = {name: round(float(np.mean(values)), 5) for name, values in notes.items()}
    return {"products": products, "kind": kind, "simulations": simulations, **means}


def _relative(log_lift: float, error: float) -> Estimate:
    low, high = log_lift - 1.959964 * error, log_lift + 1.959964 * error
    return Estimate(math.expm1(log_lift), math.expm1(low), math.expm1(high))


def page(rows: Sequence[Row], command: str) -> str:
    """Return the tables of all rows; every share with 1.96 Monte Carlo standard errors."""
    worlds = [row for row in rows if "world" in row and row["limit"]]
    lines = [
        f"`{command}`; ± is 1.96 standard errors of the simulations.",
        "",
        "| world | fixed | fixed, CUPED | always valid | always valid, CUPED | width against fixed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in worlds:
        told = [_share(row, name) for name in ("fixed", "fixed CUPED", "always", "always CUPED")]
        lines.append(f"| {row['world']} | {' | '.join(told)} | × {row['width']:.2f} |")
    lines += [
        "",
        "Share of intervals that cover a lift of +20 %; always valid: at every look, after each 100 users.",
        "The width is that at the end, where the sequence is tightest.",
        "",
        "| world | always valid | always valid, CUPED | interval of one look | mSPRT on impressions | sd by CUPED |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in worlds:
        told = [_share(row, name) for name in ("false", "false CUPED", "false peeked", "false mSPRT")]
        lines.append(f"| {row['world']} | {' | '.join(told)} | × {row['sd CUPED'] / row['sd']:.2f} |")
    lines += [
        "",
        "Share of experiments without any lift in which somebody who looks on each of 14 days finds one.",
        "",
        "| without the limit of 25 clicks | fixed | always valid |",
        "| --- | --- | --- |",
    ]
    for row in (one for one in rows if "world" in one and not one["limit"]):
        lines.append(f"| {row['world']} | {_share(row, 'fixed')} | {_share(row, 'always')} |")
    lines += [
        "",
        "Coverage with the limit taken away, where a number comes out at all.",
        "",
        "| shares | users a day | false alarms | found when one variant loses 3 % |",
        "| --- | --- | --- | --- |",
    ]
    for row in (one for one in rows if "shares" in one):
        shares = " : ".join(f"{share:g}" for share in row["shares"])
        told = [_told(row[name], row["simulations"]) for name in ("false alarms", "found")]
        lines.append(f"| {shares} | {row['users']:,} | {told[0]} | {told[1]} |")
    lines += ["", "Sample ratio over 28 days, read on each."]
    for row in (one for one in rows if "guardrail" in one):
        told = _told(row["false held"], row["simulations"])
        lines += ["", f"A loss of conversions of exactly the margin, {row['guardrail']:.0%}, is taken for a smaller"]
        lines += [f"one in {told} of experiments over 14 looks (promised: 5 % at most)."]
    heads = ["products, true lifts", "false among discoveries, BH", "e-BH", "discoveries, BH", "e-BH"]
    heads += ["shrunk intervals cover", "the winner's covers", "its raw one", "the winner's excess, raw → shrunk"]
    heads += ["error against raw"]
    lines += ["", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for row in (one for one in rows if "products" in one):
        error = math.sqrt(row["error"] / row["error raw"])
        false = [f"{row[name]:.1%}" for name in ("false BH", "false e-BH")] if row["kind"] != "normal" else ["—", "—"]
        winner = [_told(row[name], row["simulations"]) for name in ("winner covers", "winner covers raw")]
        lines.append(
            f"| {row['products']}, {row['kind']} | {false[0]} | {false[1]} | {row['found BH']:.1f} | "
            f"{row['found e-BH']:.1f} | {row['cover']:.1%} | {winner[0]} | {winner[1]} | "
            f"{row['winner excess raw']:+.3f} → {row['winner excess']:+.3f} | × {error:.2f} |"
        )
    return "\n".join(lines)


def _share(row: Row, name: str) -> str:
    answered, asked = row.get(f"n {name}", 0), row["simulations"]
    if not answered:
        return "refused"
    few = f" ({answered / asked:.0%} answered)" if answered < 0.995 * asked else ""
    return _told(row[name], answered) + few


def _told(share: float, number: int) -> str:
    return f"{share:.1%} ± {1.96 * math.sqrt(max(share * (1 - share), 0.5 / number) / number):.1%}"


def main() -> None:
    """Measure, print, keep the rows and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    n, seed = given.simulations, given.seed
    rows = measure_each(
        measure_shares,
        [([0.5, 0.5], 500, n, seed), ([0.5, 0.5], 5_000, n, seed), ([0.9, 0.1], 5_000, n, seed),
         ([0.25] * 4, 5_000, n, seed)],
        workers=given.workers, by="coverage",
    )  # fmt: skip
    rows += measure_each(measure_guardrail, [(n, seed)], workers=given.workers, by="coverage")
    jobs = [(world, n, seed, True) for world in WORLDS] + [(world, n, seed, False) for world in _FEW]
    rows += measure_each(measure_world, jobs, workers=given.workers, by="coverage")
    kinds = [(5, "normal"), (100, "normal"), (100, "one in ten differs"), (100, "none differs")]
    many = [(products, kind, max(n // 10, 1), seed) for products, kind in kinds]
    rows += measure_each(measure_products, many, workers=given.workers, by="coverage")
    write_part(PAGE, page(rows, f"python benchmarks/coverage.py --simulations {n}"), by="coverage")


if __name__ == "__main__":
    main()
