"""Ads for an audience: the product says whom it is for."""

from __future__ import annotations

from clickscape.generation.audience import audience_of, original_id, product_for, products_for
from clickscape.types import Product
from clickscape.vlm.prompts import product_text

MUG = Product("m", "Blue Mug", ("Home",), {"color": "blue"})
HAT = Product("h", "Red Hat", ("Clothing",))


def test_a_writer_reads_whom_the_ad_is_for_before_anything_that_could_push_it_out() -> None:
    told = product_for(Product("m", "Mug", ("Home",), {f"key {n}": "value" for n in range(9)}), "teens")
    assert product_text(told).startswith("Title: Mug. Category: Home. Attributes: shown to teens, key 0 value")
    assert audience_of(told) == "teens"
    assert audience_of(MUG) == ""
    assert product_for(MUG, "") is MUG


def test_every_product_is_for_everybody_and_for_each_audience() -> None:
    found = products_for([MUG, HAT], ("old", "young"))
    assert [(original_id(one.product_id), audience_of(one)) for one in found] == [
        ("m", ""), ("m", "old"), ("m", "young"), ("h", ""), ("h", "old"), ("h", "young"),
    ]  # fmt: skip
    assert len({one.product_id for one in found}) == 6
    assert found[0] is MUG
    assert products_for([MUG], ()) == [MUG]
