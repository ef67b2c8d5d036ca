"""What is said at the end of an optimization: better or worse, in which figures, and a warning for each that fell."""

from __future__ import annotations

from dataclasses import replace

from clickscape.preference.diversity import Diversity
from clickscape.preference.monitor import Comparison, MonitorReport
from clickscape.preference.rounds import RoundReport
from clickscape.stages.optimize import summary
from clickscape.types import Estimate

FIRST = RoundReport(
    round=1, products=8, candidates=100, pairs=8, parse_rate=0.9, distinct_scenes=50, reward=0.1, margin=0.5, kl=0.0,
    kl_error=0.0, steps=4,
)  # fmt: skip


def monitored(reward: float, *, left: float = 1.0, kept: int = 2) -> MonitorReport:
    since = Estimate(0.0, -0.1, 0.1)
    beyond = Comparison(Estimate(reward, reward - 0.1, reward + 0.1), Estimate(0.5, 0.4, 0.6), since, since)
    return MonitorReport(beyond, None, Diversity(4, 0.5, {}), {"distinct scenes": left}, kept)


def warnings(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("warning: ")]


def test_figures_of_the_first_and_the_last_round_stand_side_by_side() -> None:
    lines = summary([FIRST, replace(FIRST, round=2, parse_rate=0.95, distinct_scenes=60, reward=0.4)])
    assert (
        "its own products, sampled before round 1 → before round 2: parsed 90% → 95%, "
        "different scenes 50% → 60%, mean reward +0.10 → +0.40"
    ) in lines
    assert not warnings(lines)


def test_each_figure_that_fell_is_warned_of_in_one_sentence() -> None:
    lines = summary([FIRST, replace(FIRST, round=2, parse_rate=0.7, distinct_scenes=20, reward=0.4)])
    (warning,) = warnings(lines)
    assert "worse than at the start: parsed 90% → 70%, different scenes 50% → 20%." in warning
    assert "mean reward" not in warning
    assert lines[-1] == warning


def test_without_a_monitor_nothing_is_claimed_of_held_out_products() -> None:
    lines = summary([FIRST])
    assert any(line.startswith("held-out products: not measured") and "--judge" in line for line in lines)
    assert not any(word in " ".join(lines) for word in ("better", "worse"))


def test_held_out_products_say_better_worse_or_neither_by_the_interval() -> None:
    for reward, verdict in ((0.5, "better"), (-0.5, "worse"), (0.05, "no clear change")):
        last = replace(FIRST, round=2, monitor=monitored(reward))
        lines = summary([replace(FIRST, monitor=monitored(0.0, kept=1)), last])
        (line,) = [one for one in lines if one.startswith("held-out products")]
        assert f"start → round 2: {verdict} by the reward model ({reward:+.2f}" in line
        assert bool(warnings(lines)) == (verdict == "worse")


def test_less_variety_on_held_out_products_is_warned_of() -> None:
    lines = summary([replace(FIRST, monitor=monitored(0.5, left=0.6, kept=1))])
    (warning,) = warnings(lines)
    assert "variety on held-out products 100% → 60%" in warning


def test_a_run_that_kept_no_round_says_that_the_model_is_as_it_was() -> None:
    lines = summary([replace(FIRST, monitor=monitored(0.5, left=0.1, kept=0), stopped="diversity")])
    assert "held-out products: no round was kept; the model is the one before" in lines
    assert not warnings(lines)
