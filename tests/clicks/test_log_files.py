"""Columns and rows of files are read as they are written, or the file and line that cannot be are named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.clicks.conftest import add_creatives, click, counted, impression, write_parquet

from clickscape.config import ClicksConfig
from clickscape.errors import LogError
from clickscape.stages.clicks import read_log
from clickscape.workspace import Workspace

HEAD = "event_id,kind,decision_id,creative_id,product_id,position\n"
ROW = "{n},impression,d{n},a,p,1"


def write_json(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(workspace: Workspace, text: str, name: str = "log.csv") -> None:
    (workspace.path / name).write_bytes(text.encode())


@pytest.mark.slow
@pytest.mark.parametrize("files", [1, 40])
def test_a_column_that_first_comes_in_a_late_row_or_file_is_read(workspace: Workspace, files: int) -> None:
    times = {"ts": "2026-03-01T12:00:00Z", "received_at": "2026-03-09T12:00:00Z"}
    rows = [impression(n) for n in range(25_000)] + [impression(25_000, **times), click(3)]
    size = -(-len(rows) // files)
    for number in range(files):
        write_json(workspace.path / f"{number:02}.jsonl", rows[number * size : (number + 1) * size])
    log = read_log(workspace, config=ClicksConfig(source="*.jsonl"), by=())
    assert log.cleaning is not None
    assert log.cleaning.late == 1
    assert log.counts.to_pyarrow()["impressions"].to_pylist() == [25_000]


def mixed_ends(ends: tuple[str, ...], count: int = 1_600) -> str:
    """A log of which each part has line ends of its own."""
    lines = [HEAD.strip(), *(ROW.format(n=n) for n in range(count))]
    return "".join(line + ends[number * len(ends) // len(lines)] for number, line in enumerate(lines))


@pytest.mark.slow
@pytest.mark.parametrize("ends", [("\r\n", "\n"), ("\n", "\r\n"), ("\r", "\n", "\r\n"), ("\n", "\r"), ("\r",)])
def test_lines_may_end_in_several_ways(workspace: Workspace, ends: tuple[str, ...]) -> None:
    write_csv(workspace, mixed_ends(ends))
    assert counted(workspace, "log.csv") == {"a": (1_600, 0)}


BROKEN = {
    "too many fields": (HEAD + "1,impression,d1,a,p,1\n2,impression,d2,a,p,1,x\n", r"line 3: 7 fields, but 6 columns"),
    "too many fields and mixed ends": (
        HEAD + "1,impression,d1,a,p,1\r\n2,impression,d2,a,p,1,x\n",
        r"line 3: 7 fields, but 6 columns",
    ),
    "cut off": (HEAD + "1,impression,d1,a,p,1\n2,impression,d2", r"line 3: 3 fields, but 6 columns.*cut off"),
    "cut off in quotes": (HEAD + '1,impression,d1,a,p,1\n2,"impression,d2,a,p,1\n', r"line 3: a quote is not closed"),
    "after a field of two lines": (HEAD + '"1\n1",impression,d1,a,p,1\n2,x\n', r"line 4: 2 fields, but 6 columns"),
    "a column twice": ("event_id,kind,decision_id,creative_id,product_id,Kind\n", r"column 'kind' is there twice"),
    "no names": ("\n" + HEAD, "its first line is empty, expected the names"),
    "empty": ("", r"no file of a log\. It holds 'log\.csv'\. Files of a log are not empty"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_csv_names_file_line_and_what_is_wrong(workspace: Workspace, name: str) -> None:
    text, message = BROKEN[name]
    write_csv(workspace, text)
    with pytest.raises(LogError, match=rf"^\S*log\.csv(: |, ){message}") as caught:
        counted(workspace, "log.csv")
    assert "\n" not in str(caught.value)


def test_columns_without_a_name_or_of_no_use_may_repeat(workspace: Workspace) -> None:
    write_csv(workspace, HEAD.strip() + ",,,note,note,filename\n1,impression,d1,a,p,1,,,x,y,z\n")
    assert counted(workspace, "log.csv") == {"a": (1, 0)}


@pytest.mark.parametrize("line", ["null", "5", "[]", '"text"', "", "nonsense"])
def test_a_line_of_json_lines_that_is_no_object_is_refused_or_empty(workspace: Workspace, line: str) -> None:
    (workspace.path / "log.jsonl").write_text(f"{json.dumps(impression(1))}\n{line}\n")
    if line:
        with pytest.raises(LogError, match=r"log\.jsonl(, line 2: not a JSON object|: event None .* lacks an id)"):
            counted(workspace, "log.jsonl")
    else:
        assert counted(workspace, "log.jsonl") == {"a": (1, 0)}


def test_a_csv_that_is_not_utf_8_is_named_with_its_line(workspace: Workspace) -> None:
    (workspace.path / "log.csv").write_bytes(
        (HEAD + "1,impression,d1,a,p,1\n2,impression,caf\xe9,a,p,1\n").encode("latin-1")
    )
    with pytest.raises(LogError, match=r"log\.csv, line 3: not UTF-8 text"):
        counted(workspace, "log.csv")


def test_files_whose_columns_stand_in_another_order_or_are_split_otherwise_are_one_log(workspace: Workspace) -> None:
    write_csv(workspace, HEAD + "1,impression,d1,a,p,1\n", "1.csv")
    write_csv(workspace, "product_id;creative_id;decision_id;Kind; EVENT_ID;position\np;b;d2;impression;2;1\n", "2.csv")
    assert counted(workspace, "*.csv") == {"a": (1, 0), "b": (1, 0)}


JSON_LINES = {
    "a key twice": ('{"event_id": "1", "event_id": "2"}', r"line 2: the key 'event_id' is there twice"),
    "a float as id": (json.dumps(impression(2, decision_id=7.0)), r"line 2: 'decision_id' is 7\.0, expected text"),
    "half a character": (r'{"event_id": "\ud800"}', r"line 2: half of a character. Write it whole, in UTF-8"),
    "deep": ("[" * 100_000, r"line 2: not a JSON object"),
    "no object": ('["event_id"]', r"line 2: not a JSON object"),
    "cut off": ('{"event_id": "1", "ki', r"line 2: not a JSON object"),
}


@pytest.mark.parametrize("name", JSON_LINES)
def test_a_broken_json_line_is_named(workspace: Workspace, name: str) -> None:
    line, message = JSON_LINES[name]
    (workspace.path / "log.jsonl").write_text(f"{json.dumps(impression(1))}\n{line}\n")
    with pytest.raises(LogError, match=rf"^\S*log\.jsonl, {message}"):
        counted(workspace, "log.jsonl")


@pytest.mark.slow
def test_ids_are_texts_with_their_zeros_whatever_other_files_hold(workspace: Workspace) -> None:
    add_creatives(workspace, "007", "7")
    for name, rows in (("1", [impression(1, 7)]), ("2", [impression(2, "007"), click(2, "007")])):  # type: ignore[arg-type]
        write_json(workspace.path / f"{name}.jsonl", rows)
        write_parquet(workspace.path / f"{name}.parquet", rows)
    assert pq.read_schema(workspace.path / "1.parquet").field("creative_id").type == pa.int64()
    for pattern in ("*.parquet", "*.jsonl", "2.*t", "1.*t"):
        expected = {"7": (1, 0), "007": (1, 1)}
        found = counted(workspace, pattern)
        assert found == {name: expected[name] for name in found}, pattern
        assert len(found) == (2 if pattern.startswith("*") else 1)


@pytest.mark.parametrize("column", ["event_id", "decision_id", "creative_id", "product_id"])
def test_floats_as_ids_are_refused_and_the_file_is_named(workspace: Workspace, column: str) -> None:
    write_parquet(workspace.events_folder / "a.parquet", [impression(1)])
    write_parquet(workspace.events_folder / "b.parquet", [impression(2, **{column: 7.0})])
    with pytest.raises(LogError, match=rf"b\.parquet: column '{column}' is float64.*7\.0.*as text"):
        read_log(workspace)


def test_the_encoding_of_accents_makes_no_second_id(workspace: Workspace) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    add_creatives(workspace, f"{decomposed}-1", f"{composed}-2", product=decomposed)
    rows = [impression(n, f"{(composed, decomposed)[n % 2]}-{1 + n // 2}", product_id=composed) for n in range(4)]
    rows += [{**rows[3], "event_id": f"click-{composed}", "kind": "click"}]
    rows += [{**rows[3], "event_id": f"click-{decomposed}", "kind": "click"}]
    write_parquet(workspace.events_folder / "a.parquet", rows)
    log = read_log(workspace, by=())
    found = {row["creative_id"]: (row["impressions"], row["clicks"]) for row in log.counts.to_pyarrow().to_pylist()}
    assert found == {f"{decomposed}-1": (2, 0), f"{composed}-2": (2, 1)}
    assert log.cleaning is not None
    assert (log.cleaning.respelled, log.cleaning.duplicates) == (4, 1)
    assert any("accents" in line for line in log.cleaning.lines())


def test_two_creatives_that_differ_in_the_encoding_of_accents_alone_are_refused(workspace: Workspace) -> None:
    add_creatives(workspace, "caf\u00e9", "cafe\u0301")
    write_parquet(workspace.events_folder / "a.parquet", [impression(1, "caf\u00e9")])
    with pytest.raises(LogError, match=r"two creatives .* 'café', and differ only in how the accents are encoded"):
        read_log(workspace)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_whose_name_reads_as_a_glob_is_read_and_no_other(workspace: Workspace, ending: str) -> None:
    names = ("a[1]", "*", "a?", "[!b]", "a1")
    add_creatives(workspace, *names)
    for name in names:
        row = {"creative_id": name, "product_id": "p", "impressions": 10, "clicks": 1}
        file = workspace.path / "logs" / f"{name}.{ending}"
        file.parent.mkdir(exist_ok=True)
        if ending == "parquet":
            write_parquet(file, [row])
        elif ending == "jsonl":
            write_json(file, [row])
        else:
            file.write_text(f"{','.join(row)}\n{','.join(map(str, row.values()))}\n")
    assert counted(workspace, "logs") == dict.fromkeys(names, (10, 1))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_an_empty_text_is_no_id_and_no_user_in_every_format(workspace: Workspace, ending: str) -> None:
    write = {"parquet": write_parquet, "jsonl": write_json}
    times = {"ts": "2026-03-01T12:00:00Z"}

    def write_rows(rows: list[dict[str, object]]) -> None:
        if ending == "csv":
            lines = [",".join(map(str, row.values())) for row in rows]
            write_csv(workspace, "\n".join([",".join(rows[0]), *lines, ""]), "log.csv")
        else:
            write[ending](workspace.path / f"log.{ending}", rows)

    write_rows([impression(n, **times, user_key="") for n in range(100)])
    assert counted(workspace, f"log.{ending}") == {"a": (100, 0)}
    write_rows([impression(1, **times), impression(2, **{**times, "decision_id": ""})])
    with pytest.raises(LogError, match=r"event 'e2' .* lacks an id"):
        counted(workspace, f"log.{ending}")


def test_a_json_list_in_place_of_json_lines_is_named_with_its_line(workspace: Workspace) -> None:
    (workspace.path / "log.jsonl").write_text(json.dumps([impression(1), impression(2)]))
    with pytest.raises(LogError, match=r"log\.jsonl, line 1: not a JSON object\. Write one event, \{…\}, a line"):
        counted(workspace, "log.jsonl")


@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n'])
def test_the_line_that_tells_excel_the_separator_is_passed_over(workspace: Workspace, first: str) -> None:
    rows = [ROW.format(n=n) for n in range(3)] + ["9,click,d1,a,p,1"]
    write_csv(workspace, first + (HEAD + "\n".join(rows)).replace(",", ";") + "\n")
    assert counted(workspace, "log.csv") == {"a": (3, 1)}
    write_csv(workspace, first + (HEAD + "\n".join(rows)).replace(",", ";") + ";more;fields\n")
    with pytest.raises(LogError, match=r"log\.csv, line 6: 8 fields, but 6 columns"):
        counted(workspace, "log.csv")


def test_files_with_tabs_and_files_with_commas_are_one_log(workspace: Workspace) -> None:
    (workspace.path / "export").mkdir()
    write_csv(workspace, HEAD + "\n".join(ROW.format(n=n) for n in range(3)), name="export/a.csv")
    tabs = HEAD + "\n".join([*(ROW.format(n=n) for n in range(2, 7)), "9,click,d1,a,p,1"])
    write_csv(workspace, tabs.replace(",", "\t"), name="export/b.TSV")
    assert counted(workspace, "export") == {"a": (7, 1)}  # event 2 stands in both


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_utf_16_is_named_with_the_command_that_mends_it(workspace: Workspace, name: str, encoding: str) -> None:
    line = HEAD + ROW.format(n=1) if name != "log.jsonl" else json.dumps(impression(1))
    (workspace.path / name).write_bytes(line.encode(encoding))
    with pytest.raises(LogError, match=rf"{name}: UTF-16 text.*Save it in UTF-8: iconv"):
        counted(workspace, name)


@pytest.mark.parametrize(("name", "message"), [("log.csv", "a packed file"), ("log.csv.gz", "no file of a log")])
def test_a_packed_log_is_named_as_such(workspace: Workspace, name: str, message: str) -> None:
    (workspace.path / name).write_bytes(gzip.compress((HEAD + ROW.format(n=1)).encode()))
    with pytest.raises(LogError, match=rf"{name}: {message}.*Unpack it first"):
        counted(workspace, name)


def test_a_byte_order_mark_is_read_in_csv_and_named_in_json(workspace: Workspace) -> None:
    write_csv(workspace, "\ufeff" + HEAD + ROW.format(n=1) + "\n")
    assert counted(workspace, "log.csv") == {"a": (1, 0)}
    (workspace.path / "log.jsonl").write_text("\ufeff" + json.dumps(impression(1)), encoding="utf-8")
    with pytest.raises(LogError, match=r"log\.jsonl: begins with a byte order mark.*tail -c \+4"):
        counted(workspace, "log.jsonl")
