"""What does a bandit lose that starts from reward scores, where they are right and where they are not?

Made-up products of known CTR, each with 50,000 decisions at three placements and four positions (`_bandit_worlds`).
Regret: clicks lost against the best creative of every placement, as a share of its clicks. Everything was chosen on
worlds below 1000. Prints Markdown, appends one row to results/bandit.jsonl, and writes the tables into a page.
vowpalwabbit is a peer (`pip install clickscape[peers]`).

    python benchmarks/bandit.py --page docs/experiments/bandit.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln

from _bandit_policies import RULES, ScoreBandit, best_of_log, beta_sampling, uniform, vowpal
from _bandit_worlds import A_DAY, BATCH, CORRELATIONS, CREATIVES, EARLY, GOOD, Floats, Policy, draw_traffic, simulate
from _results import append_row, write_part
from clickscape.experiment import bandit
from clickscape.experiment.prior import ScorePrior
from clickscape.experiment.propensity import best_of, best_probabilities

DRIFT, LATE = "CTRs drift, half-life 5 days", "clicks come a day late"
PEERS = {"epsilon .05": "--epsilon 0.05", "SquareCB": "--squarecb", "bagging of 5": "--bag 5"}
PEER = "SquareCB"


def main() -> None:
    """Measure, print, keep the row, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=1_000, help="number of the first world")
    parser.add_argument("--worlds", type=int, default=50)
    parser.add_argument("--products", type=int, default=3, help="running ones of a world")
    parser.add_argument("--decisions", type=int, default=50_000, help="of a product")
    parser.add_argument("--peer-worlds", type=int, default=10, help="of them, for vowpalwabbit, which is slow")
    parser.add_argument(
        "--choose-peer", action="store_true", help="compare vowpalwabbit's forms only; below world 1000"
    )
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    worlds = range(asked.first, asked.first + asked.worlds)
    if asked.choose_peer:
        traffic = draw_traffic(worlds, asked.products, *CORRELATIONS[GOOD])
        for name, options in PEERS.items():
            print(name, vowpal(traffic, asked.decisions, options, seed=asked.first).mean(axis=1), flush=True)
        return
    rows = list(regrets(worlds, asked.products, asked.decisions, peer_worlds=asked.peer_worlds))
    speed = speeds()
    text = table(rows, speed, asked)
    print(text)
    append_row({"first": asked.first, "worlds": asked.worlds, "products": asked.products, "decisions": asked.decisions,
                "rows": rows, "speed": speed}, by="bandit")  # fmt: skip
    if asked.page:
        write_part(asked.page, text, by="bandit")


def regrets(worlds: range, products: int, decisions: int, *, peer_worlds: int) -> Iterator[dict[str, object]]:
    """Measure every policy in every setting; regret and ratio to the bandit without scores, by world."""
    seed = worlds[0]
    made = {name: draw_traffic(worlds, products, *pair) for name, pair in CORRELATIONS.items()}
    plain: dict[str, Floats] = {}

    def row(setting: str, policy: str, found: Floats, base: str | None) -> dict[str, object]:
        each = found if base is None and found.shape[1] < len(worlds) else by_world(found)
        against = plain.get(base or "")
        result = {"setting": setting, "policy": policy, "early": _median(each[0]), "late": _median(each[1])}
        result["ratio"] = None if against is None else _ratio(each[1], against)
        print(result, flush=True)
        return result

    def by_world(found: Floats) -> Floats:
        return found.reshape(2, len(worlds), -1).mean(axis=2)

    good = made[GOOD]
    found = simulate(ScoreBandit(good, use_scores=False), good, decisions, seed=seed)
    plain[GOOD] = by_world(found)[1]
    yield row("any scores", "clickscape without scores", found, None)
    for setting, traffic in made.items():
        base = ScoreBandit(traffic, use_scores=False)
        if setting != GOOD:
            plain[setting] = by_world(simulate(base, traffic, decisions, seed=seed))[1]
        yield row(setting, "clickscape", simulate(ScoreBandit(traffic), traffic, decisions, seed=seed), setting)
        if setting.startswith("scores right before"):
            sure = ScoreBandit(traffic, trust=1.0)
            yield row(setting, "full trust", simulate(sure, traffic, decisions, seed=seed), setting)
    others: dict[str, Policy] = {
        "without floor": ScoreBandit(good, rules=replace(RULES, floor=0.0)),
        "exploration 1 (plain Thompson sampling)": ScoreBandit(good, rules=replace(RULES, exploration=1.0)),
        "full trust": ScoreBandit(good, trust=1.0),
        "full trust, without floor": ScoreBandit(good, trust=1.0, rules=replace(RULES, floor=0.0)),
        "Beta with the prior's pseudo-counts, exploration .5": beta_sampling(seed, traffic=good, exploration=0.5),
        "the same Beta, without floor": beta_sampling(seed, traffic=good, exploration=0.5, floor=0.0),
        "Beta(1, 1) Thompson sampling, no prior": beta_sampling(seed),
        "best of the log (a tenth uniform)": best_of_log(decisions),
        "uniform": uniform,
    }
    for name, policy in others.items():
        yield row(GOOD, name, simulate(policy, good, decisions, seed=seed), GOOD)
    plain[DRIFT] = by_world(
        simulate(ScoreBandit(good, use_scores=False), good, decisions, seed=seed, drift=True, half_life=5)
    )[1]
    for name, half_life in (("clickscape, half-life 5 days", 5.0), ("clickscape, all clicks for ever", None)):
        moved = simulate(ScoreBandit(good), good, decisions, seed=seed, drift=True, half_life=half_life)
        yield row(DRIFT, name, moved, DRIFT)
    for name, corrected in (("clickscape, impressions by the share of clicks that came", True),
                            ("clickscape, all impressions", False)):  # fmt: skip
        late = simulate(ScoreBandit(good), good, decisions, seed=seed, delay=A_DAY, corrected=corrected)
        yield row(LATE, name, late, GOOD)
    some = worlds[:peer_worlds]
    if not some:
        return
    few, where = draw_traffic(some, products, *CORRELATIONS[GOOD]), f"first products of {len(some)} worlds"
    if (peer := vowpal(few, decisions, PEERS[PEER], seed=seed)) is not None:
        yield row(where, f"vowpalwabbit, {PEER}", peer, None)
        mine = simulate(ScoreBandit(few), few, decisions, seed=seed)[:, ::products]
        yield row(where, "clickscape", mine, None)


