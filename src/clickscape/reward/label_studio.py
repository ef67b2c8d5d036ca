"""Label Studio's JSON of pairwise comparisons, out and in: two ads of a product, and which one a person takes.

Sources, read on 2026-11-30: the tag https://labelstud.io/tags/pairwise.html, the tasks
https://labelstud.io/guide/task_format.html and local files https://labelstud.io/guide/storage.html#Local-storage.
What comes in was written elsewhere: every task is checked before any becomes a label.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from clickscape.catalog.formats.row import words
from clickscape.errors import LogError
from clickscape.json_files import read_json
from clickscape.reward.labels import Comparison, Label

CONFIG = """<View>
  <Header value="$title" />
  <Pairwise name="better" toName="left,right" />
  <View style="display: flex; gap: 1em">
    <Image name="left" value="$left" />
    <Image name="right" value="$right" />
  </View>
</View>
"""
"""The labeling interface for the tasks, as Settings › Labeling Interface › Code takes it."""

_REMEDY = "Export the project as JSON, not JSON-MIN, and begin with `clickscape labels export`."
_LONGEST = 200  # characters of an id that are kept


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore")
    left_id: str = Field(min_length=1)
    right_id: str = Field(min_length=1)


class _Value(BaseModel):
    model_config = ConfigDict(extra="ignore")
    selected: Any = None


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore")
    type: str = ""
    value: _Value = _Value()


class _Person(BaseModel):
    model_config = ConfigDict(extra="ignore")  # of a person, no more than the number is read
    id: int | str = ""


class _Annotation(BaseModel):
    model_config = ConfigDict(extra="ignore")
    result: list[_Result] = []
    was_cancelled: bool = False
    completed_by: int | str | _Person | None = None
    created_at: str | None = None


class _Task(BaseModel):
    model_config = ConfigDict(extra="ignore")
    data: _Data
    annotations: list[_Annotation] = []


def task(
    pair: tuple[str, str], *, product_id: str, title: str, address: Callable[[str], str], known: Comparison | None
) -> dict[str, Any]:
    """Return the task that compares two creatives; where people compared them already, with that as its annotation.

    address: of a creative's picture, by its id. Which one is on the left depends on the ids alone.
    """
    left, right = pair if zlib.crc32("/".join(sorted(pair)).encode()) % 2 else pair[::-1]
    data = {"left": address(left), "right": address(right), "title": title, "product_id": product_id,
            "left_id": left, "right_id": right}  # fmt: skip
    if known is None:
        return {"data": data}
    selected = "left" if known.better == left else "right"
    result = {"from_name": "better", "to_name": "left,right", "type": "pairwise", "value": {"selected": selected}}
    return {"data": data, "annotations": [{"result": [result], "was_cancelled": False}]}


def read(path: Path, *, product_of: Mapping[str, str]) -> list[Label]:
    """Return the labels of an exported project, one for each answer of each person; what was skipped is none.

    product_of: creative id → product id. LogError with file and task for what cannot be read, for creatives that are
    not there or of two products, and where nobody answered.
    """
    try:
        tasks = read_json(path, list[_Task], error=LogError, remedy=_REMEDY)
    except FileNotFoundError:
        raise LogError(f"{path}: no such file. {_REMEDY}") from None
    labels = [
        label
        for number, one in enumerate(tasks, start=1)
        for label in _labels(one, product_of, where=f"{path}, task {number}")
    ]
    if not labels:
        raise LogError(f"{path}: nobody answered any of its {len(tasks):,} tasks. Compare some in Label Studio first.")
    return labels


def _labels(one: _Task, product_of: Mapping[str, str], *, where: str) -> list[Label]:
    left, right = one.data.left_id, one.data.right_id
    for name in (left, right):
        if name not in product_of:
            raise LogError(f"{where}: there is no creative {name[:_LONGEST]!r}. Remove the task.")
    if left == right or product_of[left] != product_of[right]:
        raise LogError(f"{where}: {left!r} and {right!r} are not two creatives of one product. Remove the task.")
    made = []
    for number, annotation in enumerate(one.annotations, start=1):
        selected = _selected(annotation.result, where=f"{where}, annotation {number}")
        if annotation.was_cancelled or selected is None:
            continue
        better, worse = (left, right) if selected == "left" else (right, left)
        at = _time(annotation.created_at, where=f"{where}, annotation {number}")
        made.append(
            Label(better, product_of[better], "prefer", worse, reviewer=_reviewer(annotation.completed_by),
                  source="label studio", created_at=at)
        )  # fmt: skip
    return made


def _selected(results: Sequence[_Result], *, where: str) -> Literal["left", "right"] | None:
    answers = [one.value.selected for one in results if one.type == "pairwise"]
    if not answers:
        return None
    if len(answers) > 1 or answers[0] not in ("left", "right"):
        raise LogError(f"{where}: expected one answer, 'left' or 'right'. Answer the task again, or remove it.")
    return "left" if answers[0] == "left" else "right"


def _reviewer(said: int | str | _Person | None) -> str:
    return words(said.id if isinstance(said, _Person) else said)[:_LONGEST]


def _time(text: str | None, *, where: str) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise LogError(f"{where}: created_at is no time of ISO 8601. Export the project again.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
