"""The lift of the bandit's users over the held-back ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sqlalchemy.engine import Engine
from tests.service.conftest import NOW

from clickscape.service import lift
from clickscape.service.event_writer import Event, write_events
from clickscape.service.lift import Moments


def moments(n: np.ndarray, c: np.ndarray) -> Moments:
    return Moments(len(n), *(int(one.sum()) for one in (n, c, n * n, c * c, n * c)))


def test_moments_are_the_users_sums(engine: Engine) -> None:
    def event(name: str, kind: str, user: str | None, variant: str, decision: int) -> Event:
        return Event(
            name, kind, "attributed", f"{decision:016x}", "a", "mug", "feed", user, "p", variant, NOW, NOW, NOW
        )  # type: ignore[arg-type]

    events = [
        event("1", "impression", "ann", "bandit", 1), event("2", "click", "ann", "bandit", 1),
        event("3", "click", "ann", "bandit", 1), event("4", "impression", "ann", "bandit", 2),
        event("5", "impression", "bob", "bandit", 3), event("6", "click", "cat", "holdback", 4),
        event("7", "click", None, "bandit", 5), event("8", "conversion", "bob", "bandit", 6),
    ]  # fmt: skip
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        write_events(connection, events)
        read = lift.read(connection, "mug", holdback=0.5)
    assert read.bandit == Moments(users=2, n=3, c=1, nn=5, cc=1, nc=2)  # ann: 2 impressions, 1 click; bob: 1, 0
    assert read.holdback == Moments(users=1, n=1, c=1, nn=1, cc=1, nc=1)  # a click tells of its impression
    assert read.value is None
    assert "not enough evidence" in read.reason


def test_the_variance_is_the_delta_methods() -> None:
    n, c = np.array([2, 1, 4, 3]), np.array([1, 0, 1, 1])
    ratio = 3 / 10
    by_hand = 4 / 3 * float(((c - ratio * n) ** 2).sum()) / 9
    assert moments(n, c).log_variance == pytest.approx(by_hand)


def test_a_split_that_chance_does_not_make_is_called_uneven() -> None:
    many, few = Moments(9_500, 10_000, 500, 10_000, 500, 500), Moments(500, 600, 30, 800, 30, 30)
    assert not lift.compare(many, few, holdback=0.05).as_json()["is_uneven"]
    assert lift.compare(many, few, holdback=0.10).as_json()["is_uneven"]
    assert lift.compare(many, few, holdback=0.0).uneven is None


def test_the_interval_holds_at_all_looks_at_once() -> None:
    """200 shops without any lift, looked at 12 times each: at most 5 % may ever exclude zero, plus four sigma."""
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(200):
        n = 1 + rng.poisson(1.0, (2, 3_000))
        c = rng.binomial(n, np.minimum(rng.gamma(2.0, 0.05, n.shape), 1.0))
        looks = (lift.compare(moments(n[0, :k], c[0, :k]), moments(n[1, :k], c[1, :k]), holdback=0.0)
                 for k in np.geomspace(100, 3_000, 12).astype(int))  # fmt: skip
        missed += any(one.low is not None and (one.low > 0 or (one.high or 0) < 0) for one in looks)
    assert missed <= 200 * 0.05 + 4 * math.sqrt(200 * 0.05 * 0.95)


def test_a_true_lift_is_found() -> None:
    rng = np.random.default_rng(3)
    n = 1 + rng.poisson(1.0, (2, 20_000))
    c = rng.binomial(n, np.array([[0.13], [0.10]]))
    read = lift.compare(moments(n[0], c[0]), moments(n[1], c[1]), holdback=0.5)
    assert read.low is not None
    assert read.high is not None
    assert 0 < read.low < 0.3 < read.high < 0.5
