"""Stage `generate`: descriptions, images and a page to look at, for a workspace or for a bare catalog file.

`generation.select` decides which descriptions are rendered. Every image passes the fidelity gate: one that does not is
rendered again with another seed, and a creative that never passes is left out and named. The catalog is drawn in blocks
(`generate_block`), here or in workers. A product is finished when its own JSON file is there; a killed run goes on with
the next product, and one that cannot be drawn is named and tried again by the next run. What a workspace's models made
also enters its table `creatives`, as drafts whose ids say which work they come from: the same work again adds nothing,
and a new model, photo or rule of the brand gives new creatives beside the old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from clickscape.catalog.publishable import product_digest
from clickscape.compute.engines import HERE, Failure, map_items
from clickscape.config import Settings
from clickscape.errors import LaunchError
from clickscape.files import sweep
from clickscape.generation.audience import product_for
from clickscape.generation.creative_record import MANIFEST, ProductRecord, Summary
from clickscape.generation.gallery import doubtful
from clickscape.generation.select import CandidateSelector
from clickscape.regular_files import check_ours, inside, locked
from clickscape.stages.generate_block import Block, BrandOptions, Recipe, blocks, draw_block, unfinished
from clickscape.stages.load_feed import FeedOptions, check_source, load_cut_out
from clickscape.stages.optimize import STAGE as OPTIMIZE
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Product
from clickscape.workspace import Workspace, fingerprint

STAGE = "generate"
_MARK = ".clickscape"  # the lock, by which the next start also knows the folder if this one is killed
_PER_PROCESS = 64
"""Products that a process more is worth its start for, in which it loads models."""


def generate(
    *,
    workspace: Path | None,
    catalog: Path | None,
    out: Path,
    overrides: Mapping[str, int | str | None] | None = None,
    options: FeedOptions | None = None,
    matting: Path | None = None,
    brand_options: BrandOptions | None = None,
    now: datetime | None = None,
    workers: int = 1,
    keep_doubtful: bool = False,
    only: Collection[str] | None = None,
) -> Stage[Summary]:
    """Render `keep` images for every product of a workspace or of a catalog file into `out`; returns what lies there.

    With a workspace, its own prompt and reward models are used when it has them, and its table `creatives` gains what
    is new; a bare catalog gets the shipped model, and the descriptions whose scenes promise most (`suitability`).
    `overrides` are settings of `generate`; `options` say how a catalog file is read, and `matting` is an ONNX model
    that cuts its photos out in `workers` processes, as in `ingest`. `brand_options` says which brand rules hold, `now`
    (default: the clock) which seasons may be shown. Products whose cut-out is doubtful get no ad and are listed, unless
    `keep_doubtful`. `only`: ids of the workspace's products that are drawn, None for all. Raises ConfigError unless
    exactly one source is given, and WorkspaceError while another process writes to `out`.
    """
    check_source(workspace, catalog, options=options, matting=matting)
    check_ours(out, marks=(MANIFEST, _MARK))
    sweep(out, deep=False)
    brand_options, now = brand_options or BrandOptions(), now or datetime.now(UTC)
    if workspace is None:
        assert catalog is not None
        # What is wrong with the other arguments is told before a feed is read.
        parts = _open(None, Settings(), out, overrides or {}, brand_options, now)
        loading = load_cut_out(
            catalog,
            cache=inside(out, "remote"),
            folder=inside(out, "cutouts"),
            options=options,
            matting=matting,
            workers=workers,
        )
        read = next(loading)  # the feed is; nothing is written before
        with locked(out / _MARK):
            yield read
            loaded = yield from loading
            made = yield from _generate(
                None, loaded.products, parts, workers=workers, keep_doubtful=keep_doubtful, photos=loaded.photos
            )
        return replace(made, skipped=(*loaded.report.left_out, *made.skipped))
    shop = Workspace.open(workspace)
    with shop.lock():
        products = shop.products()
        parts = _open(shop, shop.settings, out, overrides or {}, brand_options, now)
        products = [one for one in products if only is None or one.product_id in only]
        if _knows_audiences(shop, overrides or {}):
            products = [product_for(one, brand_options.audience) for one in products]
        with locked(out / _MARK):
            return (yield from _generate(shop, products, parts, workers=workers, keep_doubtful=keep_doubtful))


def _knows_audiences(shop: Workspace, overrides: Mapping[str, int | str | None]) -> bool:
    """Whether the workspace's own writer learned what audiences like, and writes here."""
    if shop.settings.generate.overridden(overrides).model or (optimized := shop.newest(OPTIMIZE)) is None:
        return False
    _, manifest = optimized
    return bool(manifest.config.get("audiences")) and not manifest.result.get("refused")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a generation is made with: the recipe, what it opens to, and the fingerprint of all that changes work."""

    recipe: Recipe
    selector: CandidateSelector
    work: str


def _open(
    shop: Workspace | None,
    settings: Settings,
    out: Path,
    overrides: Mapping[str, int | str | None],
    brand_options: BrandOptions,
    now: datetime,
) -> _Parts:
    config = settings.generate.overridden(overrides)
    recipe = Recipe(None if shop is None else shop.path, settings, config, brand_options, now, out.absolute())
    selector = recipe.open()
    return _Parts(recipe, selector, recipe.work(selector))


def _generate(
    shop: Workspace | None,
    products: Sequence[Product],
    parts: _Parts,
    *,
    workers: int,
    keep_doubtful: bool,
    photos: Mapping[str, str] | None = None,
) -> Stage[Summary]:
    recipe, selector = parts.recipe, parts.selector
    digests = {product.product_id: product_digest(product) for product in products}
    works = {product_id: fingerprint([parts.work, digest]) for product_id, digest in digests.items()}
    doubts = {} if keep_doubtful else doubtful(products)
    doubts = {one.product_id: doubts[one.product_id] for one in products
              if one.product_id in doubts and selector.own_backdrop(one) is None}  # fmt: skip
    for product_id in doubts:
        del works[product_id]
    folder = recipe.folder
    records = folder.finished(works)
    finished = frozenset(records)
    failures: dict[str, Failure] = {}
    titles = {product.product_id: product.title for product in products}
    yield Progress(STAGE, len(records), len(works))
    open_blocks = [one for one in blocks(products, works, selector=selector) if one.works.keys() - finished]
    for product_id, made in _drawn(open_blocks, parts, workers=workers):
        if isinstance(made, Failure):
            failures[product_id] = made
        elif product_id in finished:
            continue
        else:
            records[product_id] = made
        yield Progress(STAGE, len(records) + len(failures), len(works), titles[product_id])
    if failures and not records:
        raise next(iter(failures.values())).error
    records = {product_id: records[product_id] for product_id in works if product_id in records}
    size, language = selector.config.size, selector.style.rules.language
    drawn = records.keys() - finished
    shown = [product for product in products if product.product_id not in failures]
    folder.finish(shown, records, drawn=drawn, photos=photos or {}, size=size, language=language)
    if shop is not None:
        known = {creative.creative_id for creative in shop.creatives()}
        new = [
            one.creative(image=str(shop.image_path(one.creative_id)), product_digest=digests[one.product_id])
            for record in records.values()
            for one in record.ads
            if one.creative_id not in known
        ]
        if new:  # the others keep their status
            shop.append_creatives(new)
    failed = tuple(f"{product_id}: {one.reason}" for product_id, one in failures.items())
    return replace(Summary.of(records, keep=selector.config.keep), skipped=tuple(doubts.values()), failed=failed)


@dataclass(frozen=True, slots=True)
class _LostBlock:
    """A block that ended its worker twice, and how."""

    block: Block
    reason: str


_Made = tuple[str, ProductRecord | Failure]
_Outcome = Iterable[_Made] | _LostBlock


def _drawn(open_blocks: Sequence[Block], parts: _Parts, *, workers: int) -> Iterator[_Made]:
    """Yield what comes of each product, by the engine of the settings; fewer blocks than two are drawn here."""
    recipe, compute = parts.recipe, parts.recipe.settings.compute
    if compute.engine == "process":
        workers = min(workers, max(1, sum(len(one.works) for one in open_blocks) // _PER_PROCESS))
    if len(open_blocks) < 2:
        compute, workers = HERE, 1
    here = compute.engine == "process" and workers == 1
    draw: Callable[[Block], _Outcome] = partial(draw_block, recipe=recipe, selector=parts.selector if here else None)
    left = open_blocks
    while left:
        found = map_items(draw, left, compute=compute, workers=workers, chunk=1, lost=_LostBlock, folder=recipe.out)
        again = []
        for one in found:
            if not isinstance(one, _LostBlock):
                yield from one
            elif (at := unfinished(one.block, recipe=recipe)) is not None:
                yield at, Failure(LaunchError(f"the process that drew it {one.reason}."))
                again.append(one.block.without(at))
        left = [block for block in again if block.works]
