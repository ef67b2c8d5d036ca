"""Merchants' formats: Google's XML and TSV, both Shopify CSVs, Meta's CSV and JSON Lines, and hostile XML."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.catalog.conftest import feed_error, write

from clickscape.catalog import feeds
from clickscape.catalog.formats import FORMATS, detect
from clickscape.catalog.formats.merchant import availability
from clickscape.catalog.formats.text import plain_text
from clickscape.types import Product

RSS = """<?xml version="1.0" encoding="UTF-8"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0">
<channel>
<title>A shop</title><link>https://shop.example</link><description>All of it</description>
{items}
</channel>
</rss>
"""
ITEM = """<item>
<title>Shoe as RSS calls it</title>
<g:id>A-1</g:id>
<g:title>Running Shoe &amp;amp; Sock</g:title>
<g:description><![CDATA[<p>Light &amp; <b>soft</b>.</p><script>alert(1)</script>]]></g:description>
<link>https://shop.example/a-1</link>
<g:image_link>a.png</g:image_link>
<g:additional_image_link>b.png</g:additional_image_link>
<g:additional_image_link>c.png</g:additional_image_link>
<g:google_product_category>Apparel &amp; Accessories &gt; Shoes</g:google_product_category>
<g:product_type>Sport &gt; Running</g:product_type>
<g:price>1,299.00 EUR</g:price>
<g:sale_price>999.00 EUR</g:sale_price>
<g:availability>in stock</g:availability>
<g:brand>Aurora</g:brand><g:gtin>04006381333931</g:gtin><g:color>red</g:color><g:size>42</g:size>
<g:material>mesh</g:material><g:gender>unisex</g:gender><g:age_group>adult</g:age_group>
<g:condition>new</g:condition><g:item_group_id>A</g:item_group_id>
<g:shipping><g:country>DE</g:country><g:price>4.90 EUR</g:price></g:shipping>
</item>"""


def _shoe(shop: Path, **changes: object) -> Product:
    values: dict[str, object] = {
        "product_id": "A-1",
        "title": "Running Shoe & Sock",
        "category": ("Apparel & Accessories", "Shoes"),
        "attributes": {
            "color": "red",
            "size": "42",
            "material": "mesh",
            "brand": "Aurora",
            "gender": "unisex",
            "age_group": "adult",
            "condition": "new",
            "availability": "in_stock",
            "gtin": "04006381333931",
            "item_group_id": "A",
            "sale_price": "999.00 EUR",
            "google_product_category": "Apparel & Accessories > Shoes",
            "product_type": "Sport > Running",
            "link": "https://shop.example/a-1",
            "description": "Light & soft.",
        },
        "price": 1299.0,
        "currency": "EUR",
        "image": str(shop / "a.png"),
        "more_images": (str(shop / "b.png"), str(shop / "c.png")),
    }
    return Product(**{**values, **changes})  # type: ignore[arg-type]


def test_google_rss_is_read(shop: Path) -> None:
    path = write(shop, RSS.format(items=ITEM))
    assert detect(path) == "google-xml"
    (product,) = feeds.read(path)
    assert product == _shoe(shop)
    # the prompt model reads the first few attributes: those that can be seen come first
    assert list(product.attributes)[:6] == ["color", "size", "material", "brand", "gender", "age_group"]


@pytest.mark.parametrize("namespace", ["http://purl.org/atom/ns#", "http://www.w3.org/2005/Atom"])
def test_google_atom_is_read(shop: Path, namespace: str) -> None:
    entry = ITEM.replace("item>", "entry>").replace("<title>", "<id>tag:shop.example,2026:1</id><title>")
    entry = entry.replace("<link>https://shop.example/a-1</link>", '<link href="https://shop.example/a-1"/>')
    text = f'<feed xmlns="{namespace}" xmlns:g="http://base.google.com/ns/1.0"><title>A shop</title>{entry}</feed>'
    assert feeds.read(write(shop, text)) == [_shoe(shop)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "iso-8859-1"])
def test_the_encoding_that_xml_declares_is_used(shop: Path, encoding: str) -> None:
    item = "<item><g:id>1</g:id><title>Café</title><g:image_link>a.png</g:image_link></item>"
    text = RSS.format(items=item).replace("UTF-8", encoding.removesuffix("-sig"))
    assert feeds.read(write(shop, text.encode(encoding)))[0].title == "Café"


def test_google_tsv_with_spaces_in_column_names_is_read(shop: Path) -> None:
    head = "id\ttitle\tdescription\timage link\tadditional image link\tproduct type\tprice\tavailability\tcolor\n"
    path = write(
        shop, head + 'A\t"The ""Mug"""\t<p>Blue</p>\ta.png\tb.png,c.png\tHome > Mugs\t5 EUR\tOut of stock\tblue\n'
    )
    assert detect(path) == "google-tsv"
    attributes = {"color": "blue", "availability": "out_of_stock", "product_type": "Home > Mugs", "description": "Blue"}
    more = (str(shop / "b.png"), str(shop / "c.png"))
    expected = Product("A", 'The "Mug"', ("Home", "Mugs"), attributes, (), 5.0, "EUR", str(shop / "a.png"), more)
    assert feeds.read(path) == [expected]


