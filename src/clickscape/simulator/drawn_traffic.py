"""The click log of a drawn world: its positions, days, drift and fatigue, and rows that no shopper caused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clickscape.simulator import traffic
from clickscape.simulator.course import Course
from clickscape.simulator.family import DrawnWorld
from clickscape.simulator.traffic import DAYS, START, Floats, Traffic
from clickscape.types import Creative

_EVENNESS = 4.0  # Dirichlet concentration of a creative's shares of the positions
_BOTS = 3  # users that all of a day's bot traffic comes from
_BOT_CTR = 0.4


def traffic_by_day(
    world: DrawnWorld,
    creatives: Sequence[Creative],
    log_ctr: Floats,
    *,
    rng: np.random.Generator,
    median_impressions: float,
    days: int = DAYS,
) -> list[Traffic]:
    """Return a draw of impressions and clicks per day; log_ctr: (creative, segment), of an average day.

    Impressions are log-normal with the world's own spread. A creative's CTR moves by weekday and by its own drift, and
    falls with what was shown of it before.
    """
    drawn, count = world.structure, len(creatives)
    totals = np.rint(median_impressions * np.exp(drawn.impressions_sd * rng.normal(size=count))).astype(np.int64)
    popularity = 1 / (1 + np.arange(len(drawn.examination)))
    at = rng.dirichlet(_EVENNESS * popularity / popularity.sum(), size=count)
    course, slopes = Course(days, drawn.rhythm), drawn.drift * rng.normal(size=count)
    shown = np.zeros(count)
    made = []
    for day in range(days):
        today = rng.binomial(totals, 1 / (days - day))
        totals = totals - today
        tired = drawn.fatigue * np.log1p(shown / 100)
        change = course.change(day, slopes) - tired
        made.append(
            traffic.show(
                creatives, np.minimum(log_ctr + change[:, None], 0), rng=rng, totals=today, at=at,
                examination=drawn.examination, shares=drawn.segments,
            )
        )  # fmt: skip
        shown += today
    return made


def events(world: DrawnWorld, days: Sequence[Traffic], *, rng: np.random.Generator) -> Iterator[pa.Table]:
    """Yield a table of events per day, in order of time, with the world's bots and impressions logged twice."""
    for number, day in enumerate(days):
        for table in day.events(rng=rng, start=START + timedelta(days=number), days=1):
            yield _with_noise(table, world, rng=rng)


def counts(days: Sequence[Traffic]) -> pa.Table:
    """Return the workspace's table `counts` of all days: one row per creative, position and audience that was shown."""
    whole = pa.concat_tables([day.counts() for day in days])
    keys = [name for name in whole.column_names if name not in ("impressions", "clicks")]
    summed = whole.group_by(keys).aggregate([("impressions", "sum"), ("clicks", "sum")])
    return summed.rename_columns([name.removesuffix("_sum") for name in summed.column_names]).sort_by(
        [(name, "ascending") for name in keys]
    )


def _with_noise(table: pa.Table, world: DrawnWorld, *, rng: np.random.Generator) -> pa.Table:
    """The day with rows of bots (impressions that few users cause, many of them clicked) and of repeated logging."""
    drawn = world.structure
    shown = np.flatnonzero(pc.equal(table["kind"].cast(pa.string()), "impression").to_numpy(zero_copy_only=False))
    parts = [table]
    twice = shown[rng.random(len(shown)) < drawn.duplicates]
    parts.append(_renamed(table.take(pa.array(twice)), event="again"))
    robots = table.take(pa.array(np.sort(rng.choice(shown, int(drawn.bots * len(shown))))))
    robots = _renamed(robots, event="bot", decision="bot")
    robots = robots.set_column(
        robots.schema.get_field_index("user_key"), "user_key",
        pa.array([f"{int(user):016x}" for user in rng.integers(_BOTS, size=len(robots))], pa.string()),
    )  # fmt: skip
    clicked = robots.take(pa.array(np.flatnonzero(rng.random(len(robots)) < _BOT_CTR)))
    kind = pa.array(["click"] * len(clicked)).cast(table.schema.field("kind").type)
    clicked = _renamed(clicked.set_column(clicked.schema.get_field_index("kind"), "kind", kind), event="bot-click")
    parts += [robots, clicked]
    return pa.concat_tables([part.unify_dictionaries() for part in parts]).sort_by("ts")


def _renamed(table: pa.Table, *, event: str, decision: str = "") -> pa.Table:
    """The rows with ids of their own."""
    for column, word in (("event_id", event), ("decision_id", decision)):
        if word:
            numbers = [f"-{word}-{place}" for place in range(len(table))]
            joined = pc.binary_join_element_wise(table[column].cast(pa.string()), pa.array(numbers, pa.string()), "")
            table = table.set_column(table.schema.get_field_index(column), column, joined)
    return table
