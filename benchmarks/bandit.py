"""What does a bandit lose that starts from reward scores, where they are right and where they are not?

Made-up products of known CTR: a world is past products, whose clicks say what scores are worth, and running products,
each with 50,000 decisions at three placements and four positions. Regret: clicks lost against the best creative of
every placement, as a share of its clicks. Everything was chosen on worlds below 1000. Prints Markdown, appends one row
to results/bandit.jsonl, and writes the tables into a page. vowpalwabbit is a peer (`pip install clickscape[peers]`).

    python benchmarks/bandit.py --page docs/experiments/bandit.md
"""

from __future__ import annotations

import argparse
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln

from _results import append_row, write_part
from clickscape.experiment import bandit
from clickscape.experiment.click_posterior import EffectPrior
from clickscape.experiment.prior import PastCreatives, ScorePrior, learn_prior, learn_trust
from clickscape.experiment.propensity import best_of, best_probabilities, with_floor
from clickscape.experiment.thompson import Thompson, thompson_shares

Floats = NDArray[np.float64]
Policy = Callable[[Floats, Floats, int], Floats]
"""Clicks and exposures so far, (product, creative, placement), and the number of the batch → shares (…, creative)."""

CREATIVES, SPREAD, PLACEMENT_SPREAD, SCORE_SD = 8, 0.25, 0.08, 0.1
PLACEMENTS = np.array([0.5, 0.3, 0.2])
PLACEMENT_LEVEL = np.array([0.0, 0.2, -0.3])
POSITIONS, EXAMINATION = np.array([0.4, 0.3, 0.2, 0.1]), np.array([1.0, 0.7, 0.5, 0.35])
PAST_PRODUCTS, PAST_IMPRESSIONS = 40, 1_500
BATCH, A_DAY = 1_000, 5  # decisions of a batch, batches of a day
EARLY = 5_000
CORRELATIONS = {  # of scores and truth within products: of the past ones, of the running ones
    "scores as before, correlation .5": (0.5, 0.5),
    "scores as before, correlation .8": (0.8, 0.8),
    "scores that never said anything": (0.0, 0.0),
    "scores that were always upside down": (-0.5, -0.5),
    "scores right before, worthless now": (0.5, 0.0),
    "scores right before (.5), upside down now": (0.5, -0.5),
    "scores right before (.8), upside down now": (0.8, -0.8),
}
GOOD, DRIFT, LATE = "scores as before, correlation .5", "CTRs drift, half-life 5 days", "clicks come a day late"
PEERS = {"epsilon .05": "--epsilon 0.05", "SquareCB": "--squarecb", "bagging of 5": "--bag 5"}
PEER = "SquareCB"
RULES = bandit.BanditRules()


@dataclass(frozen=True)
class Traffic:
    """Running products of many worlds: log CTR and scores, (product, creative[, placement]), and each one's prior."""

    log_ctr: Floats
    scores: Floats
    priors: tuple[ScorePrior, ...]
    worlds: int


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


def draw_traffic(worlds: range, products: int, past: float, now: float) -> Traffic:
    """Draw worlds and learn each one's prior from its past products."""
    ctrs, scores, priors = [], [], []
    for number in worlds:
        rng = np.random.default_rng([number, 1])
        effect, log_ctr = _draw_products(rng, products)
        ctrs.append(log_ctr)
        scores.append(_scores(rng, effect, now))
        priors += [_prior(number, past)] * products
    return Traffic(np.concatenate(ctrs), np.concatenate(scores), tuple(priors), len(worlds))


@lru_cache(maxsize=1_000)
def _prior(number: int, correlation: float) -> ScorePrior:
    """What a world's past products say of scores."""
    rng = np.random.default_rng([number, 0])
    effect, log_ctr = _draw_products(rng, PAST_PRODUCTS)
    shown = PAST_IMPRESSIONS * np.exp(rng.normal(0, 0.5, (PAST_PRODUCTS, CREATIVES, 1))) * PLACEMENTS
    shown = shown * (POSITIONS @ EXAMINATION)
    clicks = rng.poisson(shown * np.exp(log_ctr)).astype(np.float64)
    count = PAST_PRODUCTS * CREATIVES
    known = PastCreatives(
        np.repeat(np.arange(PAST_PRODUCTS), CREATIVES), _scores(rng, effect, correlation).ravel(),
        np.full(count, SCORE_SD), clicks.reshape(count, -1), shown.reshape(count, -1),
    )  # fmt: skip
    return learn_prior(known)


