"""What people said of creatives: the pairs that it makes, how a model's agreement is counted, Label Studio's JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickscape.errors import LogError
from clickscape.reward import label_studio
from clickscape.reward.labels import Comparison, Label, agreement, comparisons, merge
from clickscape.reward.protocol import Odds
from clickscape.types import Product

PRODUCTS = {"a": "mug", "b": "mug", "c": "mug", "x": "cup", "y": "cup"}


def at(day: int) -> datetime:
    return datetime(2026, 11, day, tzinfo=UTC)


def test_an_approved_ad_is_preferred_to_each_that_was_rejected_and_votes_are_counted() -> None:
    decided = [Label("a", "mug", "approve"), Label("b", "mug", "reject"), Label("c", "mug", "reject"),
               Label("x", "cup", "approve")]  # fmt: skip
    assert comparisons(decided) == [Comparison("mug", "a", "b"), Comparison("mug", "a", "c")]
    said = [Label("b", "mug", "prefer", "a", reviewer=name) for name in ("1", "2")]
    assert comparisons([*decided, said[0]]) == [Comparison("mug", "a", "c")]  # one against one: nobody knows
    assert comparisons([*decided, *said])[0] == Comparison("mug", "b", "a")


def test_the_later_of_two_labels_about_the_same_stays() -> None:
    first, second = Label("a", "mug", "approve", created_at=at(1)), Label("a", "mug", "reject", created_at=at(2))
    assert merge([first], [second]) == merge([second], [first]) == [second]
    other = Label("a", "mug", "prefer", "b", reviewer="1", source="label studio", created_at=at(1))
    turned = Label("b", "mug", "prefer", "a", reviewer="1", source="label studio", created_at=at(3))
    assert merge([first, other], [turned]) == [turned, first]


class _Model:
    """Prefers the picture that is lighter."""

    reads_sides = False

    def odds(self, products: Sequence[Product], firsts: Any, seconds: Any, scenes: Any = None) -> Odds:
        gaps = np.array([float(first.mean() - second.mean()) for first, second in zip(firsts, seconds, strict=True)])
        return Odds(gaps, np.full(len(gaps), np.nan))


def test_agreement_is_counted_over_products_and_needs_several() -> None:
    """Four of six products are judged as people judge them: two thirds, and its interval is that of six products."""
    pairs = [Comparison(f"p{number}", f"p{number}-1", f"p{number}-0") for number in range(6)]
    light = {"p4-0": 255, "p4-1": 0, "p5-0": 255, "p5-1": 0}
    arguments: dict[str, Any] = {
        "products": {one.product_id: Product(one.product_id, "Mug") for one in pairs},
        "images": lambda name: np.full((2, 2, 3), light.get(name, 255 if name.endswith("1") else 0), np.uint8),
        "scenes": lambda name: None,
    }
    made = agreement(_Model(), pairs, rng=np.random.default_rng(0), **arguments)  # type: ignore[arg-type]
    assert made.share is not None
    assert made.share.value == pytest.approx(4 / 6)
    assert (made.share.low, made.share.high) == (pytest.approx(2 / 6), 1.0)  # quantiles of a binomial of 6 and 2/3
    few = agreement(_Model(), pairs[:4], rng=np.random.default_rng(0), **arguments)  # type: ignore[arg-type]
    assert few.share is None
    assert "not enough evidence" in few.line()


def project(*answers: dict[str, Any], left: str = "a", right: str = "b") -> list[dict[str, Any]]:
    """A project as Label Studio exports it: https://labelstud.io/guide/task_format.html."""
    data = {
        "left": "/data/local-files/?d=l.webp",
        "right": "r.webp",
        "title": "Mug",
        "left_id": left,
        "right_id": right,
    }
    return [{"id": 7, "created_at": "2026-11-01T10:00:00.000000Z", "project": 3, "data": data,
             "annotations": list(answers), "predictions": [], "total_annotations": len(answers)}]  # fmt: skip


def answer(selected: object = "left", **more: Any) -> dict[str, Any]:
    result = {"id": "MJz", "type": "pairwise", "from_name": "better", "to_name": "left,right",
              "origin": "manual", "value": {"selected": selected}}  # fmt: skip
    return {"id": 1001, "result": [result], "was_cancelled": False, "completed_by": 10, "lead_time": 4.2,
            "created_at": "2026-11-02T10:00:00.123456Z"} | more  # fmt: skip


def read(tmp_path: Path, value: object) -> list[Label]:
    file = tmp_path / "project.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return label_studio.read(file, product_of=PRODUCTS)


def test_answers_become_labels_and_of_a_person_only_the_number_is_read(tmp_path: Path) -> None:
    person = {"id": 11, "email": "ann@example.com", "first_name": "Ann"}
    found = read(tmp_path, project(answer(), answer("right", completed_by=person), answer(was_cancelled=True),
                                   answer(result=[])))  # fmt: skip
    assert found == [
        Label("a", "mug", "prefer", "b", reviewer="10", source="label studio",
              created_at=datetime(2026, 11, 2, 10, 0, 0, 123456, tzinfo=UTC)),
        Label("b", "mug", "prefer", "a", reviewer="11", source="label studio",
              created_at=datetime(2026, 11, 2, 10, 0, 0, 123456, tzinfo=UTC)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "Export the project as JSON"),
        ('{"data": 1}', "valid array"),
        ("[" * 10_000, "recursion limit"),
        ([{"data": {"left": "x"}}], "0.data.left_id"),
        (project(answer(), left="nobody"), "task 1: there is no creative 'nobody'"),
        (project(answer(), right="x"), "not two creatives of one product"),
        (project(answer(), right="a"), "not two creatives of one product"),
        (project(answer("both")), "'left' or 'right'"),
        (project(answer({"left": 1})), "'left' or 'right'"),
        (project(answer(result=2 * answer()["result"])), "expected one answer"),
        (project(answer(created_at="yesterday")), "created_at is no time"),
        (project(answer(was_cancelled="yes")), "was_cancelled"),
        (project(), "nobody answered any of its 1 tasks"),
        ([], "nobody answered any of its 0 tasks"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, value: object, said: str) -> None:
    with pytest.raises(LogError, match=r"project\.json") as refused:
        read(tmp_path, value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_written_is_read_again_whatever_side_an_ad_is_on(tmp_path: Path) -> None:
    known = [Comparison("mug", "a", "b"), Comparison("mug", "c", "b"), Comparison("mug", "c", "a")]
    tasks = [
        label_studio.task(pair, product_id="mug", title="Mug", address=lambda one: f"{one}.webp",
                          known=next((one for one in known if {one.better, one.worse} == set(pair)), None))
        for pair in (("a", "b"), ("b", "c"), ("a", "c"))
    ]  # fmt: skip
    assert {one["data"]["left_id"] for one in tasks} != {"a", "b"}, "not the same order for all"
    assert [(one.creative_id, one.preferred_to) for one in read(tmp_path, tasks)] == [
        ("a", "b"),
        ("c", "b"),
        ("c", "a"),
    ]
    open_task = label_studio.task(("a", "b"), product_id="mug", title="Mug", address=str, known=None)
    assert "annotations" not in open_task