def speeds() -> list[dict[str, object]]:
    """CPU-seconds of 10,000 choices among 8 creatives, each with its exact propensities."""
    rng, names = np.random.default_rng(0), tuple(f"c{place}" for place in range(CREATIVES))
    state = bandit.BanditState("policy", "product", names, ("feed",), tuple(rng.normal(0, 0.1, CREATIVES).tolist()),
                               (0.1,) * CREATIVES, ScorePrior(weight=1.0), RULES)  # fmt: skip
    cells = [tuple(bandit.Cell(name, "feed", 2_000.0, float(rng.poisson(20))) for name in names) for _ in range(1_000)]
    at = datetime(2027, 1, 1, tzinfo=UTC)
    states = [bandit.update(state, bandit.Batch(f"b{number}", at, some)) for number, some in enumerate(cells)]
    shares, key = bandit.traffic_shares(states[0]), bytes(32)
    mean, sd = rng.normal(0, 0.25, (10_000, CREATIVES)), np.exp(rng.uniform(-3.5, -1.2, (10_000, CREATIVES)))

    def pick(of: bandit.TrafficShares, number: int) -> bandit.Choice:
        return bandit.choose(of, placement="feed", user_key=f"u{number}", decision_id=f"d{number}", key=key)

    a, b = rng.gamma(20, 1, (200, CREATIVES)) + 5, 2_000 + np.zeros((200, CREATIVES))

    def beta_distribution(x: Floats, case: NDArray[np.int64]) -> tuple[Floats, Floats]:
        left, right = a[case].T, b[case].T
        density = np.exp((left - 1) * np.log(x) + (right - 1) * np.log1p(-x) - betaln(left, right))
        return np.maximum(betainc(left, right, x), 1e-300), density

    edges = np.linspace(0.0005, 0.05, 65) * np.ones((200, 1))
    jobs: dict[str, tuple[Callable[[], object], int]] = {
        "choices from shares that are there (between two updates)": (
            lambda: [pick(shares, number) for number in range(10_000)], 10_000),
        "posteriors → propensities, 64 at once": (
            lambda: [best_probabilities(mean[at : at + 64], sd[at : at + 64]) for at in range(0, 10_000, 64)], 10_000),
        "posteriors → propensities, one by one": (
            lambda: [best_probabilities(mean[at], sd[at]) for at in range(10_000)], 10_000),
        "another state for every choice: counts → posterior → propensities → choice": (
            lambda: [pick(bandit.traffic_shares(one), number) for number, one in enumerate(states)], 1_000),
        "Beta posteriors → propensities, 200 at once": (lambda: best_of(edges, beta_distribution), 200),
    }  # fmt: skip
    found = []
    for what, (job, count) in jobs.items():
        begin = time.process_time()
        job()
        found.append({"what": what, "cpu_seconds": (time.process_time() - begin) * 10_000 / count})
    return found


def _median(values: Floats) -> list[float]:
    """Median over worlds with its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    drawn = np.median(values[rng.integers(len(values), size=(2_000, len(values)))], axis=1)
    return [float(np.median(values)), *map(float, np.quantile(drawn, [0.025, 0.975]))]


def _ratio(values: Floats, against: Floats) -> list[float]:
    """Total regret over that of others in the same worlds, with its 95 % bootstrap interval."""
    drawn = np.random.default_rng(0).integers(len(values), size=(2_000, len(values)))
    ratios = values[drawn].sum(axis=1) / against[drawn].sum(axis=1)
    return [float(values.sum() / against.sum()), *map(float, np.quantile(ratios, [0.025, 0.975]))]


def table(rows: list[dict], speed: list[dict], asked: argparse.Namespace) -> str:
    """The two tables of the page."""
    lines = [
        f"{asked.worlds} worlds from number {asked.first:,} on, {asked.products} products each, {CREATIVES} creatives,",
        f"{asked.decisions:,} decisions a product in batches of {BATCH}.",
        "",
        f"| setting | policy | regret after {EARLY:,} | regret after {asked.decisions:,} | × without scores |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        early, late = (" % [".join(f"{100 * value:.1f}" for value in row[key][:2]) + f", {100 * row[key][2]:.1f}]"
                       for key in ("early", "late"))  # fmt: skip
        ratio = row["ratio"]
        against = "" if ratio is None else f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]"
        lines.append(f"| {row['setting']} | {row['policy']} | {early} | {late} | {against} |")
    lines += ["", "| 10,000 choices among 8 creatives | CPU-s |", "| --- | ---: |"]
    lines += [f"| {one['what']} | {one['cpu_seconds']:.2f} |" for one in speed]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
