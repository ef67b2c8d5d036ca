"""Logs of other formats and names, a database, counts made elsewhere; and no secret where somebody could read it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from tests.clicks.conftest import impression, write_parquet

from clickscape.clicks import locations, sources
from clickscape.config import ClicksConfig
from clickscape.errors import LogError
from clickscape.stages.clicks import clicks, read_log
from clickscape.stages.progress import run
from clickscape.types import Creative
from clickscape.workspace import Workspace

HEAD = ("event_id", "kind", "decision_id", "creative_id", "product_id", "timestamp", "visitor")
ROWS = [
    ("1", "impression", "d1", "007", "p", "2026-03-01T12:00:00Z", "u1"),
    ("2", "impression", "d2", "AB-1", "p", "2026-03-01T12:00:01Z", "u2"),
    ("3", "click", "d1", "007", "p", "2026-03-01T12:00:09Z", "u1"),
]
COLUMNS = {"ts": "timestamp", "user_key": "visitor"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "shop")
    made.write_creatives([Creative(name, "p", f"{name}.webp", "", {}, "studio", "tiny", 0) for name in ("007", "AB-1")])
    return made


def counted(workspace: Workspace, source: str, **other: object) -> list[tuple[str, int, int]]:
    config = ClicksConfig.model_validate({"source": source, "columns": COLUMNS, **other})
    rows = read_log(workspace, config=config, by=()).counts.order_by("creative_id").to_pyarrow().to_pylist()
    return [(row["creative_id"], row["impressions"], row["clicks"]) for row in rows]


@pytest.mark.slow
def test_csv_and_json_lines_are_read_like_parquet_and_ids_stay_texts(workspace: Workspace) -> None:
    for part, rows in (("one", ROWS[:1]), ("two", ROWS[1:])):
        lines = "\n".join(",".join(row) for row in (HEAD, *rows))
        (workspace.path / f"{part}.csv").write_text(lines + "\n", encoding="utf-8")
        objects = "".join(json.dumps(dict(zip(HEAD, row, strict=True))) + "\n" for row in rows)
        (workspace.path / f"{part}.jsonl").write_text(objects, encoding="utf-8")
    for pattern in ("*.csv", "*.jsonl"):
        assert counted(workspace, pattern) == [("007", 1, 1), ("AB-1", 1, 0)], pattern
    with pytest.raises(LogError, match=r"files of several kinds \(CSV, JSON Lines\)"):
        counted(workspace, "*.[cj]s*")
    with pytest.raises(LogError, match=r"no such file"):
        counted(workspace, "*.avro")


@pytest.mark.slow
def test_a_log_is_read_from_a_database_table(workspace: Workspace) -> None:
    path = workspace.path / "ware house.duckdb"
    with duckdb.connect(str(path)) as made:
        made.register("given", pa.Table.from_pylist([dict(zip(HEAD, row, strict=True)) for row in ROWS]))
        made.execute('CREATE TABLE "odd ""name" AS SELECT * FROM given')
    assert counted(workspace, f"duckdb://{path}", table='odd "name') == [("007", 1, 1), ("AB-1", 1, 0)]
    with pytest.raises(LogError, match=r"no table 'x; DROP TABLE y'"):
        counted(workspace, f"duckdb://{path}", table="x; DROP TABLE y")
    with pytest.raises(LogError, match="no such file"):
        counted(workspace, f"duckdb://{path}.not", table="log")
    assert not Path(f"{path}.not").exists()


def test_lists_of_creative_ranking_are_read_as_counts(workspace: Workspace) -> None:
    (workspace.path / "list.csv").write_text("creative_id,product_id,exp_impression_cnt,exp_click_cnt\n007,p,40,3\n")
    assert counted(workspace, "list.csv") == [("007", 40, 3)]


def test_a_count_that_is_no_number_is_refused(workspace: Workspace) -> None:
    table = pa.table({"creative_id": ["007"], "product_id": ["p"], "impressions": [float("nan")], "clicks": [1.0]})
    workspace.write_table(workspace.counts_path, table)
    with pytest.raises(LogError, match=r"'007' has no impressions, or no whole number there"):
        counted(workspace, "")


@pytest.mark.parametrize("called", ["tsx", ""])
def test_a_column_that_the_settings_name_and_the_log_lacks_is_refused(workspace: Workspace, called: str) -> None:
    """A typing error would else switch off the rules about time in silence."""
    write_parquet(workspace.events_folder / "a.parquet", [impression(1, "007", ts=datetime(2026, 3, 1, tzinfo=UTC))])
    write_parquet(workspace.events_folder / "b.parquet", [impression(2, "007")])
    config = ClicksConfig.model_validate({"columns": {"ts": called}})
    with pytest.raises(LogError, match=f"no column '{called}', which .clicks. columns names for ts. Correct the name"):
        read_log(workspace, config=config, by=())
    config = ClicksConfig.model_validate({"columns": {"ts": "ts", "impressions": "shows"}})
    assert read_log(workspace, config=config, by=()).counts.to_pyarrow()["impressions"].to_pylist() == [2]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgres://me:hush@db.example:5432/shop?sslkey=hush", "postgres://db.example:5432/shop"),
        ("postgres://me:hu/sh@db.example/shop", "postgres://…"),
        ("postgres://me:hu?hush@db.example/shop", "postgres://…"),
        ("postgres://me:hush", "postgres://…"),
        ("bigquery://project/dataset", "bigquery://project/dataset"),
    ],
)
def test_a_secret_is_never_shown(workspace: Workspace, address: str, said: str) -> None:
    assert locations.redact(address) == said
    config = ClicksConfig(source=address.replace("hush", "${NOT_SET}"), table="log")
    with pytest.raises(LogError) as caught:
        run(clicks(workspace, config.model_copy(update={"source": address, "table": "log"})))
    assert "hush" not in str(caught.value)
    if "hush" in address:
        with pytest.raises(LogError, match=r"is not set"):
            read_log(workspace, config=config)
    manifests = "".join(path.read_text(encoding="utf-8") for path in workspace.path.rglob("manifest.json"))
    assert manifests
    assert "hush" not in manifests


def test_only_listed_variables_enter_an_address(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a database is named by a variable: it is found only once the user has listed that one."""
    rows = "select 'c' creative_id, 'p' product_id, 9 impressions, 1 clicks"
    duckdb.connect(str(tmp_path / "hush.duckdb")).execute(f"create table log as {rows}").close()
    monkeypatch.setenv("SECRET", "hush")
    monkeypatch.setenv("OTHER", "loud")
    config = ClicksConfig(source=f"duckdb://{tmp_path}/${{SECRET}}.duckdb", table="log")
    for listed in ("", "OTHER", "SECRETS"):
        monkeypatch.setenv("CLICKSCAPE_ALLOWED_ENV", listed)
        with pytest.raises(LogError, match="export CLICKSCAPE_ALLOWED_ENV=NAME") as caught:
            read(workspace, config)
        assert "hush" not in str(caught.value)
    for listed in ("SECRET", "OTHER,SECRET", "OTHER SECRET"):
        monkeypatch.setenv("CLICKSCAPE_ALLOWED_ENV", listed)
        assert read(workspace, config) == 9


def read(workspace: Workspace, config: ClicksConfig) -> int:
    """The impressions of the log that `config` names."""
    location = locations.locate(workspace.clicks, config)
    return int(sources.read(location, connection=None).table.impressions.sum().to_pyarrow().as_py())
