from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.experiment.conftest import KEY

from clickscape.clicks import locations, logs
from clickscape.clicks.logs import CleanedLog
from clickscape.config import ClicksConfig
from clickscape.errors import ClickscapeError, ExperimentError, LogError
from clickscape.experiment.assign import assign
from clickscape.experiment.definition import ExperimentDefinition, Variant
from clickscape.experiment.exposures import product_moments, read_exposures, unit_days

START = datetime(2026, 3, 2, tzinfo=UTC)
CONFIG = ClicksConfig(bot_false_alarms=0)
Make = Callable[..., ExperimentDefinition]


def event(
    number: int,
    user: str | None,
    *,
    variant: str = "new",
    kind: str = "impression",
    hours: float = 1,
    product: str = "mug",
    **other: Any,
) -> dict[str, Any]:
    """One event of decision `number`, so many hours after the start."""
    return {
        "event_id": f"{kind}{number}", "kind": kind, "decision_id": f"d{number}", "creative_id": f"{product}-{variant}",
        "product_id": product, "position": 1, "user_key": user, "variant": variant,
        "ts": START + timedelta(hours=hours), **other,
    }  # fmt: skip


def cleaned(folder: Path, rows: Sequence[Mapping[str, Any]], *without: str) -> CleanedLog:
    path = folder / "clicks" / "events" / "part.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]).drop_columns(list(without)), path)
    location = locations.locate(folder / "clicks", CONFIG)
    return logs.read_cleaned(location, config=CONFIG, connection=logs.connect(), now=START + timedelta(days=90))


TRAFFIC = [
    event(0, "ann", hours=-30), event(0, "ann", hours=-29.9, kind="click"),  # before: one of one clicked
    event(1, "ann", hours=2), event(1, "ann", hours=2.1, kind="click"), event(1, "ann", hours=3, kind="conversion"),
    event(2, "ann", hours=26), event(3, "ann", hours=27),
    event(4, "bob", hours=5, variant="control"),
    event(5, "cid", hours=30, variant="control", product="shoe"),
    event(5, "cid", hours=30.1, variant="control", product="shoe", kind="click"),
    event(6, None, hours=5), event(7, "dan", hours=5, creative_id="mug-old", variant=None),
]  # fmt: skip


@pytest.mark.parametrize("without", [(), ("variant",)], ids=["variant logged", "variant by creative"])
def test_events_are_counted_by_user_variant_and_day(tmp_path: Path, experiment: Make, without: tuple[str, ...]) -> None:
    found = read_exposures(cleaned(tmp_path, TRAFFIC, *without), definition=experiment())
    control, new = found.moments[0], found.moments[1]
    assert control.units.tolist() == [1, 1]
    assert new.units.tolist() == [1, 0]
    assert new.sums.tolist() == [[1, 1, 1, 1, 1], [2, 0, 0, 0, 0]]
    assert control.sums[:, :3].tolist() == [[1, 0, 0], [1, 1, 0]]
    assert new.total.products[0].tolist() == [9, 3, 3, 3, 3]
    out = found.left_out
    assert (out.before, out.without_user, out.other, out.after) == (2, 1, 1, 0)
    assert len(out.lines()) == 3


def test_the_table_of_units_and_days_is_one_row_each(tmp_path: Path, experiment: Make) -> None:
    rows = unit_days(cleaned(tmp_path, TRAFFIC), definition=experiment()).to_pyarrow()
    ann = [row for row in rows.to_pylist() if row["seen"] == 2 and row["day"] >= 0 and row["unit"] is not None]
    assert sorted((row["day"], row["impressions"], row["clicks"], row["conversions"]) for row in ann) == [
        (0, 1, 1, 1), (1, 2, 0, 0),
    ]  # fmt: skip


def test_what_comes_after_the_end_is_left_out(tmp_path: Path, experiment: Make) -> None:
    definition = experiment(end=START + timedelta(hours=26.5))
    found = read_exposures(cleaned(tmp_path, TRAFFIC), definition=definition)
    assert found.left_out.after == 3
    assert found.moments.total.sums[:, 0].tolist() == [1, 2]


def test_products_add_up_to_the_whole(tmp_path: Path, experiment: Make) -> None:
    log, definition = cleaned(tmp_path, TRAFFIC), experiment()
    found = read_exposures(log, definition=definition)
    by_product = product_moments(log, found, definition=definition)
    assert by_product.sums[0, :, 0].tolist() == [1, 1]  # control: a mug and a shoe
    assert np.array_equal(by_product.total.sums[:, :3], found.moments.total.sums[:, :3])


def test_the_key_says_the_variant_where_creatives_do_not(tmp_path: Path, experiment: Make) -> None:
    """Both variants show the same mug; only the shoes differ."""
    definition = experiment()
    names = [f"u{number}" for number in range(20)]
    of_user = {name: assign(name, definition=definition, key=KEY) for name in names}
    shared = tuple(Variant(one.name, one.share, {**one.creatives, "mug": "mug"}) for one in definition.variants)
    rows = [event(number, name, creative_id="mug") for number, name in enumerate(names)]
    log = cleaned(tmp_path, rows, "variant")
    definition = experiment(variants=shared)
    found = read_exposures(log, definition=definition, key=KEY)
    assert found.moments.total.units.tolist() == [list(of_user.values()).count(name) for name in ("control", "new")]
    with pytest.raises(ExperimentError, match="Log the variant, or give the key"):
        read_exposures(log, definition=definition)


