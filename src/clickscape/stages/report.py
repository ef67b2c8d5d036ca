"""Stage `report`: what the finished stages of a workspace measured, on one page; what was not measured is left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from PIL import Image

from clickscape import render
from clickscape import report as report_room
from clickscape.report import (
    AccuracyPart,
    AccuracyRow,
    Ad,
    ClickStatistics,
    Comparison,
    ComparisonRow,
    Gallery,
    GalleryItem,
    LearningCurve,
    PositionBias,
    Provenance,
    Report,
    RewardAccuracy,
    Role,
    StageTiming,
    TrainingStep,
)
from clickscape.simulator import traffic
from clickscape.stages import compare, split
from clickscape.types import Estimate, Product
from clickscape.workspace import Manifest, Workspace, atomic_file, read_metrics

PAGE = "report.html"
RECORD = "report.json"
TIMINGS = "timings.json"
ROLES: Mapping[str, Role] = {
    compare.PRETRAINED: "pretrained",
    "preference-only": "preference_only",
    "product-centric": "product_centric",
    compare.ORACLE: "oracle",
}
GALLERY_SIDE = 480
GALLERY_PRODUCTS = 12
SELECTION = (
    "Shown: the first held-out product of every department in the order of the catalog, then the second ones; "
    "of each model the first description that it wrote, drawn with the same image seed."
)


def report(workspace: Workspace) -> Path:
    """Write report.html and report.json into the workspace and return the page's path."""
    found = {stage: _newest(workspace, stage) for stage in ("simulate", "clicks", "reward", "variants", "compare")}
    simulated = found["simulate"] is not None
    world = found["simulate"][1].result["world"] if found["simulate"] else None
    page = Report(
        title="From clicks to better ads" if simulated else workspace.path.name,
        simulated=simulated,
        world=world,
        created=max((one[1].ended for one in found.values() if one and one[1].ended), default=None),
        gallery=_gallery(workspace, found["compare"]),
        accuracy=_accuracy(found["reward"]),
        learning=_learning(found["variants"]),
        comparison=_comparison(found["compare"]),
        clicks=_clicks(found["clicks"], simulated=simulated),
        timing=_timing(workspace),
        provenance=_provenance(found),
        notes=_notes(simulated=simulated),
    )
    html = report_room.render(page, workspace=workspace.path)
    with workspace.lock():
        report_room.save(page, workspace.path / RECORD)
        with atomic_file(workspace.path / PAGE) as temporary:
            temporary.write_text(html, encoding="utf-8")
    return workspace.path / PAGE


_Found = tuple[Path, Manifest] | None


def _newest(workspace: Workspace, stage: str) -> _Found:
    """Folder and manifest of the newest finished run of a stage."""
    done = []
    for path in workspace.runs_folder.glob("*/manifest.json"):
        manifest = Manifest.model_validate_json(path.read_bytes())
        if manifest.stage == stage and manifest.status == "done":
            done.append((path.parent, manifest))
    return max(done, key=lambda pair: (pair[1].started, pair[0].name), default=None)


def _estimate(values: Mapping[str, float] | None) -> Estimate | None:
    return None if values is None else Estimate(**values)


def _accuracy(found: _Found) -> RewardAccuracy | None:
    if found is None:
        return None
    result = found[1].result
    return RewardAccuracy(
        observed=Estimate(**result["accuracy"]),
        ceiling=_estimate(result["ceiling"]),
        ceiling_source=result["ceiling_source"],
        true_order=_estimate(result["true_accuracy"]),
        normalized=_estimate(result.get("normalized_accuracy", result.get("share"))),  # "share" until 0.1
        baselines=tuple(
            AccuracyRow(name=name, accuracy=Estimate(**value)) for name, value in result["baselines"].items()
        ),
        parts=tuple(
            AccuracyPart(
                name=name,
                pairs=part["pairs"],
                accuracy=Estimate(**part["accuracy"]),
                ceiling=_estimate(part["ceiling"]),
            )
            for name, part in result["parts"].items()
        ),
        pairs=result["pairs"],
        products=result["products"],
        objects=result["clusters"],
    )


def _learning(found: _Found) -> tuple[LearningCurve, ...]:
    if found is None:
        return ()
    steps: dict[str, dict[tuple[int, int], TrainingStep]] = {}
    for line in read_metrics(found[0] / "metrics.jsonl"):
        step = TrainingStep(**{key: line[key] for key in TrainingStep.model_fields if key in line})
        # A round that was killed is learned again from its start, so its last telling counts.
        steps.setdefault(line["variant"], {})[step.round, step.number] = step
    return tuple(
        LearningCurve(role=_role(name), steps=tuple(own[key] for key in sorted(own)))
        for name, own in sorted(steps.items())
    )


def _comparison(found: _Found) -> Comparison | None:
    if found is None:
        return None
    rows = tuple(
        ComparisonRow(
            name=name,
            role=_role(name),
            true_uplift=None if name == compare.PRETRAINED else _estimate(row["uplift"]),
            win_rate=None if name == compare.PRETRAINED else _estimate(row["win_rate"]),
            matching_share=_estimate(row["matching_share"]),
            parse_rate=_estimate(row["parse_rate"]),
            distinct_scenes=_estimate(row["distinct_scenes"]),
        )
        for name, row in sorted(found[1].result["rows"].items(), key=lambda pair: _place_of(pair[0]))
    )
    result = found[1].result
    return Comparison(rows=rows, products=result["products"], objects=result["objects"], judge="reward model")


