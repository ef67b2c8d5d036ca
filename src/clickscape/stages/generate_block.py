"""Blocks of a catalog, which `generate` draws independently of each other: here, or in workers.

Within a block the products come one after the other, because what one shows the next one avoids; a product is finished
when its own JSON file is there, so a block that is begun again goes on with the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from clickscape import config as configuration
from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.catalog.cutout import open_cutout
from clickscape.compute.device import best_device
from clickscape.compute.engines import Failure, attempt, is_of_item
from clickscape.compute.shards import portable
from clickscape.config import GenerateConfig, Settings
from clickscape.config.brand import Brand, BrandFile
from clickscape.gates.style import Style
from clickscape.generation.ad_folder import AdFolder
from clickscape.generation.creative_record import ProductRecord, render_selection
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.select import CHUNK, CandidateSelector, Selection, select
from clickscape.render import provenance
from clickscape.render.renderer import Renderer, SceneRenderer
from clickscape.stages.relevance import relevance_gate
from clickscape.stages.reward import start_source, writer_source
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.server import ServerWriter
from clickscape.workspace import Workspace, fingerprint, save_ad

NEIGHBORS = 64
"""Products of a block whose scenes are chosen by what they promise: each avoids what those before it show."""

_TRIAL = Product("trial", "Blue Mug", ("Home",))


@dataclass(frozen=True, slots=True)
class BrandOptions:
    """Whom ads are for, and which brand rules hold: those of clickscape.toml, or of a file instead."""

    brand: Path | None = None
    audience: str = ""
    placement: str = ""

    def style(self, brand: Brand, *, renderer: Renderer, rewards: Path | None) -> Style:
        """Read the rules that hold as the renderer does; `brand` is what clickscape.toml says.

        rewards: folder of a reward model, which is asked for an audience that has no rules.
        """
        if self.brand is not None:
            brand = configuration.read(self.brand, BrandFile).brand
        learned: tuple[str, ...] = ()
        if rewards is not None and self.audience and self.audience not in brand.audience:
            learned = reward_room.load(rewards).audiences
        rules = brand.rules(audience=self.audience, placement=self.placement, learned=learned)
        return Style.of(rules, reads_scenes=isinstance(renderer, SceneRenderer))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What ads are made with and where they go, with no model loaded: a worker opens it for itself."""

    workspace: Path | None
    settings: Settings
    config: GenerateConfig
    brand_options: BrandOptions
    now: datetime
    out: Path

    @property
    def shop(self) -> Workspace | None:
        """The workspace, unlocked: the process that draws or started the workers has its lock."""
        return None if self.workspace is None else Workspace(self.workspace)

    @property
    def folder(self) -> AdFolder:
        """The folder of ads."""
        return AdFolder(self.out, image_path=None if self.shop is None else self.shop.image_path)

    @property
    def _rewards(self) -> Path | None:
        found = None if self.shop is None else self.shop.models / "reward"
        return found if found is not None and found.exists() else None

    @property
    def _source(self) -> Path | str:
        return self.config.model or ("tiny" if self.shop is None else _writer_source(self.shop))

    def open(self) -> CandidateSelector:
        """Load the models; whatever is wrong with an argument is told here."""
        settings, shop, device = self.settings, self.shop, best_device()
        renderer = render.load(self.config.renderer, settings=settings)
        rewards = self._rewards
        style = self.brand_options.style(settings.brand, renderer=renderer, rewards=rewards)
        writer = _writer(self._source, self.config)
        reward = None if rewards is None else reward_room.load(rewards, device=device).with_given_scenes()
        if reward is not None and self.brand_options.audience:
            reward = reward.for_audience(self.brand_options.audience)
        gate = None
        if shop is not None and settings.relevance.use != "off":
            gate = relevance_gate(shop, shop.products(), device=device)
        pipeline = AdPipeline(renderer, reward, relevance=gate)
        return CandidateSelector(writer, pipeline, self.config, style, self.now)

    def work(self, selector: CandidateSelector) -> str:
        """Return the fingerprint of all that changes what is drawn: of models, their content."""
        settings = self.settings
        asked: dict[str, object] = {}
        if self.shop is not None and settings.relevance.use != "off":
            asked = {
                "relevance": settings.relevance.model_dump(),
                "by": start_source(self.shop, settings.optimize),
            }
        rewards = self._rewards
        return fingerprint(
            {
                **{name: fingerprint(value) for name, value in asked.items()},
                "config": self.config.model_dump(),
                "brand": selector.style.rules.model_dump(),
                "for": [self.brand_options.audience, self.brand_options.placement],
                "fidelity": settings.fidelity.model_dump(),
                "renderer": selector.pipeline.renderer.recipe,
                "writer": fingerprint(self._source),
                "reward": None if rewards is None else fingerprint(rewards),
                "provenance": provenance.NAMESPACES["clickscape"],
            }
        )


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbors in the catalog, and those of them that get ads: id → fingerprint of what decides them."""

    products: tuple[Product, ...]
    works: Mapping[str, str]

    def without(self, product_id: str) -> Block:
        """Return the block with one product fewer to draw; the others are still written for beside it."""
        return Block(self.products, {name: work for name, work in self.works.items() if name != product_id})


def blocks(products: Sequence[Product], works: Mapping[str, str], *, selector: CandidateSelector) -> Iterator[Block]:
    """Yield the catalog in blocks as large as products heed each other, but for those without anything to draw.

    A limit of [generate] max_same_scene holds for the whole catalog, which is one block then.
    """
    size = NEIGHBORS if selector.chooses_by_suitability else CHUNK
    if selector.config.max_same_scene:
        size = max(len(products), 1)
    for start in range(0, len(products), size):
        some = tuple(products[start : start + size])
        wanted = {one.product_id: works[one.product_id] for one in some if one.product_id in works}
        if wanted:
            yield Block(some, wanted)


def draw_block(
    block: Block, *, recipe: Recipe, selector: CandidateSelector | None = None
) -> Iterator[tuple[str, ProductRecord | Failure]]:
    """Draw what is not finished of a block; yields each product's id with its record, or with what drawing it raised.

    selector: what the recipe opens to, None in a worker, which opens it once.
    """
    selector = selector or _opened(recipe)
    done = recipe.folder.finished(block.works)
    yield from done.items()
    scenes = Counter(one.scene_key for record in done.values() for one in record.ads)
    products = block.products
    wanted = [one.product_id for one in products if one.product_id in block.works.keys() - done.keys()]
    while wanted:
        try:
            for selection in select(selector, products, scenes=scenes, wanted=frozenset(wanted)):
                record = _drawn(selection, recipe=recipe, selector=selector, work=block.works[wanted[0]])
                scenes.update(one.scene_key for one in record.ads)
                yield wanted.pop(0), record
            return
        except Exception as error:  # the next one is begun anew, as after a kill
            if not is_of_item(error):
                raise
            torn = _unreadable(products) or {wanted[0]: Failure(portable(error))}
            yield from ((name, torn[name]) for name in wanted if name in torn)
            wanted = [name for name in wanted if name not in torn]
            # Neighbors are written for together: without its picture a product does not keep them from theirs.
            products = tuple(replace(one, image="") if one.product_id in torn else one for one in products)


def unfinished(block: Block, *, recipe: Recipe) -> str | None:
    """Return the product that a worker was at when it died: the first without a record."""
    done = recipe.folder.finished(block.works)
    return next((one.product_id for one in block.products if one.product_id in block.works.keys() - done.keys()), None)


def _unreadable(products: Sequence[Product]) -> dict[str, Failure]:
    """What is wrong with the cut-outs that cannot be opened, by product."""
    found = {one.product_id: attempt(open_cutout, one.image) for one in products if one.image}
    return {name: one for name, one in found.items() if isinstance(one, Failure)}


@lru_cache(maxsize=1)
def _opened(recipe: Recipe) -> CandidateSelector:
    """One of each model per worker, for all its blocks."""
    return recipe.open()


def _drawn(selection: Selection, *, recipe: Recipe, selector: CandidateSelector, work: str) -> ProductRecord:
    """Draw and save the pictures of a product, then its record: with it, the product is finished."""
    shop, folder = recipe.shop, recipe.folder
    made = render_selection(
        selection,
        selector=selector,
        fidelity=recipe.settings.fidelity,
        mark="" if shop is None else f"-{work[:8]}",
        audience=recipe.brand_options.audience,
        placement=recipe.brand_options.placement,
    )
    for creative, rendering in made:
        if rendering is not None:
            if shop is not None:
                save_ad(shop, creative.creative_id, rendering.image, rendering.product_mask)
            folder.save_picture(creative, rendering)
    record = ProductRecord(work, tuple(creative for creative, _ in made), selection.refused)
    folder.save_record(selection.product.product_id, record)
    return record


def _writer_source(shop: Workspace) -> Path | str:
    optimized = shop.models / "prompt"
    return optimized if optimized.exists() else writer_source(shop)


def _writer(source: Path | str, config: GenerateConfig) -> Writer | ServerWriter:
    if str(source).startswith(("http://", "https://")):
        writer = vlm.connect(str(source), model=config.server_model)
        writer.describe(_TRIAL, n=1)  # a wrong address, key or name of a model is told now
        return writer
    return vlm.load(source, device=best_device())