def test_users_outside_of_the_experiment_are_left_out(tmp_path: Path, experiment: Make) -> None:
    definition = experiment(holdback=0.5)
    names = [f"u{number}" for number in range(40)]
    of_user = {name: assign(name, definition=definition, key=KEY) for name in names}
    shown = {name: "control" if variant == "holdback" else variant for name, variant in of_user.items()}
    rows = [event(number, name, variant=shown[name]) for number, name in enumerate(names)]
    found = read_exposures(cleaned(tmp_path, rows, "variant"), definition=definition, key=KEY)
    held = sum(variant == "holdback" for variant in of_user.values())
    assert found.moments.units.sum() == len(names) - held
    assert found.left_out.other == held


@pytest.mark.parametrize(
    ("rows", "without", "error", "said"),
    [
        ([event(1, "ann"), event(2, "ann", variant="control")], (), ExperimentError, "'ann' is in two variants"),
        ([event(1, "ann"), event(2, "ann", variant="control")], ("variant",), ExperimentError, "Show a user one"),
        ([event(1, "ann")], (), ExperimentError, "nobody saw variant 'control'.*Serve its creatives"),
        ([event(1, "ann", hours=-5)], (), ExperimentError, "nobody saw variant 'control'"),
        ([event(1, None, user_key="")], (), ExperimentError, "no event has a user_key"),
        ([event(1, "ann", creative_id="mug-new", variant="control")], (), ExperimentError, "'mug-new', which it does"),
        ([event(1, "ann", creative_id="x", variant="third")], (), ExperimentError, "variant 'third' is none of"),
        ([event(1, "ann")], ("user_key",), ExperimentError, "no column 'user_key'.*import counts"),
        ([event(1, "ann")], ("ts",), ExperimentError, "no column 'ts'"),
        ([event(1, "ann"), event(9, "ann", kind="click")], (), LogError, "clicks have no impression"),
        ([event(1, "ann"), event(1, "ann", kind="click", hours=-7)], (), LogError, "before their impression"),
    ],
)  # fmt: skip
def test_traffic_that_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path,
    experiment: Make,
    rows: list[dict[str, Any]],
    without: tuple[str, ...],
    error: type[ClickscapeError],
    said: str,
) -> None:
    with pytest.raises(error, match=said) as refused:
        read_exposures(cleaned(tmp_path, rows, *without), definition=experiment())
    assert "\n" not in str(refused.value)


def test_a_user_whom_the_key_assigns_elsewhere_is_in_two_arms(tmp_path: Path, experiment: Make) -> None:
    """Creatives of one product in both variants, so that the key has to say: and it says another than was shown."""
    definition = experiment()
    user = next(f"u{n}" for n in range(99) if assign(f"u{n}", definition=definition, key=KEY) == "control")
    rows = [event(1, user), event(2, "other", variant="control")]
    with pytest.raises(ExperimentError, match=f"'{user}' is assigned to 'control' and saw 'mug-new'"):
        read_exposures(cleaned(tmp_path, rows, "variant"), definition=definition, key=KEY)


def test_counts_are_no_events(tmp_path: Path) -> None:
    path = tmp_path / "clicks" / "counts.csv"
    path.parent.mkdir()
    path.write_text("creative_id,product_id,impressions,clicks\na,p,5,1\n")
    with pytest.raises(LogError, match="holds counts, expected events"):
        logs.read_cleaned(locations.locate(path.parent, CONFIG), config=CONFIG, connection=logs.connect(), now=START)


def test_a_log_that_does_not_say_that_chance_chose_gives_an_association(tmp_path: Path, experiment: Make) -> None:
    said = [{**row, "allocation": "randomized with shares"} for row in TRAFFIC]
    assert (
        read_exposures(cleaned(tmp_path / "all", said), definition=experiment()).allocation == experiment().allocation
    )
    outside = [{**row, "allocation": None} if row["user_key"] == "dan" else row for row in said]
    found = read_exposures(cleaned(tmp_path / "outside", outside), definition=experiment())
    assert found.allocation == "randomized with shares"
    inside = [{**row, "allocation": None} if row["user_key"] == "bob" else row for row in said]
    assert read_exposures(cleaned(tmp_path / "inside", inside), definition=experiment()).allocation == "unknown"


def test_a_late_conversion_opens_no_day(tmp_path: Path, experiment: Make) -> None:
    rows = [*TRAFFIC, event(2, "ann", kind="conversion", hours=24 * 9)]
    found = read_exposures(cleaned(tmp_path, rows), definition=experiment())
    assert found.moments.units.shape == (2, 2)
    assert found.moments.total.sums[1, 2] == 2
