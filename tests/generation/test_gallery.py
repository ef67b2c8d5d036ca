"""The page of `generate` shows every product with its cut-out, what is doubtful about it, and its ads."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from clickscape.catalog.cutout import Cutout
from clickscape.catalog.cutout_file import save
from clickscape.catalog.flags import Flags
from clickscape.generation.creative_record import ProductRecord
from clickscape.generation.gallery import CUTOUTS, gallery, save_preview
from clickscape.generation.select import Refusal
from clickscape.types import Product

HOSTILE = '"><script>alert(1)</script><img src=x onerror=y>'


def product(folder: Path, product_id: str, title: str, *, confidence: float, flags: Flags) -> Product:
    file = folder / f"{len(list(folder.iterdir()))}.png"
    save(Cutout(np.full((80, 60, 4), 255, np.uint8), "plain", confidence, flags), file)
    return Product(product_id, title, image=str(file))


def test_products_show_their_cut_out_their_flags_and_that_they_have_no_ad(tmp_path: Path) -> None:
    mug = product(tmp_path, "A 17", "Blue Mug", confidence=0.5, flags=Flags(glass=True))
    ball = product(tmp_path, HOSTILE, HOSTILE, confidence=1.0, flags=Flags())
    for one in (mug, ball):
        save_preview(one, tmp_path / CUTOUTS)
    records = {one.product_id: ProductRecord("", (), ()) for one in (mug, ball)}
    page = gallery([mug, ball], records, previews=tmp_path / CUTOUTS, size=96, language="en")
    first, second = page.split("<section>")[1:]
    assert "Blue Mug" in first
    assert "product A 17" in first
    assert "doubtful cut-out" in first
    assert "glass:" in first
    assert 'class="flag"' not in second
    assert page.count("No ad") == 2
    assert "Look at the cut-outs of 1 of 2 products" in page
    assert "<script" not in page
    assert "onerror=y>" not in page
    for source in re.findall(r'<img src="([^"]+)"', page):
        assert source.startswith(f"{CUTOUTS}/")
    assert (tmp_path / CUTOUTS / "A 17.png").is_file()


def test_a_product_without_an_ad_says_why_and_what_to_do(tmp_path: Path) -> None:
    mug = product(tmp_path, "A 17", "Blue Mug", confidence=1.0, flags=Flags())
    refused = [Refusal("A 17", text, "content", "cure", "promises <b>health</b>") for text in ("a cure", "cure all")]
    page = gallery([mug], {"A 17": ProductRecord("", (), tuple(refused))}, previews=tmp_path, size=96, language="en")
    assert "2 descriptions not drawn, by content: promises &lt;b&gt;health&lt;/b&gt;" in page


def test_what_was_left_out_for_its_cut_out_comes_first_with_its_photo_and_the_remedy(tmp_path: Path) -> None:
    ball = product(tmp_path, "1", "Ball", confidence=1.0, flags=Flags())
    mug = product(tmp_path, "2", "Mug", confidence=0.5, flags=Flags(badge=True))
    Image.new("RGB", (90, 90), "red").save(tmp_path / "photo.jpg")
    save_preview(ball, tmp_path / CUTOUTS)
    save_preview(mug, tmp_path / CUTOUTS, photo=str(tmp_path / "photo.jpg"))
    records = {"1": ProductRecord("", (), ())}
    page = gallery([ball, mug], records, previews=tmp_path / CUTOUTS, size=96, language="en")
    first, second = page.split("<section>")[1:]
    assert "Mug" in first
    assert "--keep-doubtful" in first
    assert "a badge over the photo was left out" in first
    (shown,) = re.findall(r'alt="Photo of Mug"', first)
    assert shown
    assert "Photo of" not in second
    assert "--keep-doubtful" not in second