def test_a_category_number_is_no_path(shop: Path) -> None:
    item = ITEM.replace("Apparel &amp; Accessories &gt; Shoes", "187")
    (product,) = feeds.read(write(shop, RSS.format(items=item)))
    assert product.category == ("Sport", "Running")
    assert product.attributes["google_product_category"] == "187"


OLD_SHOPIFY = """Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,\
Option2 Name,Option2 Value,Variant SKU,Variant Grams,Variant Inventory Tracker,Variant Inventory Qty,\
Variant Inventory Policy,Variant Price,Variant Compare At Price,Variant Barcode,Image Src,Image Position,\
Image Alt Text,Variant Image,Status
tee,Classic Tee,<p>Soft &amp; <em>warm</em></p>,Aurora,Apparel > Shirts,Shirt,"cotton, new",TRUE,Colour,Red,Size,M,\
TEE-R-M,200,shopify,5,deny,20.00,25.00,'123,a.png,2,Front,,active
tee,,,,,,,,,Blue,,M,,200,shopify,0,deny,20.00,,,c.png,1,,b.png,
tee,,,,,,,,,,,,,,,,,,,,b.png,3,,,
mug,Mug,,Aurora,,Kitchen,,TRUE,Title,Default Title,,,MUG,300,,,continue,9.99,,,a.png,1,,,active
"""
NEW_SHOPIFY = """Title,URL handle,Description,Vendor,Product category,Type,Tags,Published on online store,Status,SKU,\
Barcode,Option1 name,Option1 value,Option1 Linked To,Option2 name,Option2 value,Price,Compare-at price,\
Inventory tracker,Inventory quantity,Continue selling when out of stock,Product image URL,Image position,\
Image alt text,Variant image URL
Classic Tee,tee,<p>Soft &amp; <em>warm</em></p>,Aurora,Apparel > Shirts,Shirt,"cotton, new",TRUE,Active,TEE-R-M,\
'123,Colour,Red,,Size,M,20.00,25.00,shopify,5,DENY,a.png,2,Front,
,tee,,,,,,,,,,,Blue,,,M,20.00,,shopify,0,DENY,c.png,1,,b.png
,tee,,,,,,,,,,,,,,,,,,,,b.png,3,,
Mug,mug,,Aurora,,Kitchen,,TRUE,Active,MUG,,Title,Default Title,,,,9.99,,,,CONTINUE,a.png,1,,
"""


def _tees(shop: Path) -> list[Product]:
    a, b, c = (str(shop / f"{name}.png") for name in "abc")
    shared = {"brand": "Aurora", "item_group_id": "tee", "product_type": "Shirt", "description": "Soft & warm"}
    apparel, tags = ("Apparel", "Shirts"), ("cotton", "new")
    red = {"color": "Red", "size": "M", "availability": "in_stock", "gtin": "123", "sale_price": "20.00"}
    blue = {"color": "Blue", "size": "M", "availability": "out_of_stock"}
    mug = {"brand": "Aurora", "availability": "in_stock", "item_group_id": "mug", "product_type": "Kitchen"}
    return [
        Product("TEE-R-M", "Classic Tee", apparel, {**red, **shared}, tags, 25.0, None, c, (a,)),
        Product("tee-blue-m", "Classic Tee", apparel, {**blue, **shared}, tags, 20.0, None, b, (a,)),
        Product("MUG", "Mug", ("Kitchen",), mug, (), 9.99, None, a),
    ]


