"""`clickscape clicks --explain` and `clickscape explain`: labels, one creative, and what elements earn in the log."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.factory import clickscape, copy_of

from clickscape.catalog.split import Split
from clickscape.errors import ModelError, WorkspaceError
from clickscape.render.language.phrases import phrases
from clickscape.stages import split
from clickscape.stages.clicks import read_estimates, read_pairs
from clickscape.stages.explain import explain_creative, explain_elements
from clickscape.stages.progress import run
from clickscape.workspace import Workspace

pytestmark = pytest.mark.slow  # one preparation of seconds serves the whole module

CREATIVE = "coffee_mug-navy-c1"


@pytest.fixture
def copy(shop: Workspace, tmp_path: Path) -> Workspace:
    """The shop, to write into."""
    return copy_of(shop, tmp_path / "copy")


def test_one_creative_on_the_command_line(copy: Workspace) -> None:
    """Every phrase is there with an interval; with one held-out object nobody knows what a reward is in clicks."""
    creative = next(one for one in copy.creatives() if one.creative_id == CREATIVE)
    code, text, _ = clickscape("explain", copy.path, "--creative", CREATIVE)
    assert code == 0
    made = copy.path / "explanations" / "creatives" / f"{CREATIVE}.png"
    assert f"made {made}" in text
    with Image.open(made) as page:
        assert page.width > 1_000
        assert np.asarray(page).std() > 20
    record = json.loads(made.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["unit"] == "reward, log-odds"
    assert np.array(record["cells"]).shape == (8, 8)
    names = [one.text for one in phrases(creative.description)]
    assert [one["phrase"] for one in record["phrases"]] == names
    for one in record["phrases"]:
        reward = one["reward"]
        assert reward["low"] <= reward["value"] <= reward["high"]
        assert f"'{one['phrase']}'" in text
        if not one["instead"]:
            assert reward["value"] == 0, "the same scene and seed give the same picture"
    assert any(one["instead"] for one in record["phrases"])
    assert "4 pictures with and without each phrase" in text
    again = {path.name: path.read_bytes() for path in made.parent.iterdir()}
    assert clickscape("explain", copy.path, "--creative", CREATIVE)[0] == 0
    assert again == {path.name: path.read_bytes() for path in made.parent.iterdir()}


def test_held_out_clicks_turn_rewards_into_per_cent(copy: Workspace) -> None:
    """With the whole catalog in the place of held-out products: learned once, kept, and used."""
    products = copy.products()
    split.write(copy, Split({p.product_id: p.product_id for p in products}, frozenset(p.product_id for p in products)))
    made = run(explain_creative(copy, CREATIVE))
    kept = copy.path / "explanations" / "scale.json"
    before = kept.stat().st_mtime_ns
    assert made.scale is not None
    assert made.scale.products == len(products)
    assert made.scale.known, "the model learned these very clicks"
    assert made.unit == "CTR, %"
    for one in made.phrases:
        assert one.ctr is not None
        assert np.sign(one.ctr.value) == np.sign(one.reward.value)
    assert any(f"by the clicks of {len(products)} held-out products" in line for line in made.lines())
    assert run(explain_creative(copy, CREATIVE)) == made
    assert kept.stat().st_mtime_ns == before
    kept.write_text("{", encoding="utf-8")
    assert run(explain_creative(copy, CREATIVE)) == made, "a damaged scale is learned again"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"description": " , "}, "the creative has no description"),
        ({"renderer": "hand"}, "nothing here draws as 'hand'"),
    ],
)
def test_a_picture_from_elsewhere_has_a_heat_map_only(copy: Workspace, changed: dict[str, str], reason: str) -> None:
    copy.write_creatives(
        [replace(one, **changed) if one.creative_id == CREATIVE else one for one in copy.creatives()]  # type: ignore[arg-type]
    )
    made = run(explain_creative(copy, CREATIVE))
    assert made.phrases == ()
    assert reason in made.lines()[-1]
    assert made.picture.exists()


def test_a_wide_picture_is_explained_as_well(copy: Workspace) -> None:
    creative = next(one for one in copy.creatives() if one.creative_id == CREATIVE)
    with Image.open(creative.image) as image:
        copy.save_image(CREATIVE, np.asarray(image.convert("RGB").resize((180, 96))))
    made = run(explain_creative(copy, CREATIVE))
    with Image.open(made.picture) as page:
        assert page.width > 2 * page.height
    assert made.phrases


def test_elements_on_the_command_line(copy: Workspace) -> None:
    code, text, _ = clickscape("explain", copy.path, "--elements")
    assert code == 0
    table = copy.path / "explanations" / "elements.csv"
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    record = json.loads(table.with_suffix(".json").read_text(encoding="utf-8"))
    assert len(rows) == len(record["credits"])
    departments = {product.department for product in copy.products()}
    assert {row["department"] for row in rows} == departments | {"(all)"}
    whole = [row for row in rows if row["department"] == "(all)"]
    shown = read_estimates(copy)["impressions"].to_pylist()
    assert sum(int(row["impressions"]) for row in whole if row["slot"] == "light") == sum(shown), "each has one light"
    for row in whole:
        assert float(row["low"]) <= float(row["credit_percent"]) <= float(row["high"])
    for one in record["credits"]:
        spans = one["percent"]["low"] <= 0 <= one["percent"]["high"]
        assert (one["conclusion"] == "not enough evidence") == spans
        if one["department"] is None:
            assert f"  {one['element']:<16} {one['percent']['value']:>+z7.1f}  [" in text
    code, text, _ = clickscape("explain", copy.path, "--elements", "--category", "Home")
    assert code == 0
    own = [row for row in rows if row["department"] == "Home"]
    assert sum(line.startswith("  ") for line in text.splitlines()) == len(own)


def test_bad_input_is_one_line_and_writes_nothing(copy: Workspace, new_shop: Callable[[], Workspace]) -> None:
    for arguments, word in (
        (["--creative", "ghost"], "has no creative 'ghost'. `clickscape review copy` lists them."),
        (
            ["--elements", "--category", "Ghosts"],
            "no creative of category 'Ghosts' distinguishes elements. Name one of: '",
        ),
        ([], "give either --creative ID, or --elements"),
        (["--creative", CREATIVE, "--elements"], "give either --creative ID, or --elements"),
        (["--creative", CREATIVE, "--category", "Home"], "give either --creative ID, or --elements"),
    ):
        code, _, error = clickscape("explain", copy.path, *arguments)
        assert code == 2
        assert word in error
        assert len(error.strip().splitlines()) == 1
    assert not (copy.path / "explanations").exists()
    with pytest.raises(WorkspaceError, match="Run `clickscape clicks shop` first"):
        explain_elements(new_shop())
    shutil.rmtree(copy.models / "reward")
    with pytest.raises(ModelError, match="Train one with `clickscape reward`"):
        run(explain_creative(copy, CREATIVE))


def test_the_text_shows_the_model_and_every_pair_of_a_product(logged_shop: Workspace) -> None:
    code, text, _ = clickscape("clicks", str(logged_shop.path), "--explain", "camera-navy")
    assert code == 0
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == "examination by position, relative to the first"
    assert lines[1].split()[:2] == ["1", "1.000"]
    assert any(line.startswith("prior, learned: the sd of log CTR is ") for line in lines)
    pairs = read_pairs(logged_shop)
    assert any(line.startswith(f"pairs: {len(pairs)} kept of ") for line in lines)
    assert lines[lines.index("product camera-navy") + 1].split() == [
        *("creative", "impressions", "clicks", "examinations", "CTR", "%", "95", "%", "interval")
    ]
    shown = {tuple(line.split()[:3]) for line in lines if line.endswith("kept")}
    own = [pair for pair in pairs if pair.product_id == "camera-navy"]
    assert shown == {(pair.first, pair.second, f"{pair.preference:.3f}") for pair in own}


def test_the_json_holds_all_products_and_the_same_pairs(logged_shop: Workspace) -> None:
    code, text, _ = clickscape("clicks", str(logged_shop.path), "--explain", "--json")
    assert code == 0
    whole = json.loads(text)
    assert set(whole["products"]) == {product.product_id for product in logged_shop.products()}
    kept = [
        (product, pair["first"], pair["second"], pair["preference"])
        for product, own in whole["products"].items()
        for pair in own["pairs"]
        if pair["reason"] is None
    ]
    assert sorted(kept) == [(p.product_id, p.first, p.second, p.preference) for p in read_pairs(logged_shop)]
    assert whole["kept"] == len(kept)
    assert whole["model"]["prior"]["categories"] == sorted({p.department for p in logged_shop.products()})


def test_unknown_products_and_lone_options_are_one_line(logged_shop: Workspace) -> None:
    code, _, error = clickscape("clicks", str(logged_shop.path), "--explain", "no such thing")
    assert code == 2
    assert "no creative of product 'no such thing' is in the click log. Name one that is" in error
    for lone in ("--json", "camera-navy"):
        code, _, error = clickscape("clicks", str(logged_shop.path), lone)
        assert code == 2
        assert "for --explain only" in error
