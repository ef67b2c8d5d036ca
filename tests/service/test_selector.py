"""Every user is chosen for by exact propensities, keeps a creative while it may, and is served without the store."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from tests.service.conftest import KEY, NOW, creative, fill, rows

from clickscape.service import schema
from clickscape.service.selector import NothingToServeError, ProductTraffic, Selector, TooManyPlacementsError, choose
from clickscape.service.store import open_store

NAMES = ("a", "b", "c")


def selector(engine: Engine, shares: object = (0.5, 0.3, 0.2), *, refresh: float = 3_600) -> Selector:
    def propensities(traffic: ProductTraffic, placement: str, day: int) -> tuple[float, ...]:
        return tuple(shares)[: len(traffic.candidates)]  # type: ignore[arg-type]

    return Selector(engine, propensities=propensities, refresh=refresh, now=lambda: NOW, key=KEY)


def test_over_users_every_candidate_is_chosen_with_its_propensity() -> None:
    shares, users = (0.5, 0.3, 0.15, 0.05), 20_000
    chosen = Counter(choose(("a", "b", "c", "d"), shares, user=f"{user:016x}", key=KEY) for user in range(users))
    for place, share in enumerate(shares):
        assert abs(chosen[place] - users * share) < 4.5 * (users * share * (1 - share)) ** 0.5


def test_a_candidate_without_propensity_is_never_chosen() -> None:
    assert {choose(NAMES, (0.0, 1.0, 0.0), user=str(user), key=KEY) for user in range(200)} == {1}


def test_only_those_users_move_who_must_when_propensities_move() -> None:
    before, after, users = (0.5, 0.3, 0.2), (0.4, 0.3, 0.3), 5_000
    moved = Counter(
        (old, new)
        for user in map(str, range(users))
        if (old := choose(NAMES, before, user=user, key=KEY)) != (new := choose(NAMES, after, user=user, key=KEY))
    )
    assert not [pair for pair in moved if pair[1] == 0]  # nobody moves to what is shown less
    assert sum(moved.values()) < 0.16 * users  # 10 % of the probability moved; choosing anew would move 63 %


def test_the_choice_depends_on_the_key() -> None:
    users = list(map(str, range(300)))
    first, second = (
        [choose(NAMES, (1 / 3,) * 3, user=user, key=key) for user in users] for key in (KEY, KEY[:-1] + b"x")
    )
    assert first != second


def test_a_policy_is_stored_before_anybody_is_served_by_it(engine: Engine) -> None:
    fill(engine, [creative(name) for name in NAMES])
    one = selector(engine)
    served = one.load("mug", "feed").result()
    learned, even, stale = served.learned, served.even, served.stale
    stored = {row.policy_id: row for row in rows(engine, schema.policies)}
    assert stored[learned.policy_id].propensities == [0.5, 0.3, 0.2]
    assert stored[even.policy_id].propensities == [pytest.approx(1 / 3)] * 3
    assert not stale
    other = selector(engine, (1.0,))  # another instance, which never chose by it
    assert other.policy(learned.policy_id) == learned
    assert other.policy("0" * 16) is None
    one.close()
    other.close()


def test_only_approved_and_live_creatives_are_candidates(engine: Engine) -> None:
    statuses = ("draft", "approved", "rejected", "live", "retired")
    fill(engine, [creative(name, status=name) for name in statuses])
    one = selector(engine)
    assert one.load("mug", "feed").result().learned.candidates == ("approved", "live")
    with pytest.raises(NothingToServeError):
        one.load("teapot", "feed").result()
    one.close()


def test_made_up_placements_do_not_fill_the_memory(engine: Engine) -> None:
    fill(engine, [creative("a")])
    one = selector(engine)
    for number in range(50):
        one.load("mug", f"p{number}").result()
    with pytest.raises(TooManyPlacementsError):
        one.load("mug", "p50").result()
    one.close()


def _until(done: object) -> None:
    deadline = time.monotonic() + 30
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_new_creatives_are_served_after_a_refresh_and_nobody_waits_for_it(engine: Engine) -> None:
    fill(engine, [creative("a"), creative("b")])
    one = selector(engine, refresh=0.01)
    one.load("mug", "feed").result()
    fill(engine, [creative("c")])

    def has_come() -> bool:
        found = one.known("mug", "feed")
        assert found is not None
        return found.learned.candidates == NAMES

    _until(has_come)
    one.close()


def test_the_last_policy_goes_on_choosing_while_the_store_is_gone_and_says_so(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    fill(engine, [creative(name) for name in NAMES])
    one = selector(engine, refresh=0.01)
    before = one.load("mug", "feed").result()
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE creatives RENAME TO gone"))
    _until(lambda: one.known("mug", "feed").stale)  # type: ignore[union-attr]
    found = one.known("mug", "feed")
    assert found is not None
    assert (found.learned, found.even) == (before.learned, before.even)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE gone RENAME TO creatives"))
    _until(lambda: not one.known("mug", "feed").stale)  # type: ignore[union-attr]
    one.close()
    engine.dispose()


def test_a_creative_whose_numbers_cannot_be_used_stops_nobody(engine: Engine) -> None:
    fill(engine, [creative(name) for name in NAMES])

    def propensities(traffic: ProductTraffic, placement: str, day: int) -> tuple[float, ...]:
        if len(traffic.candidates) > 3:
            raise ValueError("a score that is not a number")
        return (0.5, 0.3, 0.2)

    one = Selector(engine, propensities=propensities, refresh=0.01, now=lambda: NOW, key=KEY)
    before = one.load("mug", "feed").result()
    fill(engine, [creative("d")])
    for _ in range(20):
        found = one.known("mug", "feed")
        assert found is not None
        assert (found.learned, found.even) == (before.learned, before.even)
        time.sleep(0.005)
    one.close()
