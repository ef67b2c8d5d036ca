"""What the summary of an optimization says of its rounds."""

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


def test_a_stop_names_its_reason_and_the_round_that_is_kept() -> None:
    lines = summary([FIRST, replace(FIRST, round=2, monitor=monitored(0.5, left=0.1, kept=1), stopped="diversity")])
    assert lines[-1] == "stopped in round 2: diversity; kept: the policy after round 1"
    assert "diversity left 10%" in lines[-2]
