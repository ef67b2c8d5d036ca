"""Stage `generate`: descriptions, images and a page to look at, for a workspace or for a bare catalog file.

`generation.select` decides which descriptions are rendered. Every image passes the fidelity gate: one that does not is
rendered again with another seed, and a creative that never passes is left out and named. A product is finished when its
own JSON file is there; a killed run goes on with the next product. What a workspace's models made also enters its table
`creatives`, as drafts whose ids say which work they come from: the same work again adds nothing, and a new model, photo
or rule of the brand gives new creatives beside the old ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from clickscape import config as configuration
from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.catalog.publishable import product_digest
from clickscape.compute.device import best_device
from clickscape.config import FidelityConfig, GenerateConfig, Settings
from clickscape.config.brand import Brand, BrandFile
from clickscape.files import sweep
from clickscape.gates.style import Style
from clickscape.generation.ad_folder import AdFolder
from clickscape.generation.creative_record import MANIFEST, ProductRecord, Summary, render_selection
from clickscape.generation.gallery import doubtful
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.select import CandidateSelector, select
from clickscape.regular_files import check_ours, inside, locked
from clickscape.render import provenance
from clickscape.render.renderer import Renderer, SceneRenderer
from clickscape.stages.load_feed import FeedOptions, check_source, load_cut_out
from clickscape.stages.optimize import relevance_gate
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.reward import start_source, writer_source
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.server import ServerWriter
from clickscape.workspace import Workspace, fingerprint

STAGE = "generate"
_MARK = ".clickscape"  # the lock, by which the next start also knows the folder if this one is killed
_TRIAL = Product("trial", "Blue Mug", ("Home",))


@dataclass(frozen=True, slots=True)
class BrandOptions:
    """Which brand rules hold: those of clickscape.toml, or of a file instead; for an audience, for a placement."""

    brand: Path | None = None
    audience: str = ""
    placement: str = ""

    def style(self, brand: Brand, *, renderer: Renderer) -> Style:
        """Read the rules that hold as the renderer does; `brand` is what clickscape.toml says."""
        if self.brand is not None:
            brand = configuration.read(self.brand, BrandFile).brand
        rules = brand.rules(audience=self.audience, placement=self.placement)
        return Style.of(rules, reads_scenes=isinstance(renderer, SceneRenderer))


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
        parts = _open(None, [], Settings(), overrides or {}, brand_options, now)
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
                None, loaded.products, parts, out=out, keep_doubtful=keep_doubtful, photos=loaded.photos
            )
        return replace(made, skipped=(*loaded.report.left_out, *made.skipped))
    shop = Workspace.open(workspace)
    with shop.lock():
        products = shop.products()
        parts = _open(shop, products, shop.settings, overrides or {}, brand_options, now)
        products = [one for one in products if only is None or one.product_id in only]
        with locked(out / _MARK):
            return (yield from _generate(shop, products, parts, out=out, keep_doubtful=keep_doubtful))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a generation is made with, and the fingerprint of all that changes its work."""

    selector: CandidateSelector
    fidelity: FidelityConfig
    rules: BrandOptions
    work: str


def _open(
    shop: Workspace | None,
    products: Sequence[Product],
    settings: Settings,
    overrides: Mapping[str, int | str | None],
    brand_options: BrandOptions,
    now: datetime,
) -> _Parts:
    config = settings.generate.overridden(overrides)
    renderer = render.load(config.renderer, settings=settings)
    style = brand_options.style(settings.brand, renderer=renderer)
    source = config.model or ("tiny" if shop is None else _writer_source(shop))
    writer = _writer(source, config)
    rewards = shop.models / "reward" if shop is not None and (shop.models / "reward").exists() else None
    gated = shop if settings.relevance.use != "off" else None
    asked: dict[str, object] = {}
    if gated is not None:
        asked = {"relevance": settings.relevance.model_dump(), "by": start_source(gated, settings.optimize)}
    work = fingerprint(
        {
            **{name: fingerprint(value) for name, value in asked.items()},
            "config": config.model_dump(),
            "brand": style.rules.model_dump(),
            "for": [brand_options.audience, brand_options.placement],
            "fidelity": settings.fidelity.model_dump(),
            "renderer": renderer.recipe,
            "writer": fingerprint(source),  # of a folder, its content
            "reward": None if rewards is None else fingerprint(rewards),
            "provenance": provenance.NAMESPACES["clickscape"],
        }
    )
    reward = None if rewards is None else reward_room.load(rewards, device=best_device()).with_given_scenes()
    gate = None if gated is None else relevance_gate(gated, products, device=best_device())
    selector = CandidateSelector(writer, AdPipeline(renderer, reward, relevance=gate), config, style, now)
    return _Parts(selector, settings.fidelity, brand_options, work)


def _generate(
    shop: Workspace | None,
    products: Sequence[Product],
    parts: _Parts,
    *,
    out: Path,
    keep_doubtful: bool,
    photos: Mapping[str, str] | None = None,
) -> Stage[Summary]:
    selector = parts.selector
    digests = {product.product_id: product_digest(product) for product in products}
    works = {product_id: fingerprint([parts.work, digest]) for product_id, digest in digests.items()}
    doubts = {} if keep_doubtful else doubtful(products)
    doubts = {one.product_id: doubts[one.product_id] for one in products
              if one.product_id in doubts and selector.own_backdrop(one) is None}  # fmt: skip
    for product_id in doubts:
        del works[product_id]
    folder = AdFolder(out, image_path=None if shop is None else shop.image_path)
    records = folder.finished(works)
    scenes = Counter(one.scene_key for record in records.values() for one in record.ads)
    yield Progress(STAGE, len(records), len(works))
    wanted = frozenset(works) - set(records)
    for selection in select(selector, products, scenes=scenes, wanted=wanted):
        product_id = selection.product.product_id
        made = render_selection(
            selection,
            selector=selector,
            fidelity=parts.fidelity,
            mark="" if shop is None else f"-{works[product_id][:8]}",
            audience=parts.rules.audience,
            placement=parts.rules.placement,
        )
        for creative, rendering in made:
            if rendering is not None:
                if shop is not None:
                    shop.save_image(creative.creative_id, rendering.image)
                    shop.save_mask(creative.creative_id, rendering.product_mask)
                folder.save_picture(creative, rendering)
        record = ProductRecord(works[product_id], tuple(creative for creative, _ in made), selection.refused)
        folder.save_record(product_id, record)
        records[product_id] = record
        scenes.update(one.scene_key for one in record.ads)
        yield Progress(STAGE, len(records), len(works), selection.product.title)
    records = {product_id: records[product_id] for product_id in works}
    size, language = selector.config.size, selector.style.rules.language
    folder.finish(products, records, drawn=wanted, photos=photos or {}, size=size, language=language)
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
    return replace(Summary.of(records, keep=selector.config.keep), skipped=tuple(doubts.values()))


def _writer_source(shop: Workspace) -> Path | str:
    optimized = shop.models / "prompt"
    return optimized if optimized.exists() else writer_source(shop)


def _writer(source: Path | str, config: GenerateConfig) -> Writer | ServerWriter:
    if str(source).startswith(("http://", "https://")):
        writer = vlm.connect(str(source), model=config.server_model)
        writer.describe(_TRIAL, n=1)  # a wrong address, key or name of a model is told now
        return writer
    return vlm.load(source, device=best_device())