@pytest.mark.parametrize("text", [OLD_SHOPIFY, NEW_SHOPIFY], ids=["older", "newer"])
def test_both_generations_of_shopify_give_a_product_per_variant(shop: Path, text: str) -> None:
    path = write(shop, text)
    assert detect(path) == "shopify"
    assert feeds.read(path) == _tees(shop)


def test_a_variant_without_a_photo_is_not_shown_as_another_variant(shop: Path) -> None:
    text = (
        "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Image Src,Variant Image\n"
        "mug,Mug,Color,Blue,M-B,b.png,b.png\nmug,,,Red,M-R,a.png,\nmug,,,Green,M-G,c.png,c.png\n"
    )
    shown = {one.product_id: (Path(one.image).name, one.more_images) for one in feeds.read(write(shop, text))}
    assert shown == {"M-B": ("b.png", ()), "M-R": ("a.png", ()), "M-G": ("c.png", ())}


def test_variants_of_one_item_group_keep_their_own_photos(shop: Path) -> None:
    text = "id\ttitle\timage_link\tadditional_image_link\titem_group_id\tgtin\n"
    text += "1\tRed mug\ta.png\tb.png,c.png\tmug\t\n2\tBlue mug\tb.png\ta.png,c.png\tmug\t\n3\tCup\tc.png\ta.png\t\t\n"
    more = [[Path(photo).name for photo in product.more_images] for product in feeds.read(write(shop, text))]
    assert more == [["c.png"], ["c.png"], ["a.png"]]


def test_empty_rows_and_those_of_mere_checkboxes_part_no_variants(shop: Path) -> None:
    first, *rest = OLD_SHOPIFY.splitlines()
    columns = first.split(",")
    residue = "," * (len(columns) - 1) + "\n" + ",".join("FALSE" if name == "Published" else "" for name in columns)
    text = f"\n{residue}\n".join([first, *rest])
    assert feeds.read(write(shop, text)) == _tees(shop)


def test_a_draft_is_not_for_sale(shop: Path) -> None:
    products = feeds.read(write(shop, NEW_SHOPIFY.replace("Active,MUG", "Draft,MUG")))
    assert [product.attributes["availability"] for product in products] == ["in_stock", "out_of_stock", "discontinued"]


def test_a_handle_that_comes_back_later_has_no_title(shop: Path) -> None:
    lines = OLD_SHOPIFY.splitlines()
    path = write(shop, "\n".join([lines[0], lines[1], lines[4], lines[2]]))
    assert "line 4: no title for 'tee'. Keep the rows of a handle together" in feed_error(path)


def test_shopify_json_lines_are_read(shop: Path) -> None:
    import csv
    import io

    rows = list(csv.DictReader(io.StringIO(NEW_SHOPIFY)))
    assert feeds.read(write(shop, "\n".join(map(json.dumps, rows)), "feed.jsonl")) == _tees(shop)


def test_a_row_that_cannot_be_read_parts_no_variants(shop: Path) -> None:
    lines = OLD_SHOPIFY.splitlines()
    lines.insert(2, lines[1].replace("TEE-R-M", "TEE-X") + ",one,too,many")
    first, bad, *rest = feeds.iterate(write(shop, "\n".join(lines)), skip_bad_rows=True)
    assert [row.problem.partition(".")[0] for row in (first, bad)] == ["more than 25 fields", ""]
    variants = [row.product for row in (bad, *rest) if row.product is not None]
    assert feeds.own_photos(variants) == _tees(shop)


def test_an_item_of_very_many_elements_keeps_each(shop: Path) -> None:
    many = "<g:tags>a</g:tags>" * 80_000
    item = f"<item><g:id>1</g:id><title>Mug</title><g:image_link>a.png</g:image_link>{many}</item>"
    path = write(shop, RSS.format(items=item))
    (row,) = FORMATS["google-xml"](path)
    assert row.columns["tags"] == ["a"] * 80_000


META = """# Required | The id,# Required | The title,,,,,,,,
id,title,description,availability,condition,price,link,image[0].url,image[1].url,fb_product_category,"product_tags[0]",\
product_tags[1]
M-1,Mug,A mug,in stock,new,9.99 USD,https://shop.example/m,a.png,b.png,home > mugs,summer,new
"""


