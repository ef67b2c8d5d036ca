"""The public data set's layout, made by the simulator: read, refused where it is broken, trained on end to end."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from clickscape.errors import LogError

pytestmark = pytest.mark.slow  # one preparation of seconds serves the whole module

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
creative_ranking = importlib.import_module("_creative_ranking")
Shown = creative_ranking.Shown


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A folder of 8 products with 4 creatives each, and the truth."""
    folder = tmp_path_factory.mktemp("creative-ranking")
    return folder, creative_ranking.write_simulated(folder, products=8, size=64, seed=1)


def test_both_layouts_say_the_same(tmp_path: Path) -> None:
    asked = {"products": 2, "creatives": 2, "size": 64, "seed": 3}
    truth = creative_ranking.write_simulated(tmp_path / "lists", layout="lists", **asked)
    assert creative_ranking.write_simulated(tmp_path / "json", layout="json", **asked) == truth
    lists, prepared = (creative_ranking.read(tmp_path / layout) for layout in ("lists", "json"))
    assert {name: len(own) for name, own in lists.items()} == {"train": 2, "test": 2}
    for name, own in lists.items():
        said = [(one.creative_id, one.product_id, one.counts) for one in own]
        assert said == [(one.creative_id, one.product_id, one.counts) for one in prepared[name]]
        assert {one.image.parent for one in prepared[name]} == {tmp_path / "json" / "images"}


def test_days_are_added_up(lists) -> None:
    folder, truth = lists
    splits = creative_ranking.read(folder)
    for name, own in splits.items():
        totals: dict[str, list[int]] = {}
        for line in (folder / f"{name}_data_list.txt").read_text().splitlines():
            item, image, _, impressions, clicks = line.split("\t")
            total = totals.setdefault(f"{item}/{image}", [0, 0])
            total[0] += int(impressions)
            total[1] += int(clicks)
        assert {one.creative_id: [one.counts.impressions, one.counts.clicks] for one in own} == totals
    assert not {one.product_id for one in splits["train"]} & {one.product_id for one in splits["test"]}
    seen = [np.log(one.counts.clicks / one.counts.impressions) for own in splits.values() for one in own]
    known = [truth[one.creative_id] for own in splits.values() for one in own]
    assert np.corrcoef(seen, known)[0, 1] > 0.9


BROKEN = {
    "columns": ("A\tx.png\t3\n", "line 2: 3 columns"),
    "number": ("A\tx.png\t1\tmany\t3\n", "line 2: a count is 'many'"),
    "more clicks": ("A\tx.png\t1\t3\t4\n", "line 2: item 'A', image 'x.png', 4 clicks of 3"),
    "outside": ("A\t../x.png\t1\t4\t3\n", "line 2: the image '../x.png' leaves"),
    "picture": ("A\tgone.png\t1\t4\t3\n", "gone.png: missing"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_list_names_its_line(tmp_path: Path, case: str) -> None:
    line, words = BROKEN[case]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.png").write_bytes(b"")
    (tmp_path / "train_data_list.txt").write_text(f"A\tx.png\t0\t9\t1\n{line}")
    with pytest.raises(LogError) as error:
        creative_ranking.read(tmp_path)
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["[", "[]", '{"A": 3}', '{"A": [{"item_id": 1}]}'])
def test_a_prepared_list_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(LogError, match=r"train\.json.*again"):
        creative_ranking.read(tmp_path)
    with pytest.raises(LogError, match=r"no train_data_list\.txt"):
        creative_ranking.read(tmp_path / "nowhere")


def test_the_benchmark_trains_and_prints_beside_the_published(lists, tmp_path: Path, capsys, monkeypatch) -> None:
    benchmark = importlib.import_module("creative_ranking")
    monkeypatch.setattr(importlib.import_module("_results"), "RESULTS", tmp_path)
    benchmark.main([str(lists[0]), "--epochs", "4"])
    printed = capsys.readouterr().out
    for words in ("this run", "noise ceiling", "VAM (published)", "52.2 %", "53.1 %", "56.2 %", "57.1 %"):
        assert words in printed
    report = benchmark.measure(lists[0], form="effects", epochs=4, products=None, seed=0)
    tested = creative_ranking.read(lists[0])["test"]
    rates: dict[str, list[float]] = {}
    for one in tested:
        assert one.counts.impressions > 1_000
        rates.setdefault(one.product_id, []).append(one.counts.clicks / one.counts.impressions)
    kept = sum(
        1.05 <= max(a, b) / min(a, b) <= 1.2 for own in rates.values() for n, a in enumerate(own) for b in own[n + 1 :]
    )
    assert report.pairs == kept, "the paper's filter"
    assert f"{kept} pairs of {report.products} products" in printed
    assert (tmp_path / "creative_ranking.jsonl").read_text().count("\n") == 1
