"""Stage `generate`: descriptions, images and a page to look at, for a workspace or for a bare catalog file.

`generation.select` decides which descriptions are rendered. Every image passes the fidelity gate: one that does not is
rendered again with another seed, and a creative that never passes is left out and named. A product is finished when its
own JSON file is there; a killed run goes on with the next product. What a workspace's models made also enters its table
`creatives`, as drafts whose ids say which work they come from: the same work again adds nothing, and a new model, photo
or rule of the brand gives new creatives beside the old ones.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from PIL import Image

from clickscape import config as configuration
from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.brand import Brand, BrandFile
from clickscape.catalog.publishable import product_digest
from clickscape.compute.device import best_device
from clickscape.config import FidelityConfig, GenerateConfig, Settings
from clickscape.errors import ConfigError, WorkspaceError
from clickscape.files import sweep
from clickscape.gates.style import Style
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.retry import GatedRendering, fidelity_limits, refusal_reason, render_candidates
from clickscape.generation.select import CandidateSelector, SelectedCandidate, Selection, scene_key, select
from clickscape.regular_files import inside
from clickscape.render import provenance
from clickscape.render.language.parse import explain
from clickscape.render.provenance import Provenance
from clickscape.render.renderer import Renderer, Rendering
from clickscape.stages.generation_record import LEFT_OUT, MANIFEST, REFUSED, CreativeRecord, Summary
from clickscape.stages.load_feed import FeedOptions, load_cut_out
from clickscape.stages.optimize import relevance_gate
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.reward import start_source, writer_source
from clickscape.types import Creative, Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.server import ServerWriter
from clickscape.workspace import Workspace, atomic_file, file_name, fingerprint

STAGE = "generate"
PAGE = "index.html"
_TRIAL = Product("trial", "Blue Mug", ("Home",))


@dataclass(frozen=True, slots=True)
class BrandOptions:
    """Which brand rules hold: those of clickscape.toml, or of a file instead; for an audience, for a placement."""

    brand: Path | None = None
    audience: str = ""
    placement: str = ""

    def style(self, brand: Brand) -> Style:
        """Read the rules that hold; `brand` is what clickscape.toml says."""
        if self.brand is not None:
            brand = configuration.read(self.brand, BrandFile).brand
        return Style.of(brand.rules(audience=self.audience, placement=self.placement))


@dataclass(frozen=True, slots=True)
class _Job:
    """What is the same for every product of a run."""

    selector: CandidateSelector
    brand_options: BrandOptions
    renderer_settings: Mapping[str, object]
    fidelity: FidelityConfig
    out: Path
    shop: Workspace | None
    work: str


def generate(
    *,
    workspace: Path | None,
    catalog: Path | None,
    out: Path,
    overrides: Mapping[str, int | str] | None = None,
    options: FeedOptions | None = None,
    matting: Path | None = None,
    brand_options: BrandOptions | None = None,
) -> Stage[Summary]:
    """Render `keep` images for every product of a workspace or of a catalog file into `out`; returns what lies there.

    With a workspace, its own prompt and reward models are used when it has them, and its table `creatives` gains what
    is new; a bare catalog gets the shipped model, and the first descriptions that the renderer understands. `overrides`
    are settings of `generate`; `options` say how a catalog file is read, and `matting` is an ONNX model that cuts its
    photos out, as in `ingest`. `brand_options` says which brand rules hold. Raises ConfigError unless exactly one
    source is given.
    """
    if (workspace is None) == (catalog is None):
        raise ConfigError("give either a workspace or --catalog, and not both: clickscape generate --catalog my.csv")
    if out.exists() and not out.is_dir():
        raise WorkspaceError(f"{out} is a file, expected a folder for the images. Choose another --out.")
    sweep(out, deep=False)
    brand_options = brand_options or BrandOptions()
    if workspace is None:
        assert catalog is not None
        parts = _open(
            None, Settings(), overrides or {}, brand_options
        )  # what is wrong here is told before a feed is read
        loaded = yield from load_cut_out(
            catalog, cache=inside(out, "remote"), folder=inside(out, "cutouts"), options=options, matting=matting
        )
        made = yield from _generate(None, loaded.products, Settings(), parts, out=out, brand_options=brand_options)
        return replace(made, skipped=loaded.report.skipped)
    if matting is not None or (options is not None and options != FeedOptions()):
        raise ConfigError(
            "--format, --allow-remote, --skip-bad-rows and --matting are for a --catalog; a workspace has its cut-outs"
        )
    shop = Workspace.open(workspace)
    with shop.lock():
        found, settings = shop.products(), shop.settings
        parts = _open(shop, settings, overrides or {}, brand_options)
        return (yield from _generate(shop, found, settings, parts, out=out, brand_options=brand_options))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a generation is made with, opened before a feed is read: every argument that names one is right by then."""

    config: GenerateConfig
    style: Style
    renderer: Renderer
    source: Path | str
    writer: Writer | ServerWriter