def test_meta_csv_with_comments_and_flattened_columns_is_read(shop: Path) -> None:
    path = write(shop, META)
    assert detect(path) == "meta"
    (product,) = feeds.read(path)
    assert (product.image, product.more_images) == (str(shop / "a.png"), (str(shop / "b.png"),))
    assert (product.tags, product.price, product.currency) == (("summer", "new"), 9.99, "USD")
    assert product.category == ("home", "mugs")
    assert product.attributes["availability"] == "in_stock"


def test_meta_image_lists_are_read_as_json_and_labels_as_text(shop: Path) -> None:
    text = "id,title,availability,image,internal_label,fb_product_category\n"
    text += (
        """1,Mug,in stock,"[{""url"": ""a.png""}, {""url"": ""c.png"", ""tag"": [""x""]}]","['summer','new']",99\n"""
    )
    (product,) = feeds.read(write(shop, text))
    assert (product.image, product.more_images) == (str(shop / "a.png"), (str(shop / "c.png"),))
    assert product.tags == ("summer", "new")
    assert product.category == ()


def test_json_lines_with_any_column_names_are_read(shop: Path) -> None:
    rows = [
        {"id": 1, "title": "Mug", "g:image link": "a.png", "additional_image_link": ["b.png", "c.png"], "gtin": "4"},
        {"product_id": "2", "name": "Cup", "image": "a.png", "brand": "Aurora", "attributes": {"use": "tea"}},
        {"product_id": "3", "title": "AT&amp;T", "image": "a.png", "more_images": ["b.png"]},
    ]
    first, second, third = feeds.read(write(shop, "\n".join(map(json.dumps, rows)), "feed.ndjson"))
    assert (first.product_id, first.attributes) == ("1", {"gtin": "4"})
    assert first.more_images == (str(shop / "b.png"), str(shop / "c.png"))
    assert (second.title, second.attributes) == ("Cup", {"use": "tea", "brand": "Aurora"})
    assert (third.title, third.more_images) == ("AT&T", (str(shop / "b.png"),))


def test_a_forced_format_wins_over_the_content(shop: Path) -> None:
    path = write(shop, "id,title,image_link,brand,product_type\n1,Tom &amp; Co,a.png,Aurora,Home > Mugs\n")
    assert feeds.read(path)[0].category == ("Home", "Mugs")
    plain = feeds.read(path, format="csv")[0]
    assert (plain.title, plain.category) == ("Tom & Co", ())
    assert plain.attributes == {"brand": "Aurora", "product_type": "Home > Mugs"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\x1f\x8b\x08rest", "packed with gzip, expected a catalog. Unpack it first"),
        (b"PK\x03\x04rest", "packed with ZIP"),
        ("id,title,image\n1,Mug,a.png\n".encode("utf-16-le"), "line 1: a NUL byte, so this is no text in UTF-8. Save"),
        (b"id,title,image\n1,Mu\0g,a.png\n", "line 2: a NUL byte"),
        (b"id,title,image\n1,Mug," + b"x" * 2_000_000, "line 2: over 1,000,000 characters in one line"),
        (b"id,title,image\n1,Mug,a.png\n2,Caf\xe9,a.png\n", "line 3: byte 0xe9 is not UTF-8"),
        (b"<html><body>Not found</body></html>", "line 1: the root element is <html>, expected <rss> or <feed>"),
        (b"<rss><channel></channel></rss>", "the catalog is empty"),
        (b"", "the catalog is empty"),
    ],
)
def test_files_that_are_not_a_feed_are_refused(shop: Path, text: bytes, message: str) -> None:
    assert message in feed_error(write(shop, text))


LAUGHS = '<!DOCTYPE rss [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">{more}]>\n'.format(
    more="".join(f'<!ENTITY {new} "{f"&{old};" * 8}">' for old, new in zip("bcdefgh", "cdefghi", strict=True))
)
TITLED = "<item><g:id>1</g:id><title>{title}</title><g:image_link>a.png</g:image_link></item>"