def _draw_products(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Effects (product, creative) and log CTRs (product, creative, placement)."""
    effect = rng.normal(0, SPREAD, (count, CREATIVES))
    level = np.log(0.005) + np.log(6) * rng.random((count, 1, 1)) + PLACEMENT_LEVEL
    own = rng.normal(0, PLACEMENT_SPREAD, (count, CREATIVES, len(PLACEMENTS)))
    return effect, level + effect[..., None] + own


def _scores(rng: np.random.Generator, effect: Floats, correlation: float) -> Floats:
    """Scores with the slope that a calibrated model has; below 0: upside down; 0: noise as large as at .5."""
    noise = rng.normal(0, SPREAD, effect.shape)
    if not correlation:
        return 0.5 * noise
    size = abs(correlation)
    return np.sign(correlation) * size**2 * effect + size * np.sqrt(1 - size**2) * noise


def simulate(
    policy: Policy, traffic: Traffic, decisions: int, *, seed: int, drift: bool = False, delay: int = 0,
    corrected: bool = True, half_life: float | None = None,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Return regret after EARLY and after all decisions, (2, product), as a share of the best creative's clicks.

    delay: mean batches until a click comes; corrected: exposures count by the share of their clicks that came.
    """
    rng = np.random.default_rng(seed)
    log_ctr = traffic.log_ctr.copy()
    middle = log_ctr.mean(axis=1, keepdims=True)
    keep = 0.5 ** (1 / (5 * A_DAY)) if drift else 1.0
    fade = 0.5 ** (1 / (half_life * A_DAY)) if half_life else 1.0
    wait = np.exp(-1 / delay) if delay else 0.0
    clicks, exposures = np.zeros_like(log_ctr), np.zeros_like(log_ctr)
    coming, young = np.zeros(log_ctr.shape, np.int64), np.zeros_like(log_ctr)
    lost, best = np.zeros(len(log_ctr)), np.zeros(len(log_ctr))
    early = None
    for number in range(decisions // BATCH):
        seen = exposures - young if delay and corrected else exposures
        shares = policy(clicks, np.maximum(seen, 0), number)
        placed = rng.multinomial(BATCH, PLACEMENTS, size=len(log_ctr))
        shown = np.swapaxes(rng.multinomial(placed, shares / shares.sum(axis=-1, keepdims=True)), 1, 2)
        at = rng.multinomial(shown, POSITIONS)
        looked = at @ EXAMINATION
        ctr = np.exp(log_ctr)
        clicked = rng.binomial(at, np.minimum(ctr[..., None] * EXAMINATION, 1)).sum(axis=-1)
        top = ctr.max(axis=1, keepdims=True)
        lost += ((top - ctr) * looked).sum(axis=(1, 2))
        best += (top * looked).sum(axis=(1, 2))
        if (number + 1) * BATCH == EARLY:
            early = lost / best
        coming += clicked
        arrived = rng.binomial(coming, 1 - wait)
        coming -= arrived
        young = (young + looked) * wait * fade
        clicks, exposures = clicks * fade + arrived, exposures * fade + looked
        if drift:
            log_ctr = middle + keep * (log_ctr - middle)
            log_ctr = log_ctr + np.sqrt(1 - keep**2) * rng.normal(0, SPREAD, (*log_ctr.shape[:2], 1))
    return np.stack([lost / best if early is None else early, lost / best])


class ScoreBandit:
    """clickscape's bandit for products of many worlds; trust is learned from a world's products, every other batch."""

    def __init__(self, traffic: Traffic, *, use_scores: bool = True, rules: bandit.BanditRules = RULES,
                 trust: float | None = None) -> None:  # fmt: skip
        priors = traffic.priors if use_scores else [replace(one, weight=0.0, spread=one.spread_alone)
                                                    for one in traffic.priors]  # fmt: skip
        each = [one.beliefs(scores, np.full(CREATIVES, SCORE_SD)) for one, scores in
                zip(priors, traffic.scores, strict=True)]  # fmt: skip
        kept = slice(None) if use_scores else slice(1, 2)
        self.beliefs = EffectPrior(
            np.stack([one.mean for one in each], axis=1)[kept], np.stack([one.variance for one in each], axis=1)[kept],
            *(np.array([getattr(one, name) for one in each]) for name in ("placement_variance", "level", "level_sd")),
        )  # fmt: skip
        self.worlds, self.rules, self.fixed = traffic.worlds, rules, trust is not None
        begin = 0.5 if trust is None else trust
        self.credence = np.repeat([[begin], [1 - begin]], len(each), axis=1)[kept]

    def __call__(self, clicks: Floats, exposures: Floats, number: int) -> Floats:
        found = thompson_shares(
            clicks, exposures, beliefs=self.beliefs, credence=self.credence, exploration=self.rules.exploration
        )
        if not self.fixed and len(self.credence) == 2 and number % 2 == 0:
            self._learn(found)
        return with_floor(found.probability, floor=self.rules.floor)

    def _learn(self, found: Thompson) -> None:
        evidence = found.posteriors.log_evidence.reshape(2, self.worlds, -1)
        trust = [learn_trust(np.array([0.5, 0.5]), evidence[:, world]) for world in range(self.worlds)]
        each = np.repeat(trust, evidence.shape[2])
        self.credence = np.stack([each, 1 - each])


def uniform(clicks: Floats, _exposures: Floats, _number: int) -> Floats:
    """Every creative equally often."""
    return np.full(np.swapaxes(clicks, 1, 2).shape, 1 / CREATIVES)


def best_of_log(decisions: int) -> Policy:
    """Return a policy: every creative equally often for a tenth of the decisions, then the one with the highest CTR."""
    kept: list[Floats] = []

    def policy(clicks: Floats, exposures: Floats, number: int) -> Floats:
        if number < decisions // BATCH // 10:
            return uniform(clicks, exposures, number)
        if not kept:
            kept.append((clicks.sum(axis=2) / exposures.sum(axis=2)).argmax(axis=1))
        chosen = np.eye(CREATIVES)[kept[0]]
        return np.repeat(chosen[:, None], len(PLACEMENTS), axis=1)

    return policy


def beta_sampling(seed: int, *, traffic: Traffic | None = None, exploration: float = 1.0) -> Policy:
    """Return Thompson sampling from Beta posteriors over all placements, by 200 draws a batch.

    Beta(1, 1), or with `traffic` the pseudo-counts that say what the learned prior says.
    """
    rng = np.random.default_rng(seed)

    def policy(clicks: Floats, exposures: Floats, _number: int) -> Floats:
        hits, shown = clicks.sum(axis=2), exposures.sum(axis=2)
        a, b = np.ones_like(hits), np.ones_like(hits)
        if traffic is not None:
            weight, level, width = (np.array([getattr(one, name) for one in traffic.priors])[:, None]
                                    for name in ("weight", "log_ctr", "spread"))  # fmt: skip
            effect = np.exp(weight * (traffic.scores - traffic.scores.mean(axis=1, keepdims=True)))
            base = (hits.sum(axis=1, keepdims=True) + 1) / (
                (shown * effect).sum(axis=1, keepdims=True) + np.exp(-level)
            )
            a = 1 / (width**2 + (weight * SCORE_SD) ** 2)
            b = a / (base * effect) - a
        draws = rng.beta((a + hits) / exploration**2, np.maximum(b + shown - hits, 1) / exploration**2,
                         size=(200, *hits.shape)).argmax(axis=2)  # fmt: skip
        share = (draws[..., None] == np.arange(CREATIVES)).mean(axis=0)
        return np.repeat(share[:, None], len(PLACEMENTS), axis=1)

    return policy


def vowpal(traffic: Traffic, decisions: int, options: str, *, seed: int) -> Floats | None:
    """Return regret of vowpalwabbit, (2, world), on each world's first product; None where it is not installed.

    It learns after every decision, and sees placement, creative, their product, and the score.
    """
    try:
        from vowpalwabbit import Workspace
    except ImportError:
        print("vowpalwabbit is not installed, its row is left out: pip install clickscape[peers]")
        return None
    rng, found = np.random.default_rng(seed), []
    every = len(traffic.log_ctr) // traffic.worlds
    for product in range(0, len(traffic.log_ctr), every):
        ctr, scores = np.exp(traffic.log_ctr[product]), traffic.scores[product]
        learner = Workspace(f"--cb_explore_adf {options} -q sa --quiet --random_seed {seed + 1}")
        actions = [f"|a c{place} |r score:{scores[place]:.4f}" for place in range(CREATIVES)]
        parsed = [learner.parse([f"shared |s p{place}", *actions]) for place in range(len(PLACEMENTS))]
        places = rng.choice(len(PLACEMENTS), size=decisions, p=PLACEMENTS).tolist()
        looks = EXAMINATION[rng.choice(len(POSITIONS), size=decisions, p=POSITIONS)].tolist()
        draws, clicks = rng.random((2, decisions)).tolist()
        rates, tops = ctr.tolist(), ctr.max(axis=0).tolist()
        lost = best = 0.0
        early = None
        for number, (place, look, draw, click) in enumerate(zip(places, looks, draws, clicks, strict=True), start=1):
            shares = learner.predict(parsed[place])
            limits = list(accumulate(shares))
            chosen = min(bisect_right(limits, draw * limits[-1]), CREATIVES - 1)
            own = rates[chosen][place]
            lost, best = lost + (tops[place] - own) * look, best + tops[place] * look
            text = [f"shared |s p{place}", *actions]
            text[chosen + 1] = f"0:{-float(click < own * look)}:{shares[chosen]:.6f} {actions[chosen]}"
            learner.learn(text)
            if number == EARLY:
                early = lost / best
        learner.finish()
        found.append([lost / best if early is None else early, lost / best])
    return np.array(found).T


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
        "Beta with the prior's pseudo-counts, exploration .5": beta_sampling(seed, traffic=good, exploration=0.5),
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
    few, where = draw_traffic(some, products, *CORRELATIONS[GOOD]), f"first products of {len(some)} worlds"
    if some and (peer := vowpal(few, decisions, PEERS[PEER], seed=seed)) is not None:
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
