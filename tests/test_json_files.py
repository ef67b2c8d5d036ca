"""JSON from disk is read as the type that it must have, or is one line with the file, the place and the remedy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from clickscape.errors import ModelError, WorkspaceError
from clickscape.json_files import read_json, read_json_lines


@dataclass(frozen=True)
class Point:
    x: int
    names: tuple[str, ...]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"names": []}', "x: Field required"),
        ('{"x": "1", "names": []}', "x: Input should be a valid integer"),
        ('{"x": true, "names": []}', "x: Input should be a valid integer"),
        ('{"x": 1, "names": [1]}', r"names\.0: Input should be a valid string"),
        ('{"x": 1, "names": null}', "names: Input should be a valid array"),
        ("[]", "Input should be an object"),
        ("[" * 1_000_000, "Invalid JSON: recursion limit"),
        ('{"x": 1, "names": ["\\ud800"]}', "Invalid JSON: unexpected end of hex escape"),
        ("", "Invalid JSON: EOF"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "point.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=rf"point\.json: {words}.*\. Make it anew\.") as caught:
        read_json(path, Point, error=ModelError, remedy="Make it anew.")
    assert "\n" not in str(caught.value)
    path.write_text('{"x": 1, "names": []}\n' + text)
    if text:
        with pytest.raises(WorkspaceError, match=rf"point\.json, line 2: {words}"):
            read_json_lines(path, Point)


def test_what_is_right_comes_back_as_a_record(tmp_path: Path) -> None:
    (tmp_path / "point.json").write_text('{"x": 1, "names": ["a"]}\n')
    assert read_json(tmp_path / "point.json", Point) == Point(1, ("a",))
    assert read_json_lines(tmp_path / "point.json", Point) == [Point(1, ("a",))]


def test_what_is_no_file_is_refused_and_what_is_missing_is_told_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(WorkspaceError, match="no regular file"):
            read_json(path, Point)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "missing", Point)