def _place_of(name: str) -> tuple[int, str]:
    """Order of the rows: what was learned, then what was searched, then what nobody could know."""
    order: tuple[Role, ...] = ("pretrained", "preference_only", "product_centric", "search", "oracle")
    return order.index(_role(name)), name


def _role(name: str) -> Role:
    return ROLES.get(name, "search")


def _clicks(found: _Found, *, simulated: bool) -> ClickStatistics | None:
    if found is None:
        return None
    result = found[1].result
    truth: tuple[float, ...] = traffic.EXAMINATION if simulated else ()
    positions = []
    for position, value, error in zip(
        result["positions"], result["examination"], result["examination_log_se"], strict=True
    ):
        reach = 1.96 * error * value
        known = truth[position - 1] / truth[0] if position <= len(truth) else None
        estimated = Estimate(value, value - reach, value + reach)
        positions.append(PositionBias(position=position, estimated=estimated, true=known))
    names = ("impressions", "clicks", "creatives", "products", "median_impressions", "pairs_possible", "pairs_kept")
    corrected = result["uncorrected_because"] is None
    return ClickStatistics(**{name: result[name] for name in names}, positions=tuple(positions) if corrected else ())


def _gallery(workspace: Workspace, found: _Found) -> Gallery | None:
    """Draw some held-out products before and after, large enough to look at."""
    if found is None:
        return None
    ads = compare.read_ads(found[0])
    after_name = "product-centric"
    if after_name not in ads:
        return None
    products = {product.product_id: product for product in workspace.products()}
    chosen = _chosen(split.read(workspace, list(products.values())).testing(list(products.values())))
    first = {name: {ad.product_id: ad for ad in reversed(ads[name])} for name in (compare.PRETRAINED, after_name)}
    renderer = render.load()
    items: list[GalleryItem] = []
    for product in chosen:
        pair = []
        for name, suffix in ((compare.PRETRAINED, "before"), (after_name, "after")):
            ad = first[name][product.product_id]
            path = found[0] / "gallery" / f"{len(items):02d}-{suffix}.webp"
            drawn = renderer.render(product, ad.description, size=(GALLERY_SIDE, GALLERY_SIDE), seed=ad.seed)
            path.parent.mkdir(exist_ok=True)
            with atomic_file(path) as temporary:
                Image.fromarray(drawn.image).save(temporary, quality=92)
            pair.append(Ad(image=path.relative_to(workspace.path).as_posix(), description=ad.description))
        before, after = (first[name][product.product_id].relative_ctr for name in (compare.PRETRAINED, after_name))
        items.append(
            GalleryItem(
                title=product.title,
                category=product.category,
                cutout=Path(product.image).relative_to(workspace.path).as_posix(),
                before=pair[0],
                after=pair[1],
                true_change=after / before - 1,
            )
        )
    return Gallery(items=tuple(items), selection=SELECTION, before="Pre-trained", after="Product-centric")


def _chosen(products: list[Product]) -> list[Product]:
    """One product per department and object, in turns, so that nobody picks cherries."""
    turns: dict[str, list[Product]] = {}
    seen: set[str] = set()
    for product in products:
        object_id = product.product_id.rpartition("-")[0]
        if object_id not in seen:
            seen.add(object_id)
            turns.setdefault(product.department, []).append(product)
    longest = max(map(len, turns.values()), default=0)
    rows = [own[turn] for turn in range(longest) for own in turns.values() if turn < len(own)]
    return rows[:GALLERY_PRODUCTS]


def _timing(workspace: Workspace) -> tuple[StageTiming, ...]:
    path = workspace.runs_folder / TIMINGS
    if not path.exists():
        return ()
    seconds = cast("dict[str, dict[str, float]]", json.loads(path.read_text(encoding="utf-8")))
    return tuple(
        StageTiming(stage=name, cpu_seconds=own["cpu"], wall_seconds=own["wall"]) for name, own in seconds.items()
    )


def _provenance(found: Mapping[str, _Found]) -> Provenance | None:
    manifests = {stage: one[1] for stage, one in found.items() if one is not None}
    if not manifests:
        return None
    settings = {stage: _flat(manifest.config) for stage, manifest in manifests.items()}
    seeds = {stage: own["seed"] for stage, own in settings.items() if isinstance(own.get("seed"), int)}
    newest = max(manifests.values(), key=lambda manifest: manifest.started)
    return Provenance(settings=settings, versions=newest.versions, seeds=seeds)


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys; lists in words."""
    flat: dict[str, Any] = {}
    for key, value in (config or {}).items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str | int | float | bool | None) else json.dumps(value)
    return flat


def _notes(*, simulated: bool) -> tuple[str, ...]:
    if not simulated:
        return ("The accuracy is on held-out products of this shop; clicks of new creatives were not measured here.",)
    return (
        "The clicks come from a simulated world with known click rates; nothing here says how real shoppers click.",
        "Products are color variants of drawn objects; intervals resample objects: variants are not independent.",
        "Every figure is from one seed. benchmarks/loop.py repeats the loop over seeds and both worlds.",
        "Win rates are the reward model's own opinion of what was trained to please it; the true uplift is not.",
    )