def _open(
    shop: Workspace | None, settings: Settings, overrides: Mapping[str, int | str], brand_options: BrandOptions
) -> _Parts:
    config, style = _settings(settings.generate, overrides), brand_options.style(settings.brand)
    source = config.writer or ("tiny" if shop is None else _writer_source(shop))
    return _Parts(config, style, render.load(config.renderer, settings=settings), source, _writer(source, config))


def _generate(
    shop: Workspace | None,
    products: Sequence[Product],
    settings: Settings,
    parts: _Parts,
    *,
    out: Path,
    brand_options: BrandOptions,
) -> Stage[Summary]:
    config, style, renderer = parts.config, parts.style, parts.renderer
    rewards = shop.models / "reward" if shop is not None and (shop.models / "reward").exists() else None
    drawn_with = renderer.recipe
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
            "renderer": drawn_with,
            "writer": fingerprint(parts.source),  # of a folder, its content
            "reward": None if rewards is None else fingerprint(rewards),
            "provenance": provenance.NAMESPACES["clickscape"],
        }
    )
    reward = None if rewards is None else reward_room.load(rewards, device=best_device())
    gate = None if gated is None else relevance_gate(gated, products, device=best_device())
    pipeline = AdPipeline(renderer, reward, relevance=gate)
    selector = CandidateSelector(parts.writer, pipeline, config, style)
    job = _Job(selector, brand_options, drawn_with, settings.fidelity, out, shop, work)
    out.mkdir(parents=True, exist_ok=True)
    finished = [product for product in products if _finished(job, product)]
    scenes = Counter(scene for product in finished for scene in _scenes(_read(product, out=out)["made"]))
    wanted = frozenset(product.product_id for product in products) - {product.product_id for product in finished}
    done = len(finished)
    yield Progress(STAGE, done, len(products))
    for selection in select(selector, products, scenes=scenes, wanted=wanted):
        made = [asdict(one) for one in _render(job, selection)]
        record = {
            "work": _work(job, selection.product),
            "made": made,
            "refused": [asdict(one) for one in selection.refused],
        }
        _write(_record(selection.product, out=out), json.dumps(record))
        scenes.update(_scenes(made))
        done += 1
        yield Progress(STAGE, done, len(products), selection.product.title)
    records = [_read(product, out=out) for product in products]
    everything = [row for record in records for row in record["made"]]
    refused = [row for record in records for row in record["refused"]]
    rows, left_out = [row for row in everything if row["image"]], [row for row in everything if not row["image"]]
    _write(out / MANIFEST, _lines(rows))
    _write_any(out / LEFT_OUT, left_out)
    _write_any(out / REFUSED, refused)
    environment = Environment(loader=PackageLoader("clickscape.stages", "."), autoescape=True)
    page = environment.get_template("gallery.html.j2")
    _write(out / PAGE, page.render(rows=rows, size=config.size, language=style.rules.language))
    if shop is not None:
        _append(shop, rows, {product.product_id: product for product in products})
    return Summary(
        len(rows),
        sum(bool(row["gate"]["rejected"]) for row in rows),
        tuple(map(_left_out, left_out)),
        edited=sum(bool(row["written"]) for row in rows),
        refused=Counter(row["rule"] for row in refused),
        met={rule: sum(row["rules"][rule] for row in rows) for rule in (rows[0]["rules"] if rows else ())},
        empty=tuple(
            product.product_id for product, record in zip(products, records, strict=True) if not record["made"]
        ),
    )


def _left_out(row: Mapping[str, Any]) -> str:
    return f"{row['creative_id']}: {refusal_reason(row['gate'])}"


def _append(shop: Workspace, rows: Sequence[Mapping[str, Any]], products: Mapping[str, Product]) -> None:
    """Add those of the rows to the table `creatives` that are not there yet; the others keep their status."""
    known = {creative.creative_id for creative in shop.creatives()}
    new = [
        Creative(
            creative_id=row["creative_id"],
            product_id=row["product_id"],
            image=str(shop.image_path(row["creative_id"])),
            description=row["description"],
            scene=json.loads(row["scene"] or "{}"),
            renderer=row["renderer"],
            model_id=row["model_id"],
            seed=row["seed"],
            product_digest=product_digest(products[row["product_id"]]),
        )
        for row in rows
        if row["creative_id"] not in known
    ]
    if new:
        shop.append_creatives(new)


def _writer_source(shop: Workspace) -> Path | str:
    optimized = shop.models / "prompt"
    return optimized if optimized.exists() else writer_source(shop)


