"""Stage `report`: what the finished stages of a workspace measured, on one page; what was not measured is left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from pydantic import BaseModel

from clickscape import render
from clickscape import report as report_room
from clickscape.errors import LogError, WorkspaceError
from clickscape.json_files import read_json
from clickscape.render.scene import slots_of
from clickscape.report import results
from clickscape.report.records import (
    Ad,
    Advice,
    ElementEffect,
    Gallery,
    GalleryItem,
    LearningCurve,
    NextSteps,
    Provenance,
    Report,
    StageTiming,
)
from clickscape.reward.explain.advice import advise
from clickscape.reward.explain.elements import Credit, credit
from clickscape.simulator import traffic
from clickscape.stages import compare, truth
from clickscape.stages.clicks import read_estimates
from clickscape.stages.split import read as read_split
from clickscape.types import Estimate
from clickscape.workspace import Manifest, Workspace, atomic_file, read_metrics, write_text

PAGE = "report.html"
RECORD = "report.json"
TIMINGS = "timings.json"
GALLERY_SIDE = 480
GALLERY_PRODUCTS = 12
SELECTION = (
    "Shown: the first held-out product of every department in the order of the catalog, then the second ones; "
    "of each model the first description that it wrote, drawn with the same image seed."
)


def report(workspace: Workspace) -> Path:
    """Write report.html and report.json into the workspace and return the page's path."""
    named = ("simulate", "clicks", "reward", "variants", "compare")
    found = {stage: run for stage in named if (run := workspace.newest(stage)) is not None}
    if not found:
        raise WorkspaceError(f"{workspace.path}: no stage with results to report has finished. Run `clickscape clicks "
                             f"{workspace.path.name}` first.")  # fmt: skip
    folders = {stage: folder for stage, (folder, _) in found.items()}
    made = {stage: manifest for stage, (_, manifest) in found.items()}
    simulated = truth.simulation(workspace) is not None
    if not simulated:  # what was measured by true CTRs tells nothing of the log that was counted
        made = {stage: one for stage, one in made.items() if stage not in ("simulate", "compare")}
        judged = made.get("reward")
        if judged is not None and judged.result["true_accuracy"] and "truth" not in judged.inputs:
            del made["reward"]
    examination = traffic.EXAMINATION if simulated else ()
    measured = {stage: manifest.result for stage, manifest in made.items()}
    clicks = results.click_statistics(measured["clicks"], truth=examination) if "clicks" in made else None
    page = Report(
        title="From clicks to better ads" if simulated else workspace.path.name,
        simulated=simulated,
        world=measured["simulate"]["world"] if simulated else None,
        created=max((one.ended for one in made.values() if one.ended), default=None),
        next_steps=_next_steps(workspace) if "clicks" in made else None,
        gallery=_gallery(workspace, folders["compare"]) if "compare" in made else None,
        accuracy=results.reward_accuracy(measured["reward"], simulated=simulated) if "reward" in made else None,
        learning=_curves(folders["variants"]) if "variants" in made else (),
        comparison=results.comparison(measured["compare"]) if "compare" in made else None,
        clicks=clicks,
        timing=_timing(workspace),
        provenance=_provenance(made) if made else None,
        notes=results.notes(simulated=simulated, clicks=clicks),
    )
    html = report_room.render(page, workspace=workspace.path)
    with workspace.lock():
        report_room.save(page, workspace.path / RECORD)
        write_text(workspace.path / PAGE, html)
    return workspace.path / PAGE


def _next_steps(workspace: Workspace) -> NextSteps | None:
    """What the clicks advise; None where they compare no two scenes of a product."""
    creatives = {one.creative_id: one for one in workspace.creatives()}
    products = {one.product_id: one for one in workspace.products()}
    scenes = {name: slots for name, one in creatives.items() if (slots := slots_of(one)) is not None}
    departments = {name: product.department for name, product in products.items()}
    try:
        found = credit(read_estimates(workspace), scenes=scenes, departments=departments)
    except LogError:
        return None
    of_creative = {name: departments.get(one.product_id, "") for name, one in creatives.items()}
    advice, unknown = advise(found, scenes=scenes, departments=of_creative)
    return NextSteps(
        advice=tuple(
            Advice(
                department=one.department,
                earns=tuple(map(_effect, one.earns)),
                costs=tuple(map(_effect, one.costs)),
                product=products[creatives[one.creative_id].product_id].title,
                ad=Ad(
                    image=Path(creatives[one.creative_id].image).relative_to(workspace.path).as_posix(),
                    description=creatives[one.creative_id].description,
                ),
            )
            for one in advice
        ),
        unknown=tuple(unknown),
    )


def _effect(one: Credit) -> ElementEffect:
    percent = one.percent
    share = Estimate(percent.value / 100, percent.low / 100, percent.high / 100, percent.level)
    return ElementEffect(slot=one.slot, element=one.element, effect=share)


def _curves(folder: Path) -> tuple[LearningCurve, ...]:
    return results.learning_curves(read_metrics(folder / "metrics.jsonl"))


def _gallery(workspace: Workspace, folder: Path) -> Gallery | None:
    """Draw some held-out products before and after, large enough to look at."""
    ads = compare.read_ads(folder)
    sides = {"before": results.PRETRAINED, "after": results.PRODUCT_CENTRIC}
    if sides["after"] not in ads:
        return None
    products = workspace.products()
    split = read_split(workspace, products)
    chosen = results.gallery_products(split.testing(products), groups=split.groups, most=GALLERY_PRODUCTS)
    first = {side: {ad.product_id: ad for ad in reversed(ads[name])} for side, name in sides.items()}
    renderer = render.load()
    items: list[GalleryItem] = []
    for product in chosen:
        shown = {side: ads[product.product_id] for side, ads in first.items()}
        drawn: dict[str, Ad] = {}
        for side, ad in shown.items():
            path = folder / "gallery" / f"{len(items):02d}-{side}.webp"
            image = renderer.render(product, ad.description, size=(GALLERY_SIDE, GALLERY_SIDE), seed=ad.seed).image
            with atomic_file(path) as temporary:
                Image.fromarray(image).save(temporary, quality=92)
            drawn[side] = Ad(image=path.relative_to(workspace.path).as_posix(), description=ad.description)
        items.append(
            GalleryItem(
                title=product.title,
                category=product.category,
                cutout=Path(product.image).relative_to(workspace.path).as_posix(),
                true_change=shown["after"].relative_ctr / shown["before"].relative_ctr - 1,
                **drawn,
            )
        )
    return Gallery(items=tuple(items), selection=SELECTION, before="Pre-trained", after="Product-centric")


class _Seconds(BaseModel):
    """What one stage took."""

    cpu: float
    wall: float


def _timing(workspace: Workspace) -> tuple[StageTiming, ...]:
    path = workspace.runs_folder / TIMINGS
    seconds = read_json(path, dict[str, _Seconds], remedy="Delete it.") if path.exists() else {}
    return tuple(StageTiming(stage=name, cpu_seconds=it.cpu, wall_seconds=it.wall) for name, it in seconds.items())


def _provenance(made: Mapping[str, Manifest]) -> Provenance:
    settings = {stage: results.flat_settings(manifest.config) for stage, manifest in made.items()}
    seeds = {stage: values["seed"] for stage, values in settings.items() if isinstance(values.get("seed"), int)}
    newest = max(made.values(), key=lambda manifest: manifest.started)
    return Provenance(settings=settings, versions=newest.versions, seeds=seeds)
