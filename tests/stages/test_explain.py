"""`clickscape clicks --explain`: what it says is what was kept, on a terminal of 100 columns and as JSON."""

from __future__ import annotations

import json

from tests.factory import clickscape

from clickscape.stages.clicks import read_pairs
from clickscape.workspace import Workspace


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
