"""Every file below the folder of a log counts or is named, whatever its name, depth and the folders above it."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.clicks.conftest import add_creatives, click, counted, impression, write_parquet

from clickscape.config import ClicksConfig
from clickscape.errors import LogError
from clickscape.stages.clicks import clicks, read_log
from clickscape.stages.progress import run
from clickscape.workspace import Workspace


def positions(workspace: Workspace, source: str = "") -> list[int | None]:
    counts = read_log(workspace, config=ClicksConfig(source=source), by=()).counts
    return sorted(counts.to_pyarrow()["position"].to_pylist(), key=str)


@pytest.mark.slow
def test_files_at_any_depth_and_in_capital_letters_are_one_log(workspace: Workspace) -> None:
    others = ("day=2026-03-01/part-0.parquet", "2026/03/01/part.parquet", "b.PARQUET", "b.parquet/part-0.Parquet")
    add_creatives(workspace, "a", *others)
    write_parquet(workspace.events_folder / "a.parquet", [impression(1), click(1)])
    for number, name in enumerate(others, start=2):
        write_parquet(workspace.events_folder / name, [impression(number, name)])
    expected = {"a": (1, 1)} | dict.fromkeys(others, (1, 0))
    assert counted(workspace) == expected
    assert counted(workspace, "clicks/events") == expected, "a folder as source"
    assert counted(workspace, "clicks/events/*") == expected, "a glob that matches folders"


def test_events_and_counts_may_be_folders_of_parts_as_spark_writes_them(workspace: Workspace) -> None:
    row = {"creative_id": "a", "product_id": "p", "impressions": 10, "clicks": 1}
    write_parquet(workspace.counts_path / "part-0.parquet", [row])
    write_parquet(workspace.counts_path / "part-1.parquet", [row])
    (workspace.counts_path / "_SUCCESS").touch()
    assert counted(workspace) == {"a": (20, 2)}


def test_a_file_that_two_names_lead_to_counts_once_and_linked_folders_are_read(workspace: Workspace) -> None:
    row = {"creative_id": "a", "product_id": "p", "impressions": 10, "clicks": 1}
    write_parquet(workspace.path / "elsewhere" / "b.parquet", [row])
    file = write_parquet(workspace.path / "lists" / "a.parquet", [row])
    os.symlink(file, file.with_name("again.parquet"))
    os.symlink(workspace.path / "elsewhere", file.parent / "linked")
    os.symlink(file.parent, file.parent / "loop")
    assert counted(workspace, "lists") == {"a": (20, 2)}
    assert counted(workspace, "lists/**") == {"a": (20, 2)}


def test_files_that_are_not_read_are_named_and_those_of_spark_are_not(workspace: Workspace) -> None:
    write_parquet(workspace.events_folder / "a.parquet", [impression(1), click(1)])
    for name in ("README", "day=1/b.csv.bak", "_SUCCESS", ".a.parquet.crc", "_temporary/0/half.parquet"):
        path = workspace.events_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no log")
    (workspace.events_folder / "empty.csv").touch()
    summary = run(clicks(workspace, ClicksConfig())).result["summary"]
    (line,) = [line for line in summary if "not read" in line]
    assert "'README', 'day=1/b.csv.bak', 'empty.csv'. Files of a log are not empty and end in .parquet, .csv" in line
    (workspace.events_folder / "a.parquet").rename(workspace.events_folder / "a.pq")
    with pytest.raises(LogError, match=r"events: no file of a log. It holds 'README'"):
        counted(workspace)


@pytest.mark.parametrize("name", ["counts.csv", "Counts.PARQUET"])
def test_counts_beside_the_events_are_read_in_any_format_and_never_in_silence(workspace: Workspace, name: str) -> None:
    workspace.clicks.mkdir(exist_ok=True)
    path = workspace.clicks / name
    if path.suffix == ".csv":
        path.write_text("creative_id,product_id,impressions,clicks\na,p,10,1\n")
    else:
        write_parquet(path, [{"creative_id": "a", "product_id": "p", "impressions": 10, "clicks": 1}])
    assert counted(workspace) == {"a": (10, 1)}
    write_parquet(workspace.events_folder / "a.parquet", [impression(1)])
    with pytest.raises(LogError, match=f"both events/ and {name} would count every click twice"):
        counted(workspace)


def test_a_log_that_lies_beside_the_folder_of_events_is_named(workspace: Workspace) -> None:
    write_parquet(workspace.clicks / "b.parquet", [impression(1)])
    with pytest.raises(LogError, match=r"no click log. It holds 'b.parquet'. Put Parquet files into events/.*--log"):
        counted(workspace)
    write_parquet(workspace.events_folder / "a.parquet", [impression(1), click(1)])
    for _ in range(2):  # what the first run wrote beside it is no log
        summary = run(clicks(workspace, ClicksConfig())).result["summary"]
        (line,) = [line for line in summary if "not read" in line]
        assert line.count("parquet'") == 1
        assert "b.parquet'" in line


def test_a_file_whose_name_is_no_unicode_is_named(workspace: Workspace) -> None:
    file = write_parquet(workspace.events_folder / "a.parquet", [impression(1)])
    os.rename(file, file.with_name("a\udcff.parquet"))
    with pytest.raises(LogError, match=r"a\\udcff.parquet': a name that is not Unicode. Rename it"):
        counted(workspace)


def test_a_table_whose_folder_keeps_deleted_rows_is_refused(workspace: Workspace) -> None:
    write_parquet(workspace.events_folder / "a.parquet", [impression(1)])
    (workspace.events_folder / "_delta_log").mkdir()
    with pytest.raises(LogError, match="Delta Lake table keeps the files of deleted rows"):
        counted(workspace)


@pytest.mark.slow
def test_folders_above_the_log_give_its_events_nothing(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "position=9" / "device=tv" / "shop [1]")
    add_creatives(workspace, "a")
    file = write_parquet(workspace.events_folder / "a.parquet", [impression(1, position=2)])
    assert positions(workspace) == [2]
    assert positions(workspace, "clicks/events/*.parquet") == [2]
    bare = [name for name in pq.read_schema(file).names if name != "position"]
    pq.write_table(pq.read_table(file).select(bare), file)
    assert positions(workspace) == [None]
    (workspace.path / "log.csv").write_text("event_id,kind,decision_id,creative_id,product_id\n1,impression,1,a,p\n")
    assert positions(workspace, "log.csv") == [None]


def test_folders_below_the_log_give_the_columns_that_its_files_lack(workspace: Workspace) -> None:
    rows = [{name: value for name, value in impression(n).items() if name != "position"} for n in range(4)]
    write_parquet(workspace.events_folder / "position=1/a.parquet", rows[:1])
    write_parquet(workspace.events_folder / "position=3/device=smart%20tv/a.parquet", rows[1:3])
    write_parquet(workspace.events_folder / "position=3/b.parquet", [{**rows[3], "position": 2}])
    counts = read_log(workspace, by=("device",)).counts.order_by("position").to_pyarrow().to_pylist()
    assert [(row["position"], row["device"], row["impressions"]) for row in counts] == [
        (1, None, 1),
        (2, None, 1),
        (3, "smart tv", 2),
    ]


def test_events_and_counts_are_not_mixed(workspace: Workspace) -> None:
    write_parquet(workspace.events_folder / "a.parquet", [impression(1)])
    write_parquet(
        workspace.events_folder / "b.parquet", [{"creative_id": "a", "product_id": "p", "impressions": 9, "clicks": 1}]
    )
    with pytest.raises(LogError, match=r"b\.parquet: not events as .*a\.parquet holds"):
        counted(workspace)


def test_a_glob_through_links_that_lead_back_ends(workspace: Workspace) -> None:
    row = {"creative_id": "a", "product_id": "p", "impressions": 10, "clicks": 1}
    file = write_parquet(workspace.path / "lists" / "a.parquet", [row])
    for name in ("one", "two"):  # as in /proc, where every process leads to the root: 2^40 paths, none too long
        os.symlink(file.parent, file.parent / name)
    assert counted(workspace, "lists/**/*.parquet") == {"a": (10, 1)}
    with pytest.raises(LogError, match=r"no such file"):
        counted(workspace, "lists/**/*.csv")


def test_pipes_and_devices_are_no_files_of_a_log(workspace: Workspace) -> None:
    workspace.events_folder.mkdir(parents=True)
    os.mkfifo(workspace.events_folder / "a.parquet")
    os.symlink("/dev/zero", workspace.events_folder / "b.csv")
    made_up = ("/dev/zero", "/proc/self/maps", "/proc/*/environ", "/proc/[0-9]*/task/*/stat")
    for source in ("", "clicks/events", "clicks/events/*", "clicks/events/a.parquet", *made_up):
        with pytest.raises(LogError, match=r"no file of a log"):
            counted(workspace, source)


def test_a_folder_of_too_many_files_and_an_odd_glob_are_one_clear_error(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickscape.clicks.locations.MOST_FILES", 3)
    for number in range(4):
        write_parquet(workspace.events_folder / f"{number}.parquet", [impression(number)])
    for source in ("", "clicks/events", "clicks/events/*", "clicks/*"):
        with pytest.raises(LogError, match=r"over 3 files\. Name a smaller folder"):
            counted(workspace, source)
    with pytest.raises(LogError, match=r"no glob that is understood"):
        counted(workspace, "clicks/events**")
