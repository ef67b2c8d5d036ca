"""Do off-policy estimates hold the true CTR of another policy, and how far are they off?

Logs of simulated shops whose true CTRs are known: small and large ones, with even and skewed propensities, of bandits
that learned from the clicks, and creatives that nobody has seen. Then the Open Bandit sample of Saito, Aihara,
Matsutani and Narita (2021), whose random traffic is asked what its other policy earned, and the other way round: six
logs of 10,000 rows with few clicks, which show coverage, not accuracy. It lies in the source distribution
obp-0.5.7.tar.gz: find its address on the page https://pypi.org/simple/obp/, download it with curl and name the file;
nothing of it is installed.

Prints Markdown, appends JSON rows to results/off_policy.jsonl, and writes the tables into a page between its markers.

    python benchmarks/off_policy.py --logs 200 --open-bandit obp-0.5.7.tar.gz --page docs/experiments/off-policy.md
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from _off_policy_shops import Shop, log_of, open_shop
from _open_bandit import CAMPAIGNS, read_logs
from _results import append_row, write_part
from clickscape.experiment import off_policy, target_policy
from clickscape.experiment.decisions import Decisions
from clickscape.experiment.element_weights import Elements
from clickscape.experiment.new_creatives import evaluate_new
from clickscape.experiment.target_policy import TargetPolicy
from clickscape.reward.scene_elements import scene_effects
from clickscape.simulator.vocabulary import SLOTS

CONDITIONS = {  # name: logger, decisions, estimators
    "small, even": ("even", 8_000, ("ips", "snips", "direct", "dr", "switch-dr", "mips")),
    "small, skewed": ("skewed", 8_000, ("ips", "clipped-ips", "snips", "direct", "dr", "switch-dr", "mips")),
    "large, skewed": ("skewed", 60_000, ("ips", "clipped-ips", "snips", "direct", "dr", "switch-dr", "mips")),
    "Thompson": ("thompson", 20_000, ("ips", "snips", "dr", "stabilized-dr")),
    "greedy": ("greedy", 20_000, ("ips", "snips", "dr", "stabilized-dr")),
}
FIRST = 1_000
"""Number of the first drawn world; every fourth log is of harmony."""

_PRODUCTS, _CANDIDATES = 12, 5
_NEW_PRODUCTS, _NEW_DECISIONS = 24, 100_000
_SCORE_NOISE = 0.2  # sd of what a score of a creative is off, log CTR


def main() -> None:
    """Measure, print, keep the rows, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=200, help="of each kind")
    parser.add_argument("--parts", nargs="*", default=[*CONDITIONS, "new"], help="kinds of logs")
    parser.add_argument("--open-bandit", type=Path, default=os.environ.get("OPEN_BANDIT"), help="obp-0.5.7.tar.gz")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    tables = []
    for name in asked.parts:
        started = time.process_time()
        rows = list(_new(asked.logs) if name == "new" else _known(name, asked.logs))
        summary = _summary(rows)
        append_row({"part": name, "logs": asked.logs, "cpu_seconds": round(time.process_time() - started, 1),
                    "rows": summary}, by="off_policy")  # fmt: skip
        tables.append(_table(name, summary, asked.logs))
        print(tables[-1], flush=True)
    if asked.open_bandit:
        found = _open_bandit(Path(asked.open_bandit))
        append_row({"part": "open bandit", "rows": found}, by="off_policy")
        tables.append(_open_bandit_table(found))
        print(tables[-1], flush=True)
    if asked.page:
        write_part(asked.page, "\n\n".join(tables), by="off_policy")


def _known(name: str, logs: int) -> Iterator[dict[str, Any]]:
    """Errors and coverage of each estimator for two policies on one log after the other."""
    logger, size, estimators = CONDITIONS[name]
    for number in range(logs):
        rng = np.random.default_rng([2_000, list(CONDITIONS).index(name), number])
        shop = open_shop(_world(number), rng, products=_PRODUCTS, candidates=_CANDIDATES)
        log = log_of(shop, rng, decisions=size, logger=logger)
        wrong = _SCORE_NOISE * rng.normal(size=len(shop.creatives))
        scores = dict(zip(shop.creatives, np.log(shop.ctr[: len(wrong)]) + wrong, strict=True))
        elements = Elements.of(shop.creatives, shop.scenes)
        for policy in (target_policy.uniform(log), target_policy.best_by_score(log, scores)):
            truth, logged = shop.value(policy), shop.logged_value(log)
            for estimator in estimators:
                value = off_policy.evaluate(
                    log, policy, estimator=estimator, adaptive=logger in ("thompson", "greedy"), elements=elements
                )
                yield _row(policy.name, estimator, value, truth=truth, lift=truth / logged - 1)