def _doctype(text: str, doctype: str) -> str:
    head, _, rest = text.partition("?>\n")
    return f"{head}?>\n{doctype}{rest}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_doctype(RSS.format(items=TITLED.format(title="&i;")), LAUGHS), "line 2: a document type declaration"),
        (
            _doctype(RSS.format(items=TITLED.format(title="&x;")), '<!DOCTYPE rss [<!ENTITY x SYSTEM "secret.txt">]>'),
            "a document type declaration",
        ),
        (_doctype(RSS.format(items=TITLED), '<!DOCTYPE rss SYSTEM "http://127.0.0.1:9/x.dtd">'), "Remove it"),
        (
            _doctype(RSS.format(items=TITLED), LAUGHS).replace("UTF-8", "UTF-16").encode("utf-16"),
            "a document type declaration",
        ),
        (RSS.format(items="<item><a>" + "<b>" * 300 + "</b>" * 300 + "</a></item>"), "line 5: broken XML (Excessive"),
        (RSS.format(items="\n<item>\n<g:id>1</g:title></item>"), "line 7: broken XML (Opening and ending tag mismatch"),
        (RSS.format(items=TITLED.format(title="a\0b")), "line 5: broken XML (Invalid character"),
        (RSS.format(items=TITLED.format(title="a&shop;b")), "line 5: broken XML (Entity 'shop' not defined)"),
        (RSS.format(items=TITLED.format(title="Café")).encode("latin-1"), "line 5: broken XML (Invalid bytes"),
        (RSS.format(items=TITLED.format(title="Mug")).partition("</channel>")[0], "line 6: broken XML (Premature end"),
        (RSS.format(items="<g:x>y</g:x>" * 400_000), "no <item> or <entry> ends within 4,000,000 bytes"),
        (RSS.format(items=f"<item>{'<g:x>y</g:x>' * 400_000}</item>"), "no <item> or <entry> ends within"),
    ],
    ids=["laughs", "external", "dtd", "utf-16", "deep", "broken", "nul", "entity", "latin", "cut", "rubbish", "giant"],
)
def test_hostile_or_broken_xml_is_one_error_with_its_line(shop: Path, text: str | bytes, message: str) -> None:
    (shop / "secret.txt").write_text("the secret")
    found = feed_error(write(shop, text, "feed.xml"))
    assert message in found
    assert "secret" not in found.removeprefix(str(shop))


def test_an_unknown_entity_in_the_middle_loses_no_row_silently(shop: Path) -> None:
    # the parser goes on as if nothing had happened when the next block happens to begin with an element
    item = "<item><id>{number}</id><title>{title}</title><link>x</link><image_link>a.png</image_link></item>\n"
    text = "".join(item.format(number=n, title="a&shop;b" if n == 900 else "Mug") for n in range(3000))
    assert "line 901: broken XML (Entity 'shop'" in feed_error(write(shop, f"<rss><channel>{text}</channel></rss>"))


def test_an_xml_row_is_named_with_its_line(shop: Path) -> None:
    items = TITLED.format(title="Mug") + "\n" + TITLED.replace(">1<", ">2<").format(title=" ")
    assert "line 6: product '2' has no title" in feed_error(write(shop, RSS.format(items=items)))


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Soft<br/>and <b>warm</b></p>", "Soft and warm"),
        ("a<script>alert('x')</script>b<style>p{}</style>c<!-- d -->e", "abce"),
        ("&lt;p&gt;Tom &amp;amp; Jerry&lt;/p&gt;", "Tom & Jerry"),
        ("5 < 6 &amp; 7 > 3", "5 < 6 & 7 > 3"),
        ("<img src=x onerror=alert(1)>Mug", "Mug"),
        ("&lt;script&gt;alert(1)&lt;/script&gt;Mug", "Mug"),
        ("plain", "plain"),
    ],
)
def test_html_in_descriptions_becomes_text(html: str, text: str) -> None:
    assert plain_text(html) == text


@given(st.text(st.sampled_from("<>&;/abc!-'\" lgtscriptamp"), max_size=60))
@settings(max_examples=300)
def test_any_html_ends_without_a_script(html: str) -> None:
    assert "<script>" not in plain_text(html).lower()


@pytest.mark.parametrize("text", ["in stock", "In_Stock", "IN-STOCK", "https://schema.org/InStock", "instock"])
def test_availability_is_spelled_one_way(text: str) -> None:
    assert availability(text) == "in_stock"


def test_an_unknown_availability_stays_as_it_came() -> None:
    assert availability("sold in shops") == "sold in shops"
