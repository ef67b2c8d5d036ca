"""From a feed to products with files: links fetched from a server on this machine, and nothing lost silently."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from tests.factory import clickscape
from tests.stages.dying_worker import dies_of_bombs

from clickscape.catalog.addresses import Network
from clickscape.errors import FeedError, ImageError
from clickscape.stages.generate import generate
from clickscape.stages.ingest import ingest
from clickscape.stages.load_feed import FeedOptions, load_feed
from clickscape.stages.progress import Progress, run
from clickscape.workspace import Workspace


def _feed(folder: Path, *rows: str) -> Path:
    path = folder / "feed.tsv"
    head = "id\ttitle\timage_link\tadditional_image_link\tprice\tavailability\tbrand\tproduct_type\tdescription"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


ROW = "{id}\tBall\t{image}\t{more}\t5 EUR\tin stock\tAurora\tToys\tRound"


def test_links_become_files_and_further_photos_are_carried_into_the_workspace(
    tmp_path: Path, web: tuple[str, Network]
) -> None:
    url, network = web
    more = f"{url}/side.png,{url}/gone.png,{url}/ball.png"
    shop = Workspace.create(tmp_path / "shop")
    told: list[Progress] = []
    feed = _feed(tmp_path, ROW.format(id="A", image=f"{url}/ball.png", more=more))
    options = FeedOptions(allow_remote=True, network=network)
    made = run(ingest(shop, feed, options=options), on_progress=told.append)
    (product,) = made.products
    assert product.image == str(shop.cutout_path("A"))
    (side,) = product.more_images
    assert Path(side).parent == shop.remote / "files"
    assert Path(side).read_bytes() == (tmp_path / "web" / "side.png").read_bytes()
    assert [(step.done, step.total) for step in told if step.stage == "download"] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert made.report.counts == {"photo left out": 1}
    (line,) = made.report.lines()
    assert "photo left out: 1 of 1 rows, line 2 (" in line
    assert "gone.png: the server answers 404" in line
    assert shop.products() == made.products


def test_an_image_that_cannot_be_fetched_is_an_error_or_a_row_left_out(
    tmp_path: Path, web: tuple[str, Network]
) -> None:
    url, network = web
    rows = [ROW.format(id="A", image=f"{url}/gone.png", more=""), ROW.format(id="B", image=f"{url}/ball.png", more="")]
    feed = _feed(tmp_path, *rows)
    with pytest.raises(FeedError, match=r"line 2: the image of product 'A' cannot be fetched .*404.*--skip-bad-rows"):
        run(load_feed(feed, cache=tmp_path / "cache", options=FeedOptions(allow_remote=True, network=network)))
    options = FeedOptions(allow_remote=True, skip_bad_rows=True, network=network)
    loaded = run(load_feed(feed, cache=tmp_path / "cache", options=options))
    assert [product.product_id for product in loaded.products] == ["B"]
    (left_out,) = loaded.report.skipped
    assert left_out.place == "line 2"
    assert "404" in left_out.reason
    (tmp_path / "web" / "ball.png").unlink()  # what was fetched is used from the cache
    assert len(run(load_feed(feed, cache=tmp_path / "cache", options=options)).products) == 1


def test_nothing_is_fetched_without_being_asked(tmp_path: Path, web: tuple[str, Network]) -> None:
    url, network = web
    feed = _feed(tmp_path, ROW.format(id="A", image=f"{url}/ball.png", more=""))
    with pytest.raises(FeedError, match="remote images need --allow-remote"):
        run(load_feed(feed, cache=tmp_path / "cache", options=FeedOptions(network=network)))
    assert not (tmp_path / "cache").exists()


def test_a_feed_of_bad_rows_only_is_an_error(tmp_path: Path) -> None:
    feed = _feed(tmp_path, ROW.format(id="A", image="gone.png", more=""))
    with pytest.raises(FeedError, match="every row was left out; the first, line 2: "):
        run(load_feed(feed, cache=tmp_path / "cache", options=FeedOptions(skip_bad_rows=True)))


def test_the_command_line_reports_what_was_missing_and_what_was_left_out(
    tmp_path: Path, web: tuple[str, Network]
) -> None:
    (tmp_path / "web" / "ball.png").rename(tmp_path / "ball.png")
    lines = [
        "id,title,image,price",
        "A,Ball,ball.png,5",
        "B,Ball,ball.png,",
        "C,Cube,gone.png,1 EUR",
        ",Cone,ball.png,1",
    ]
    (tmp_path / "feed.csv").write_text("\n".join(lines) + "\n")
    Workspace.create(tmp_path / "shop")
    code, _, err = clickscape("ingest", "shop", "feed.csv", cwd=tmp_path)
    assert code == 2
    assert "line 4" in err
    code, out, err = clickscape("ingest", "shop", "feed.csv", "--skip-bad-rows", cwd=tmp_path)
    assert code == 0, err
    told = out.splitlines()
    assert told[0] == "2 products"
    assert "no category: 2 of 4 rows, line 2, line 3" in told
    assert "no price: 1 of 4 rows, line 3" in told
    assert "no currency: 1 of 4 rows, line 2" in told
    assert "duplicate title: 1 of 4 rows, line 3 (as in line 2)" in told
    assert any(line.startswith("left out, line 4: image of product 'C':") for line in told)
    assert "left out, line 5: no product id. Fill the column product_id." in told


def test_the_command_line_never_connects_to_a_private_address(tmp_path: Path, web: tuple[str, Network]) -> None:
    url, _ = web
    (tmp_path / "feed.csv").write_text(f"id,title,image\nA,Ball,{url}/ball.png\nB,Cube,http://127.0.0.1/b.png\n")
    for command in (["ingest", "shop", "feed.csv"], ["generate", "--catalog", "feed.csv", "--out", "ads"]):
        Workspace.create(tmp_path / "shop", exist_ok=True)
        code, out, err = clickscape(*command, "--allow-remote", cwd=tmp_path)
        assert (code, out) == (2, "")
        assert f"line 2: the image of product 'A' cannot be fetched from {url}/ball.png: port" in err
        assert not (tmp_path / "shop" / "catalog" / "products.parquet").exists()
    (tmp_path / "feed.csv").write_text("id,title,image\nB,Cube,http://127.0.0.1/b.png\n")
    code, _, err = clickscape("ingest", "shop", "feed.csv", "--allow-remote", cwd=tmp_path)
    assert "it leads to 127.0.0.1, which is not a public address" in err


@pytest.mark.slow
def test_a_product_whose_picture_kills_a_worker_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickscape.stages.load_feed.cut_product", dies_of_bombs)
    image = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(image).ellipse((8, 8, 56, 56), fill="red")
    image.save(tmp_path / "ball.png")
    titles = ["Ball", "Cube", "Bomb", "Ring"]
    rows = [ROW.format(id=title, image="ball.png", more="").replace("\tBall\t", f"\t{title}\t") for title in titles]
    feed = _feed(tmp_path, *rows)
    shop = Workspace.create(tmp_path / "shop")
    with pytest.raises(ImageError, match=r"product 'Bomb': .*ball\.png: the process that cut it out was killed"):
        run(ingest(shop, feed, workers=2))
    loaded = run(ingest(shop, feed, workers=2, options=FeedOptions(skip_bad_rows=True)))
    assert [product.product_id for product in loaded.products] == ["Ball", "Cube", "Ring"]
    (skipped,) = loaded.report.skipped
    assert "'Bomb'" in skipped.place
    assert "was killed, perhaps for want of memory" in skipped.reason
    summary = run(
        generate(
            workspace=None,
            catalog=feed,
            out=tmp_path / "ads",
            overrides={"size": 64, "keep": 1, "per_product": 1},
            options=FeedOptions(skip_bad_rows=True),
            workers=2,
        )
    )
    assert summary.images + len(summary.left_out) == 3
    assert [one.place for one in summary.skipped] == ["line 4, product 'Bomb'"]
