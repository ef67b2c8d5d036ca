"""Load a feed for `ingest` and `generate`: products, the images behind their links, cut-outs, and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from clickscape.catalog import feeds
from clickscape.catalog.addresses import Network
from clickscape.catalog.checking import is_remote
from clickscape.catalog.cutout_file import CutProduct, cut_product, model_digest
from clickscape.catalog.feed_report import FeedReport, FeedReportBuilder, FeedWarning, Skipped
from clickscape.catalog.matting import check_model
from clickscape.catalog.remote import Fetched, fetch
from clickscape.compute.engines import HERE, map_items
from clickscape.config import ComputeConfig
from clickscape.errors import ConfigError, FeedError, ImageError
from clickscape.files import sweep
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Product

STAGE = "download"
CUTTING = "cut-outs"
CUT_SECONDS, CUT_MEMORY = 900.0, 2_000_000_000
"""Seconds that the photos of one product may take in a worker, and bytes that it may, whatever decoders do."""

_REMEDY = "Correct the link, or leave such rows out with --skip-bad-rows"


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """How a feed is read: its format (None: recognized by the content), and what is done about links and bad rows."""

    format: str | None = None
    allow_remote: bool = False
    skip_bad_rows: bool = False
    network: Network | None = None


@dataclass(frozen=True, slots=True)
class LoadedFeed:
    """The products of a feed, every image a file, and what its rows lacked.

    `photos`: the photo that a product's cut-out was made of, `places`: the row that it stands in, both by its id.
    """

    products: list[Product]
    report: FeedReport
    photos: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)


def check_source(
    workspace: Path | None, catalog: Path | None, *, options: FeedOptions | None = None, matting: Path | None = None
) -> None:
    """Raise ConfigError unless `generate` gets one of a workspace and a catalog file, and options that fit it."""
    if (workspace is None) == (catalog is None):
        raise ConfigError("give either a workspace or --catalog, and not both: clickscape generate --catalog my.csv")
    if workspace is not None and (matting is not None or (options or FeedOptions()) != FeedOptions()):
        raise ConfigError(
            "--format, --allow-remote, --skip-bad-rows and --matting are for a --catalog; a workspace has its cut-outs"
        )


def load_feed(feed: Path, *, cache: Path, options: FeedOptions | None = None) -> Stage[LoadedFeed]:
    """Read `feed` and fetch what it links to into `cache`.

    FeedError for the first bad row, and so is an image that cannot be fetched; or, where bad rows are skipped, only
    when none is left.
    """
    options = options or FeedOptions()
    builder = FeedReportBuilder()
    found: list[tuple[str, Product]] = []
    for row in feeds.iterate(
        feed, format=options.format, allow_remote=options.allow_remote, skip_bad_rows=options.skip_bad_rows
    ):
        if row.product is None:
            builder.add_skipped(row.place, row.problem)
        else:
            found.append((row.place, row.product))
            builder.add_warnings(*row.warnings)
    places = [place for place, _ in found]
    found = list(zip(places, feeds.own_photos([product for _, product in found]), strict=True))
    links = [image for _, product in found for image in (product.image, *product.more_images) if is_remote(image)]
    fetched = yield from download(links, cache=cache, options=options)
    products: list[Product] = []
    for place, product in found:
        problem = _problem(product, fetched)
        if problem and not options.skip_bad_rows:
            raise FeedError(f"{feed}, {place}: {problem}. {_REMEDY}.")
        if problem:
            builder.add_skipped(place, problem)
        else:
            products.append(_with_files(product, fetched))
            builder.add_product(*_photos_left_out(product, place, fetched))
    report = builder.build()
    if not products:
        first = report.skipped[0]
        raise FeedError(f"{feed}: every row was left out; the first, {first.place}: {first.reason}")
    return LoadedFeed(products, report, places={product.product_id: place for place, product in found})


def load_cut_out(
    feed: Path,
    *,
    cache: Path,
    folder: Path,
    options: FeedOptions | None = None,
    matting: Path | None = None,
    workers: int = 1,
    compute: ComputeConfig = HERE,
) -> Stage[LoadedFeed]:
    """Load `feed` and cut every product out into `folder`; returns the products with the cut-out as their image.

    `matting`: an ONNX model for photos without alpha. Of several photos of a product the best cut-out is taken. One
    whose photo kills a worker, or takes too much in it, cannot be cut out; a single process is this one. Raises what
    `load_feed` raises, ModelError when the model cannot be used, and ImageError for the first product of whose
    photos none can be cut out; or, where bad rows are skipped, only when that is all of them.
    """
    skip_bad = options is not None and options.skip_bad_rows
    if matting is not None:
        check_model(matting)
    loaded = yield from load_feed(feed, cache=cache, options=options)
    total = len(loaded.products)
    cut = partial(cut_product, folder=folder, matting=matting, model=model_digest(matting) if matting else "")
    sweep(folder)
    cuts: list[CutProduct] = []
    yield Progress(CUTTING, 0, total, "cutting out products")
    memory = 0 if matting else CUT_MEMORY  # a model takes what it takes
    for one in map_items(
        cut, loaded.products, compute=compute if total > 1 else HERE, workers=workers, seconds=CUT_SECONDS,
        memory=memory, lost=_lost, folder=folder,
    ):  # fmt: skip
        if one.problem and not skip_bad:
            raise ImageError(f"product {one.product.product_id!r}: {one.problem} Or pass --skip-bad-rows.")
        cuts.append(one)
        yield Progress(CUTTING, len(cuts), total, "cutting out products")
    products = [replace(one.product, image=str(one.file)) for one in cuts if not one.problem]
    skipped = [
        Skipped(f"{loaded.places[one.product.product_id]}, product {one.product.product_id!r}", one.problem)
        for one in cuts
        if one.problem
    ]
    if skipped and not products:
        raise ImageError(f"every product was left out; the first, {skipped[0].place}: {skipped[0].reason}")
    report = loaded.report
    report = replace(report, products=len(products), skipped=(*report.skipped, *skipped))
    photos = {one.product.product_id: one.product.image for one in cuts if not one.problem}
    return LoadedFeed(products, report, photos, loaded.places)


def _lost(product: Product, reason: str) -> CutProduct:
    return CutProduct(product, Path(), f"{product.image}: the process that cut it out {reason}. Scale it down.")


def download(links: Sequence[str], *, cache: Path, options: FeedOptions) -> Stage[dict[str, Fetched]]:
    """Fetch what is behind the links into `cache`; returns what came of each."""
    fetched: dict[str, Fetched] = {}
    if not links:
        return fetched
    total = len(set(links))
    yield Progress(STAGE, 0, total, "fetching images")
    for one in fetch(links, folder=cache, network=options.network):
        fetched[one.url] = one
        yield Progress(STAGE, len(fetched), total, "fetching images")
    return fetched


def _problem(product: Product, fetched: dict[str, Fetched]) -> str:
    """Why the product has no picture, or ""."""
    if not is_remote(product.image) or not fetched[product.image].problem:
        return ""
    link = product.image if len(product.image) <= 120 else f"{product.image[:117]}…"
    return (
        f"the image of product {product.product_id!r} cannot be fetched from {link}: {fetched[product.image].problem}"
    )


def _with_files(product: Product, fetched: dict[str, Fetched]) -> Product:
    def file(image: str) -> str:
        return str(fetched[image].path or "") if is_remote(image) else image

    image = file(product.image)
    more = dict.fromkeys(file(photo) for photo in product.more_images)
    return replace(product, image=image, more_images=tuple(path for path in more if path and path != image))


def _photos_left_out(product: Product, place: str, fetched: dict[str, Fetched]) -> list[FeedWarning]:
    return [
        FeedWarning("photo left out", place, product.product_id, f"{photo}: {fetched[photo].problem}")
        for photo in product.more_images
        if is_remote(photo) and fetched[photo].problem
    ]
