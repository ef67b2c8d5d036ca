"""Whatever bytes a feed, a log, a photo, the settings or a record hold: they are read, or refused by an error of ours.

`make fuzz` drives the same functions with coverage-guided bytes (atheris) for as long as one likes.
"""

from __future__ import annotations

import atexit
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory, mkdtemp

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.hostile import forms
from tests.hostile.damage import TOKENS

from clickscape.catalog import feeds
from clickscape.catalog.images import open_image
from clickscape.clicks import logs, sources
from clickscape.config import ClicksConfig
from clickscape.config import load as load_settings
from clickscape.errors import ClickscapeError
from clickscape.experiment import definition, plan
from clickscape.experiment.definition import ExperimentDefinition, PlannedSample, Variant
from clickscape.stages.experiment import variants_of_rows
from clickscape.stages.experiment_tables import rows
from clickscape.types import Creative
from clickscape.workspace import CREATIVES, Workspace

_quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with up to four places cut, replaced or filled with what files should not hold."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        cut = draw(st.sampled_from((0, 0, 1, 8, len(content))))
        content[at : at + cut] = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=12)))
    return bytes(content)


def _feed_seeds() -> list[tuple[str, bytes]]:
    seeds = []
    with TemporaryDirectory() as folder:
        for number in range(24):
            path, _ = forms.write_feed(Path(folder), Random(number))
            seeds.append((path.suffix, path.read_bytes()))
    return seeds


def _log_seeds() -> list[tuple[str, bytes]]:
    row = {"event_id": "1", "kind": "click", "decision_id": "d", "creative_id": "c", "product_id": "p", "position": 1}
    lines = [{**row, "event_id": str(n), "kind": kind} for n, kind in enumerate(("impression", "click", "impression"))]
    header = ",".join(row)
    table = "\n".join([header, *(",".join(map(str, line.values())) for line in lines)])
    counts = "creative_id,product_id,impressions,clicks\nc,p,10,2\n"
    return [
        (".jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode()),
        (".csv", table.encode()),
        (".csv", counts.encode()),
    ]


def _refused_or_read(suffix: str, content: bytes, read: Callable[[Path], object]) -> None:
    """Write the content to a file and read it: any error but ours fails the test."""
    with TemporaryDirectory() as folder:
        path = Path(folder, f"input{suffix}")
        path.write_bytes(content)
        _one_line(lambda: read(path))


def _one_line(read: Callable[[], object]) -> None:
    try:
        read()
    except ClickscapeError as error:
        message = str(error)
        if len(message.splitlines()) != 1 or len(message) > 2_000:
            raise AssertionError(f"not one short line: {message[:3_000]!r}") from None


_FEEDS, _LOGS = _feed_seeds(), _log_seeds()


@pytest.mark.slow
@given(st.sampled_from(_FEEDS).flatmap(lambda seed: st.tuples(st.just(seed[0]), damaged([seed[1]]))))
@settings(_quick, max_examples=150)
def test_a_damaged_feed_is_read_or_refused(feed: tuple[str, bytes]) -> None:
    suffix, content = feed
    _refused_or_read(suffix, content, lambda path: list(feeds.iterate(path, allow_remote=True, skip_bad_rows=True)))


@pytest.mark.slow
@given(st.sampled_from(_LOGS).flatmap(lambda seed: st.tuples(st.just(seed[0]), damaged([seed[1]]))))
@settings(_quick, max_examples=25)
def test_a_damaged_click_log_is_read_or_refused(log: tuple[str, bytes]) -> None:
    suffix, content = log
    known = CREATIVES.empty_table().select(["creative_id", "product_id"])

    def read(path: Path) -> object:
        return logs.read(sources.LogLocation(files=(path,)), creatives=known, config=ClicksConfig())

    _refused_or_read(suffix, content, read)


@given(damaged([b"[clicks]\nattribution_hours = 24\n[clicks.columns]\nts = 't'\n[brand]\npalette = ['#ff0000']\n"]))
@settings(_quick, max_examples=100)
def test_damaged_settings_are_read_or_refused(content: bytes) -> None:
    _refused_or_read(".toml", content, load_settings)


def _pictures() -> list[bytes]:
    found = []
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"):
        stream = BytesIO()
        Image.effect_noise((24, 16), 80).convert("RGB").save(stream, kind)
        found.append(stream.getvalue())
    return found


@given(damaged(_pictures()))
@settings(_quick, max_examples=100)
def test_a_damaged_photo_is_read_or_refused(content: bytes) -> None:
    _refused_or_read(".png", content, open_image)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(("stage", "status", "fingerprint", "inputs", "outputs", "result", "started")), _values)
@settings(_quick, max_examples=60)
def test_a_manifest_with_any_value_is_read_or_counts_for_nothing(key: str, value: object) -> None:
    path = next(_shop().runs_folder.glob("*/manifest.json"))
    whole = json.loads(path.read_bytes())
    path.write_text(json.dumps({**whole, key: value}), encoding="utf-8")
    try:
        _one_line(lambda: _shop().finished("clicks", "x", {}))
    finally:
        path.write_text(json.dumps(whole), encoding="utf-8")


def _experiment() -> bytes:
    variants = tuple(Variant(name, 0.5, {"p": name}) for name in ("control", "new"))
    planned = PlannedSample(0.02, 0.1, 1_000, 14, "always-valid")
    start = datetime(2026, 3, 2, tzinfo=UTC)
    made = ExperimentDefinition("autumn", variants, "control", start, "0123", "autumn", planned=planned)
    return json.dumps(definition.as_record(made)).encode()


@given(damaged([_experiment()]))
@settings(_quick, max_examples=100)
def test_a_damaged_experiment_is_read_or_refused(content: bytes) -> None:
    _refused_or_read(".json", content, definition.read)


@given(st.sampled_from(sorted(json.loads(_experiment()))), _values | st.dates().map(str) | st.datetimes().map(str))
@example("start", "0001-01-01T00:00:00+14:00")
@settings(_quick, max_examples=150)
def test_an_experiment_with_any_value_is_read_or_refused(key: str, value: object) -> None:
    changed = json.dumps({**json.loads(_experiment()), key: value}).encode()
    _refused_or_read(".json", changed, definition.read)


@given(damaged([json.dumps(asdict(plan.plan(plan.Goal(0.02, 0.5, reading="fixed"), plan.Traffic(1e5)))).encode()]))
@settings(_quick, max_examples=60)
def test_a_damaged_plan_is_read_or_refused(content: bytes) -> None:
    _refused_or_read(".json", content, lambda path: plan.read(path).sample)


@given(damaged([b'variant,creative_id,share\na,"mug, red",0.5\nb,shoe,0.5\n']))
@settings(_quick, max_examples=60)
def test_a_damaged_table_of_variants_is_read_or_refused(content: bytes) -> None:
    ads = [Creative(name, "p", "", "", {}, "own", "own", 0) for name in ("mug, red", "shoe")]

    def read(path: Path) -> object:
        table = list(rows(path, needed=["variant", "creative_id"], optional=["share"]))
        return variants_of_rows(table, creatives=ads, where=str(path))

    _refused_or_read(".csv", content, read)


@cache
def _shop() -> Workspace:
    shop = Workspace.create(Path(mkdtemp(), "shop"))
    shop.start_run("clicks", {}, {}).finish()
    atexit.register(shutil.rmtree, shop.path.parent)
    return shop
