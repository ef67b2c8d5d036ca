"""The bandit of a product: shares by hand, choices that repeat themselves, batches in any order, unbiased logs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from clickscape.errors import ExperimentError
from clickscape.experiment import bandit
from clickscape.experiment.assign import assign_many, key_id
from clickscape.experiment.bandit import BanditRules, BanditState, Batch, Cell
from clickscape.experiment.definition import ExperimentDefinition, Variant
from clickscape.experiment.prior import ScorePrior

KEY = bytes(range(32))
DAY = datetime(2027, 3, 1, tzinfo=UTC)
PLAIN = BanditRules(floor=0.0, holdback=0.0, exploration=1.0)


def state(
    rules: BanditRules = PLAIN, *, prior: ScorePrior | None = None, scores: tuple[float, ...] = (0.0, 0.0, 0.0)
) -> BanditState:
    names = tuple(f"ad-{place}" for place in range(len(scores)))
    sds = (0.0,) * len(scores)
    return BanditState("autumn", "mug", names, ("feed", "story"), scores, sds, prior or ScorePrior(), rules)


def batch(
    name: str, *, at: datetime = DAY, clicks: tuple[float, ...] = (10, 20, 30), shown: float = 1_000, arrived: float = 1
) -> Batch:
    cells = tuple(Cell(f"ad-{place}", "feed", shown, hits) for place, hits in enumerate(clicks))
    return Batch(name, at, cells, arrived)


def choose(
    shares: bandit.TrafficShares, user: object, decision: object = "d1", placement: str = "feed"
) -> bandit.Choice:
    return bandit.choose(shares, placement=placement, user_key=str(user), decision_id=str(decision), key=KEY)


def test_two_creatives_before_any_click_go_by_their_scores() -> None:
    """Trust 1, weight 1, scores ± .1: the gap is N(.2, 2 (.25² + .1²)), so P(first) = Φ(.2 / √.145)."""
    begin = state(prior=ScorePrior(weight=1.0, trust=1.0), scores=(0.1, -0.1))
    assert bandit.traffic_shares(begin).sampled["feed"][0] == pytest.approx(ndtr(0.2 / np.sqrt(0.145)), abs=1e-4)


def test_half_trust_is_half_of_both_beliefs_before_any_click() -> None:
    begin = state(prior=ScorePrior(weight=1.0, trust=0.5), scores=(0.1, -0.1))
    expected = 0.5 * ndtr(0.2 / np.sqrt(0.145)) + 0.5 * 0.5
    assert bandit.traffic_shares(begin).sampled["feed"][0] == pytest.approx(expected, abs=1e-4)


def test_less_exploration_narrows_what_clicks_say_and_not_the_scores() -> None:
    """Before any click the draws are the prior's; with very many, half as wide: P(second) of a gap of one sd is Φ(2).

    100,000 clicks each, log CTRs .0045 apart: the sd of their gap is √(2 / 100,000) = .0045.
    """
    narrow = replace(PLAIN, exploration=0.5)
    prior = ScorePrior(weight=1.0, trust=1.0)
    begin = state(narrow, prior=prior, scores=(0.1, -0.1))
    assert bandit.traffic_shares(begin).sampled["feed"][0] == pytest.approx(ndtr(0.2 / np.sqrt(0.145)), abs=1e-4)
    many = batch("a", clicks=(100_000, 100_000 * np.exp(np.sqrt(2e-5))), shown=1e6)
    for rules, sds in ((narrow, 2), (PLAIN, 1)):
        seen = bandit.update(state(rules, scores=(0.0, 0.0)), many)
        assert bandit.traffic_shares(seen).sampled["feed"][1] == pytest.approx(ndtr(sds), abs=0.002)


def test_clicks_against_the_scores_take_their_say_away() -> None:
    """Scores that call the worst the best: the belief in them falls, and with many clicks the best wins anyway."""
    begin = state(prior=ScorePrior(weight=1.0, spread=0.1, trust=0.5), scores=(0.4, 0.0, -0.4))
    seen = bandit.update(begin, batch("a", clicks=(60, 100, 160), shown=10_000))
    assert bandit.draws(begin).credence == pytest.approx([0.5, 0.5])
    assert bandit.draws(seen).credence[0] < 0.01
    assert bandit.traffic_shares(seen).sampled["feed"][2] > 0.95


def test_trust_is_learned_over_products() -> None:
    wrong = bandit.update(state(prior=ScorePrior(weight=1.0, spread=0.1), scores=(0.4, 0.0, -0.4)),
                          batch("a", clicks=(60, 100, 160), shown=10_000))  # fmt: skip
    right = replace(wrong, scores=(-0.4, 0.0, 0.4))
    assert bandit.with_learned_trust([wrong] * 9)[0].prior.trust < 0.2
    assert bandit.with_learned_trust([right] * 9)[0].prior.trust > 0.7
    assert bandit.with_learned_trust([]) == []


def test_a_placement_without_clicks_learns_from_the_other() -> None:
    shares = bandit.traffic_shares(bandit.update(state(), batch("a", clicks=(50, 100, 200), shown=10_000)))
    assert shares.sampled["story"][2] > 0.6
    assert shares.sampled["feed"][2] > shares.sampled["story"][2]


def test_holdback_and_floor_mix_as_written() -> None:
    """Of the traffic 20 % sees the control; the rest is the draw, with at least 10 % for everybody."""
    rules = BanditRules(floor=0.1, holdback=0.2, control="ad-1", exploration=1.0)
    shares = bandit.traffic_shares(bandit.update(state(rules), batch("a", clicks=(10, 20, 300))))
    assert min(shares.bandit["feed"]) == pytest.approx(0.1)
    expected = 0.8 * np.array(shares.bandit["feed"]) + 0.2 * np.array([0, 1, 0])
    assert shares.propensities["feed"] == pytest.approx(expected)
    even = bandit.traffic_shares(state(replace(rules, control=None)))
    assert even.held_back == pytest.approx((1 / 3,) * 3)


def test_the_holdback_gets_its_share_and_is_that_of_experiments() -> None:
    """Users are held back as `assign` holds them back: the very same ones, 20,000 · .05 within 4 sigma."""
    shares = bandit.traffic_shares(state(BanditRules(holdback=0.05, control="ad-0")))
    users = [f"user-{number}" for number in range(20_000)]
    held = [user for user in users if choose(shares, user).is_held_back]
    arms = tuple(Variant(name, 0.5, {"mug": name}) for name in ("old", "new"))
    other = ExperimentDefinition("spring", arms, "old", DAY, key_id(KEY), "salt", holdback=0.05)
    variants = assign_many(users, definition=other, key=KEY).to_pylist()
    assert held == [user for user, variant in zip(users, variants, strict=True) if variant == "holdback"]
    assert abs(len(held) - 1_000) < 4 * np.sqrt(20_000 * 0.05 * 0.95)
    assert {choose(shares, user).creative_id for user in held} == {"ad-0"}


def test_creatives_are_chosen_as_often_as_their_propensities_say() -> None:
    rules = BanditRules(floor=0.05, holdback=0.1)
    shares = bandit.traffic_shares(bandit.update(state(rules), batch("a", clicks=(15, 20, 25))))
    chosen = [choose(shares, user) for user in range(20_000)]
    expected = np.array(shares.propensities["feed"])
    counts = np.array([sum(one.creative_id == name for one in chosen) for name in shares.creatives])
    assert np.all(np.abs(counts - 20_000 * expected) < 4 * np.sqrt(20_000 * expected * (1 - expected)))
    assert all(one.propensity == expected[one.candidates.index(one.creative_id)] for one in chosen[:100])
    assert sum(chosen[0].propensities) == pytest.approx(1, abs=1e-12)


def test_a_choice_repeats_itself_and_depends_on_user_decision_and_policy() -> None:
    shares = bandit.traffic_shares(state())
    again = bandit.traffic_shares(state())
    other = bandit.traffic_shares(replace(state(), policy_id="winter"))
    users = range(300)
    first = [choose(shares, user) for user in users]
    assert first == [choose(again, user) for user in users]
    for changed in ([choose(shares, user, "d2") for user in users], [choose(other, user) for user in users],
                    [choose(shares, user, placement="story") for user in users]):  # fmt: skip
        same = sum(a.creative_id == b.creative_id for a, b in zip(first, changed, strict=True))
        assert abs(same - 100) < 4 * np.sqrt(300 * 2 / 9)


def test_a_choice_gives_the_columns_of_an_event() -> None:
    found = choose(bandit.traffic_shares(state(BanditRules())), "u1").columns()
    assert found["allocation"] == "randomized with propensities"
    assert found["policy_id"] == "autumn"
    assert found["decision_id"] == "d1"
    assert found["creative_id"] in found["candidates"] == ["ad-0", "ad-1", "ad-2"]
    assert sum(found["propensities"]) == pytest.approx(1, abs=1e-12)
    json.dumps(found)


@pytest.mark.slow
def test_logged_propensities_say_without_bias_what_uniform_traffic_would_earn() -> None:
    """IPS over batches of an adaptive bandit: Σ click · (1/3) / propensity is a martingale around the uniform CTR."""
    rules = BanditRules(floor=0.05, holdback=0.1, control="ad-0", attribution_hours=1)
    ctr, rng = {"ad-0": 0.2, "ad-1": 0.3, "ad-2": 0.4}, np.random.default_rng(11)
    now, terms = state(rules, prior=ScorePrior(weight=1.0, log_ctr=-1.2), scores=(0.3, 0.0, -0.3)), []
    for number in range(40):
        shares, cells = bandit.traffic_shares(now), {name: [0, 0] for name in ctr}
        for decision in range(250):
            one = choose(shares, f"{number}-{decision}", decision)
            click = rng.random() < ctr[one.creative_id]
            terms.append(click / 3 / one.propensity)
            cells[one.creative_id][0] += 1
            cells[one.creative_id][1] += click
        at = DAY + timedelta(hours=2 * number)
        now = bandit.update(
            now, Batch(f"b{number}", at, tuple(Cell(name, "feed", *pair) for name, pair in cells.items()))
        )
    shares = bandit.traffic_shares(now)
    assert shares.bandit["feed"][2] > 0.7  # it did learn
    assert abs(np.mean(terms) - 0.3) < 4 * np.std(terms) / np.sqrt(len(terms))


def test_updates_add_up_to_one_big_update() -> None:
    one = bandit.update(state(), batch("a"), batch("b", clicks=(1, 2, 3)))
    other = bandit.update(state(), batch("ab", clicks=(11, 22, 33), shown=2_000))
    assert one.counts()[0] == pytest.approx(other.counts()[0])
    assert one.counts()[1] == pytest.approx(other.counts()[1])
    assert bandit.traffic_shares(one) == bandit.traffic_shares(other)


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=5))
def test_batches_count_once_in_any_order_and_however_often_they_come(order: list[int], again: list[int]) -> None:
    """Six half-days within the attribution window of three days: nothing closes before it is there."""
    rules = replace(PLAIN, half_life_days=2.0, attribution_hours=72)
    batches = [batch(f"b{n}", at=DAY + timedelta(hours=12 * n), clicks=(n, 2 * n, 3 * n)) for n in range(6)]
    straight = bandit.update(state(rules), *batches)
    mixed = state(rules)
    for number in [*order, *again]:
        mixed = bandit.update(mixed, batches[number])
    assert mixed.counts()[0] == pytest.approx(straight.counts()[0])
    assert mixed.open == straight.open


def test_closed_batches_are_kept_as_sums_and_ignored_when_they_come_again() -> None:
    """Half-life 1 day, window 1 day, a batch a day: clicks 8 + 8/2 + 8/4 + 8/8 = 15, two batches still open."""
    rules = replace(PLAIN, half_life_days=1.0)
    days = [batch(f"day {n}", at=DAY + timedelta(days=n), clicks=(8, 8, 8), shown=80) for n in range(4)]
    found = state(rules)
    for day in days:
        found = bandit.update(found, day)
    assert [one.batch_id for one in found.open] == ["day 2", "day 3"]
    assert found.closed_ids == ("day 0", "day 1")
    assert found.closed_at == DAY + timedelta(days=1)
    assert found.counts()[0][:, 0] == pytest.approx([15, 15, 15])
    assert found.counts()[1][:, 0] == pytest.approx([150, 150, 150])
    assert bandit.update(found, days[0]) == found


def test_late_clicks_come_with_their_batch_again() -> None:
    """What it said before is replaced: 3 late clicks on impressions of yesterday count there, not today."""
    early = bandit.update(state(), batch("day 0", clicks=(5, 5, 5)), batch("day 1", at=DAY + timedelta(hours=20)))
    late = bandit.update(early, batch("day 0", clicks=(8, 5, 5)))
    assert (late.counts()[0] - early.counts()[0])[:, 0] == pytest.approx([3, 0, 0])
    assert late.counts()[1] == pytest.approx(early.counts()[1])


def test_impressions_count_by_the_share_of_their_clicks_that_came() -> None:
    """Half of the clicks in, half of the impressions counted: the CTR is the same as when all are there."""
    young = bandit.update(state(), batch("a", clicks=(5, 10, 15), arrived=0.5))
    assert young.counts()[1][:, 0] == pytest.approx([500] * 3)


def test_a_state_survives_its_file(tmp_path: Path) -> None:
    prior = ScorePrior(weight=0.7, trust=0.4)
    rules = BanditRules(half_life_days=7, control="ad-0")
    before = bandit.update(state(rules, prior=prior), *(batch(f"b{n}", at=DAY + timedelta(days=n)) for n in range(4)))
    bandit.write(tmp_path / "state.json", before)
    after = bandit.read(tmp_path / "state.json")
    assert after == before
    assert bandit.traffic_shares(after) == bandit.traffic_shares(before)
    assert (tmp_path / "state.json").stat().st_size < 10_000


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda d: d.pop("policy_id"), "policy_id"),
        (lambda d: d["closed"].append(["ad-0"]), "closed.0"),
        (lambda d: d.update(scores=["1", 2, 3]), "scores.0"),
        (lambda d: d.update(scores=[1.0]), "has 1 scores"),
    ],
)
def test_a_damaged_state_is_one_line(tmp_path: Path, damage: object, problem: str) -> None:
    path = tmp_path / "state.json"
    bandit.write(path, state())
    data = json.loads(path.read_text())
    damage(data)  # type: ignore[operator]
    path.write_text(json.dumps(data))
    with pytest.raises(ExperimentError, match=problem) as error:
        bandit.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Cell("ad-0", "feed", 0, 3), "3 clicks without an impression"),
        (lambda: Cell("ad-0", "feed", -1, 0), "expected numbers of 0 or more"),
        (lambda: Batch("a", datetime(2027, 1, 1), ()), "a time with its zone"),
        (lambda: batch("a", arrived=0), "share of clicks that arrived is 0"),
        (lambda: BanditRules(holdback=1.0), "shares of traffic"),
        (lambda: BanditRules(half_life_days=0), "half-life"),
        (lambda: BanditRules(exploration=0), "exploration is a number above 0"),
        (lambda: state(BanditRules(control="ad-9")), "no creative 'ad-9'"),
        (lambda: state(BanditRules(floor=0.4)), "cannot give each of 3 creatives"),
        (lambda: state(scores=(0.0, float("nan"), 0.0)), "score or sd that is no number"),
        (lambda: replace(state(), placements=("feed", "feed")), "names a placement twice"),
        (lambda: choose(bandit.traffic_shares(state()), "u", placement="tv"), "no placement 'tv', only feed, story"),
        (lambda: choose(bandit.traffic_shares(state()), ""), "needs a user_key and a decision_id"),
        (lambda: bandit.choose(bandit.traffic_shares(state(BanditRules())), placement="feed", user_key="u",
                               decision_id="d", key=b"k"), "has 1 bytes, expected 32"),
        (lambda: bandit.update(bandit.update(state(), batch("a"), batch("b", at=DAY + timedelta(days=9))),
                               batch("new", at=DAY - timedelta(days=1))), "up to which product 'mug' is closed"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(make: object, problem: str) -> None:
    with pytest.raises(ExperimentError, match=problem) as error:
        make()  # type: ignore[operator]
    assert "\n" not in str(error.value)