def _writer(source: Path | str, config: GenerateConfig) -> Writer | ServerWriter:
    if str(source).startswith(("http://", "https://")):
        writer = vlm.connect(str(source), model=config.writer_model)
        writer.describe(_TRIAL, n=1)  # a wrong address, key or name of a model is told now
        return writer
    return vlm.load(source, device=best_device())


def _settings(settings: GenerateConfig, overrides: Mapping[str, int | str]) -> GenerateConfig:
    wanted = {**settings.model_dump(), **overrides}
    wanted["per_product"] = max(wanted["per_product"], wanted["keep"])
    return GenerateConfig.model_validate(wanted)


def _render(job: _Job, selection: Selection) -> list[CreativeRecord]:
    """Render the selected candidates and save those of which an image passes the fidelity gate."""
    config, renderer = job.selector.config, job.selector.pipeline.renderer
    gated = render_candidates(
        selection.product,
        [one.candidate for one in selection.chosen],
        renderer=renderer,
        size=config.size,
        tries=config.tries,
        limits=fidelity_limits(job.fidelity, source=renderer.digital_source),
    )
    return [
        _recorded(job, selection.product, chosen, found, number)
        for number, (chosen, found) in enumerate(zip(selection.chosen, gated, strict=True), start=1)
    ]


def _recorded(
    job: _Job, product: Product, chosen: SelectedCandidate, found: GatedRendering, number: int
) -> CreativeRecord:
    """Save the image that passed the gate, if any, and return the record of the creative."""
    selector, candidate = job.selector, chosen.candidate
    renderer, drawn, seed = selector.pipeline.renderer, found.rendering, found.seed
    made_by = f"-{_work(job, product)[:8]}" if job.shop is not None else ""
    creative_id = f"{product.product_id}{made_by}-{number}"
    return CreativeRecord(
        creative_id=creative_id,
        product_id=product.product_id,
        title=product.title,
        image="" if drawn is None else _save(job, creative_id, candidate.text, drawn, seed),
        description=candidate.text,
        written=chosen.written if chosen.written != candidate.text else "",
        rules=chosen.met,
        audience=job.brand_options.audience,
        placement=job.brand_options.placement,
        scene="" if drawn is None else drawn.content,
        unknown=() if drawn is None else explain(drawn.unknown),
        renderer=renderer.name,
        renderer_settings=job.renderer_settings,
        digital_source=renderer.digital_source,
        model_id=selector.writer.model_id,
        seed=seed,
        reward=None if selector.pipeline.reward is None else candidate.score,
        gate=found.gate,
    )


def _save(job: _Job, creative_id: str, text: str, drawn: Rendering, seed: int) -> str:
    """Write the labeled PNG, and the creative's picture in the workspace; returns the file's name."""
    if job.shop is not None:
        job.shop.save_image(creative_id, drawn.image)
    origin = Provenance(
        creative_id,
        renderer=job.selector.pipeline.renderer.name,
        model_id=job.selector.writer.model_id,
        source=job.selector.pipeline.renderer.digital_source,
        seed=seed,
        description=text,
    )
    encoded = io.BytesIO()
    Image.fromarray(drawn.image).save(encoded, "PNG")
    name = f"{file_name(creative_id)}.png"
    with atomic_file(job.out / name) as temporary:
        temporary.write_bytes(provenance.embed(encoded.getvalue(), origin))
    return name


def _scenes(made: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the scene of every image that was made of a product."""
    return [scene_key(row["scene"], row["description"]) for row in made if row["image"]]


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _record(product: Product, *, out: Path) -> Path:
    return out / f"{file_name(product.product_id)}.json"


def _work(job: _Job, product: Product) -> str:
    """Fingerprint of what decides a product's creatives: models, settings, its words and its picture."""
    return fingerprint([job.work, product_digest(product)])


def _read(product: Product, *, out: Path) -> dict[str, list[dict[str, Any]]]:
    return json.loads(_record(product, out=out).read_text(encoding="utf-8"))


def _finished(job: _Job, product: Product) -> bool:
    """Whether this very work was done for the product, and its images are still there."""
    path = _record(product, out=job.out)
    if not path.exists():
        return False
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        drawn = [row for row in record["made"] if row["gate"]["passed"]]
        images = [job.out / row["image"] for row in drawn]
        if job.shop is not None:
            images += [job.shop.image_path(row["creative_id"]) for row in drawn]
        return record["work"] == _work(job, product) and all(image.exists() for image in images)
    except (ValueError, KeyError, TypeError):
        return False


def _write_any(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A file of the rows, and no file when there are none."""
    if rows:
        _write(path, _lines(rows))
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