def _new(logs: int) -> Iterator[dict[str, Any]]:
    """The same for one new creative of every product: as the copywriter writes it, or the best by the log's effects."""
    for number in range(logs):
        rng = np.random.default_rng([3_000, number])
        theme = None
        if number % 2:  # all new creatives share an element, so that the policy differs from what was logged
            slot = ("light", "setting", "surface", "stand")[number // 2 % 4]
            theme = (slot, str(rng.choice(SLOTS[slot])))
        shop = open_shop(_world(number), rng, products=_NEW_PRODUCTS, candidates=_CANDIDATES, theme=theme)
        log = log_of(shop, rng, decisions=_NEW_DECISIONS, logger="skewed")
        learned = _effects(shop, log, np.zeros(len(shop.creatives) + len(shop.new), np.int64) + 1)[0]
        of_product = learned[len(shop.creatives) :].reshape(_NEW_PRODUCTS, _CANDIDATES)
        for name, chosen in (("written", np.zeros(_NEW_PRODUCTS, int)), ("picked by effects", of_product.argmax(1))):
            picked = [shop.new[product * _CANDIDATES + place] for product, place in enumerate(chosen)]
            shares = {one.product_id: {new: 1.0} for one, new in zip(shop.products, picked, strict=True)}
            policy, about = target_policy.by_shares(log, shares, name=name)
            place = {creative: where for where, creative in enumerate((*shop.creatives, *shop.new))}
            columns = np.array([place[creative] for creative in policy.creatives])
            whole = TargetPolicy(name, (*shop.creatives, *shop.new), policy.sets, columns[policy.creative],
                                 policy.probability)  # fmt: skip
            truth, logged = shop.value(whole), shop.logged_value(about)

            def by_elements(fold: np.ndarray, log: Decisions = log, columns: np.ndarray = columns) -> np.ndarray:
                every = np.full(len(shop.creatives) + len(shop.new), fold.max() + 1)  # noqa: B023
                every[columns] = fold
                return _effects(shop, log, every)[: fold.max() + 1, columns]  # noqa: B023

            fits = {"product mean + MIPS": lambda fold: np.zeros((fold.max() + 1, len(fold))),
                    "elements + MIPS": by_elements}  # fmt: skip
            for estimator, fit in fits.items():
                found = evaluate_new(
                    about, policy, scenes=shop.scenes, fit=fit,
                    departments={one.product_id: one.department for one in shop.products},
                )  # fmt: skip
                yield _row(name, estimator, found.value, truth=truth, lift=truth / logged - 1)


def _effects(shop: Shop, log: Decisions, fold: np.ndarray) -> np.ndarray:
    """Effects of all scenes without each fold, (fold, creative); a fold of its own for creatives that stay in."""
    names = (*shop.creatives, *shop.new)
    owner = [product for _ in (0, 1) for product in shop.products for _ in range(shop.candidates)]
    count = len(names)
    look = shop.rates(log.creative, log.set_of_entry) / shop.ctr[log.creative]
    clicks = np.bincount(log.creative, log.clicks, count)
    clicks[len(shop.creatives) :] = np.nan
    return scene_effects(
        [shop.scenes[name] for name in names],
        [one.department for one in owner],
        [one.product_id for one in owner],
        clicks=clicks,
        examinations=np.bincount(log.creative, log.impressions * look, count),
        fold=fold,
    )


def _world(number: int) -> str:
    return "harmony" if number % 4 == 0 else f"drawn-{FIRST + number}"


def _row(policy: str, estimator: str, value: off_policy.PolicyValue, *, truth: float, lift: float) -> dict[str, Any]:
    if value.ctr is None or value.lift is None:
        return {"policy": policy, "estimator": estimator, "measured": False}
    return {
        "policy": policy,
        "estimator": estimator,
        "measured": True,
        "error": value.ctr.value / truth - 1,
        "width": (value.ctr.high - value.ctr.low) / truth,
        "covered": value.ctr.low <= truth <= value.ctr.high,
        "lift_error": (1 + value.lift.value) / (1 + lift) - 1,
        "lift_covered": value.lift.low <= lift <= value.lift.high,
        "lift": lift,
        "clicks": value.effective_clicks,
    }


def _summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    summary = []
    for policy, estimator in dict.fromkeys((row["policy"], row["estimator"]) for row in rows):
        all_rows = [row for row in rows if (row["policy"], row["estimator"]) == (policy, estimator)]
        some = [row for row in all_rows if row["measured"]]
        made: dict[str, Any] = {"policy": policy, "estimator": estimator, "measured": len(some), "of": len(all_rows)}
        if some:
            error = np.array([row["error"] for row in some])
            lift_error = np.array([row["lift_error"] for row in some])
            made |= {
                "bias": float(error.mean()),
                "bias_se": float(error.std(ddof=1) / np.sqrt(len(some))) if len(some) > 1 else None,
                "rmse": float(np.sqrt((error**2).mean())),
                "lift_rmse": float(np.sqrt((lift_error**2).mean())),
                "lift_bias": float(lift_error.mean()),
                "width": float(np.mean([row["width"] for row in some])),
                "covered": float(np.mean([row["covered"] for row in some])),
                "lift_covered": float(np.mean([row["lift_covered"] for row in some])),
                "clicks": float(np.median([row["clicks"] for row in some])),
                "lift": float(np.mean([row["lift"] for row in some])),
            }
        summary.append(made)
    return summary


def _table(name: str, summary: Sequence[dict[str, Any]], logs: int) -> str:
    if name == "new":
        title = f"Creatives that nobody has seen, {logs} logs of {_NEW_DECISIONS:,} decisions, {_NEW_PRODUCTS} products"
    else:
        logger, size, _ = CONDITIONS[name]
        title = f"{name[0].upper()}{name[1:]}: {logs} logs of {size:,} decisions, propensities {logger}"
    head = ["policy", "estimator", "bias of the CTR", "RMSE", "width", "CTR covered", "lift covered", "measured"]
    lines = [f"**{title}**", "", f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for row in summary:
        cells = [row["policy"], row["estimator"]]
        if row["measured"]:
            spread = f" ± {1.96 * row['bias_se']:.1%}" if row["bias_se"] is not None else ""
            cells += [f"{row['bias']:+.1%}{spread}", f"{row['rmse']:.1%}", f"{row['width']:.0%}",
                      f"{row['covered']:.1%}", f"{row['lift_covered']:.1%}"]  # fmt: skip
        else:
            cells += ["-"] * 5
        lines.append(f"| {' | '.join(cells)} | {row['measured']} of {row['of']} |")
    return "\n".join(lines)


def _open_bandit(path: Path) -> list[dict[str, Any]]:
    """What each policy's log says that the other one earned, beside what the other's log says itself."""
    logs = read_logs(path)
    rows = []
    for campaign in CAMPAIGNS:
        for asked, from_ in (("bts", "random"), ("random", "bts")):
            log, other = logs[from_, campaign], logs[asked, campaign]
            own = off_policy.logged_ctr(other.decisions)
            policy = other.policy(log.decisions, name=asked)
            for estimator in ("ips", "snips", "dr"):
                value = off_policy.evaluate(log.decisions, policy, estimator=estimator)
                rows.append({
                    "campaign": campaign, "policy": asked, "from": from_, "estimator": estimator,
                    "ctr": None if value.ctr is None else [value.ctr.value, value.ctr.low, value.ctr.high],
                    "own": [own.value, own.low, own.high], "clicks": int(log.decisions.clicked.sum()),
                    "effective_clicks": value.effective_clicks, "without_overlap": value.without_overlap,
                    "reason": value.reason,
                })  # fmt: skip
    return rows


def _open_bandit_table(rows: Sequence[dict[str, Any]]) -> str:
    head = ["campaign", "policy", "from the log of", "clicks", "effective", "estimator", "CTR, %", "its own log, %"]
    lines = ["**The Open Bandit sample**, six logs of 10,000 rows", "", f"| {' | '.join(head)} |",
             "| --- " * len(head) + "|"]  # fmt: skip
    for row in rows:
        cells = [row["campaign"], row["policy"], row["from"], str(row["clicks"]), f"{row['effective_clicks']:.1f}"]
        cells += [row["estimator"], row["reason"] if row["ctr"] is None else _percent(row["ctr"]), _percent(row["own"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _percent(values: Sequence[float]) -> str:
    value, low, high = (100 * one for one in values)
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
