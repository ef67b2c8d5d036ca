"""What `generate` made of each product: how to render a creative again, refused descriptions, failed images."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from clickscape.catalog.feed_report import Skipped
from clickscape.config import FidelityConfig
from clickscape.errors import SceneError
from clickscape.files import file_name
from clickscape.generation.own_backdrop import MODEL_ID
from clickscape.generation.retry import (
    GatedRendering,
    GateRecord,
    fidelity_limits,
    refusal_reason,
    render_candidates,
)
from clickscape.generation.select import CandidateSelector, Refusal, SelectedCandidate, Selection, scene_key
from clickscape.json_files import parse_json
from clickscape.render import provenance
from clickscape.render.language.parse import explain
from clickscape.render.provenance import Provenance
from clickscape.render.renderer import DigitalSource, Renderer, Rendering, SceneRenderer
from clickscape.render.scene import Scene
from clickscape.types import Creative

MANIFEST = "creatives.jsonl"
"""The creatives that were made, a row each."""

LEFT_OUT = "left-out.jsonl"
"""Creatives of which no picture passed the gate; written only when there are any."""

FAR_OFF = 1.35
"""Times the limit: what measures more than that with one seed will hardly keep it with another."""

REFUSED = "refused.jsonl"
"""Descriptions that were not drawn, each with the rule and the words that broke it; written only when there are any."""


@dataclass(frozen=True, slots=True)
class CreativeRecord:
    """One creative with all that is needed to render it again; `image` is the file's name, "" when it was left out.

    `written` is what the model wrote where brand rules edited it, "" else; `rules`: each that asks, and whether it is
    met; `audience` and `placement`: whose rules these are, "" for those of the brand alone.
    """

    creative_id: str
    product_id: str
    title: str
    image: str
    description: str
    written: str
    rules: dict[str, bool]
    audience: str
    placement: str
    scene: str
    unknown: tuple[str, ...]
    renderer: str
    renderer_settings: dict[str, object]
    digital_source: DigitalSource
    model_id: str
    seed: int
    reward: float | None
    gate: GateRecord

    @property
    def file(self) -> str:
        """The name that the image has where there is one; another one is not this creative's."""
        return f"{file_name(self.creative_id)}.png"

    @property
    def scene_key(self) -> str:
        """What it has in common with ads that show the same."""
        return scene_key(self.scene, self.description)

    def creative(self, *, image: str, product_digest: str) -> Creative:
        """Return the draft that enters a workspace's table."""
        return Creative(
            creative_id=self.creative_id,
            product_id=self.product_id,
            image=image,
            description=self.description,
            scene=parse_json(
                self.scene or "{}",
                dict[str, Any],
                where=f"the scene of creative {self.creative_id!r}",
                error=SceneError,
                remedy="Delete its record and generate again.",
            ),
            renderer=self.renderer,
            model_id=self.model_id,
            seed=self.seed,
            product_digest=product_digest,
        )

    def png(self, rendering: Rendering) -> bytes:
        """Return the creative's picture as a labeled PNG."""
        encoded = io.BytesIO()
        Image.fromarray(rendering.image).save(encoded, "PNG")
        return provenance.embed(encoded.getvalue(), label(self, source=self.digital_source, seed=self.seed))


def label(creative: Creative | CreativeRecord, *, source: DigitalSource, seed: int) -> Provenance:
    """Return what a picture of the creative, drawn with `seed`, says of itself."""
    return Provenance(
        creative.creative_id,
        renderer=creative.renderer,
        model_id=creative.model_id,
        source=source,
        seed=seed,
        description=creative.description,
    )


@dataclass(frozen=True, slots=True)
class ProductRecord:
    """What was made of a product and refused on the way; `work`: fingerprint of what decides it."""

    work: str
    made: tuple[CreativeRecord, ...]
    refused: tuple[Refusal, ...]

    @property
    def ads(self) -> tuple[CreativeRecord, ...]:
        """The creatives that have a picture."""
        return tuple(one for one in self.made if one.image)

    @property
    def failures(self) -> tuple[str, ...]:
        """Why creatives have no picture and what to do about it, then why descriptions were not drawn."""
        refused = Counter((one.rule, one.reason) for one in self.refused)
        return (
            *(f"{one.creative_id}: {refusal_reason(one.gate)}" for one in self.made if not one.image),
            *(f"{count} descriptions not drawn, by {rule}: {reason}" for (rule, reason), count in refused.items()),
        )


def render_selection(
    selection: Selection,
    *,
    selector: CandidateSelector,
    fidelity: FidelityConfig,
    mark: str = "",
    audience: str = "",
    placement: str = "",
) -> list[tuple[CreativeRecord, Rendering | None]]:
    """Render the selected candidates; a record of each, beside its rendering, None where none passed the fidelity gate.

    For each of those the next best of the spare ones are rendered, until as many pass as were chosen or none is left;
    those on the surface of one that failed come last: on it the edge, or the product's tone, would fail again. What is
    still missing is looked for among other seeds of what failed.
    mark: what stands in the creatives' ids behind the product's. audience, placement: whose rules held.
    """
    renderer, product = selection.renderer, selection.product
    rendered = _rendered(selection, selector=selector, fidelity=fidelity)
    made = []
    for number, (chosen, found) in enumerate(rendered, start=1):
        candidate, drawn = chosen.candidate, found.rendering
        creative_id = f"{product.product_id}{mark}-{number}"
        record = CreativeRecord(
            creative_id=creative_id,
            product_id=product.product_id,
            title=product.title,
            image="" if drawn is None else f"{file_name(creative_id)}.png",
            description=candidate.text,
            written=chosen.written if chosen.written != candidate.text else "",
            rules=dict(chosen.met),
            audience=audience,
            placement=placement,
            scene="" if drawn is None else drawn.content,
            unknown=() if drawn is None else tuple(explain(drawn.unknown)),
            renderer=renderer.name,
            renderer_settings=dict(renderer.recipe),
            digital_source=renderer.digital_source,
            model_id=selection.model_id,
            seed=found.seed,
            reward=None if selector.pipeline.reward is None else candidate.score,
            gate=found.gate,
        )
        made.append((record, drawn))
    return made


def _rendered(
    selection: Selection, *, selector: CandidateSelector, fidelity: FidelityConfig
) -> list[tuple[SelectedCandidate, GatedRendering]]:
    """Candidates in the order in which they were rendered, each with the picture that passed, if any."""
    config, renderer = selector.config, selection.renderer

    def draw(some: Sequence[SelectedCandidate], tries: int) -> list[GatedRendering]:
        return render_candidates(
            selection.product,
            [one.candidate for one in some],
            renderer=renderer,
            size=config.size,
            tries=tries,
            limits=fidelity_limits(fidelity, source=renderer.digital_source),
        )

    found: list[tuple[SelectedCandidate, GatedRendering]] = []
    some, spare = selection.chosen, selection.spare
    while some:  # a description each before another seed, which seldom changes what the gate saw
        drawn = draw(some, 1)
        found += zip(some, drawn, strict=True)
        surfaces = {_surface(one) for one, made in zip(some, drawn, strict=True) if made.rendering is None}
        spare = tuple(sorted(spare, key=lambda one: _surface(one) in surfaces))
        missing = sum(made.rendering is None and not _by_the_photo(made.gate) for made in drawn)
        some, spare = spare[:missing], spare[missing:]
    for place, (one, made) in enumerate(found):
        if sum(each.rendering is not None for _, each in found) >= len(selection.chosen):
            break
        if made.rendering is None and not _by_the_photo(made.gate) and not _far_off(made.gate, renderer):
            found[place] = (one, draw([one], config.tries)[0])
    return found


def _surface(one: SelectedCandidate) -> str:
    """What a candidate's scene stands or lies on; its words where the renderer draws no scenes."""
    scene = one.candidate.scene
    return Scene.from_json(scene).surface if scene.startswith("{") else scene


def _by_the_photo(gate: GateRecord) -> bool:
    """Whether the product's photo alone decides that no picture passed: no other description can do better."""
    return any(one.kind in ("too_small", "out_of_frame") for one in gate.rejected[-1].failures)


def _far_off(gate: GateRecord, renderer: Renderer) -> bool:
    """Whether another seed of the same scene will not do: product and surface have one tone, or the edge one fringe."""
    failures = gate.rejected[-1].failures
    return isinstance(renderer, SceneRenderer) and any(
        one.kind in ("edge", "blends_in") and one.measured > FAR_OFF * one.limit for one in failures
    )


Shortage = Literal["photo", "gate", "words"]
"""Why a product has fewer images than were asked: its photo, the fidelity gate, or too few different descriptions."""

_SHORTAGES: Mapping[Shortage, tuple[str, str]] = {
    "photo": (
        "their photos can be shown in no other way",
        "give photos with a plain, light backdrop or with transparency, or cut them out with --photographs scenes",
    ),
    "gate": (
        "no other picture passed the fidelity gate",
        "do what the lines above say, or try another --seed",
    ),
    "words": (
        "too few descriptions differ and keep every rule",
        "ask for fewer with --keep, or raise per_product under [generate] in clickscape.toml",
    ),
}
"""Shortage → why, and what to do."""

_NAMED = 5  # products that a line names


def _shortage(record: ProductRecord, *, keep: int) -> Shortage | None:
    """Why a product has fewer than `keep` images; None where it has them, or no description at all."""
    if not record.made or len(record.ads) >= keep:
        return None
    if len(record.ads) < len(record.made):
        return "gate"
    return "photo" if record.made[0].model_id == MODEL_ID else "words"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run left in its folder: how many images, how many of them drawn again, and who was left out and why.

    `replaced`: creatives that never passed the gate and gave way to the next best; `left_out`: those without such.
    `skipped`: products of a catalog file that could not be read.
    `edited`: images whose description was edited; `refused`: descriptions not drawn, by rule; `met`: images that meet a
    brand rule, by rule; `empty`: products of which every description was refused; `on_own_backdrop`: images that keep
    the backdrop of the product's photo; `few`: why products have fewer images than were asked, and which products.
    `failed`: products that could not be drawn, with the reason; the next run tries them again.
    """

    images: int
    redrawn: int
    left_out: tuple[str, ...]
    replaced: int = 0
    skipped: tuple[Skipped, ...] = ()
    edited: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    met: Mapping[str, int] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    on_own_backdrop: int = 0
    few: Mapping[Shortage, Mapping[str, int]] = field(default_factory=dict)
    failed: tuple[str, ...] = ()

    @classmethod
    def of(cls, records: Mapping[str, ProductRecord], *, keep: int) -> Summary:
        """Sum up what was made of each product, by id, of which `keep` ads were asked."""
        shown = [one for record in records.values() for one in record.ads]
        failed = [(record, one) for record in records.values() for one in record.made if not one.image]
        left_out = [one for record, one in failed if len(record.ads) < keep]
        few: dict[Shortage, dict[str, int]] = {}
        for product_id, record in records.items():
            if (cause := _shortage(record, keep=keep)) is not None:
                few.setdefault(cause, {})[product_id] = keep - len(record.ads)
        return cls(
            len(shown),
            sum(bool(one.gate.rejected) for one in shown),
            tuple(f"{one.creative_id}: {refusal_reason(one.gate)}" for one in left_out),
            len(failed) - len(left_out),
            edited=sum(bool(one.written) for one in shown),
            refused=Counter(one.rule for record in records.values() for one in record.refused),
            met={rule: sum(one.rules[rule] for one in shown) for rule in (shown[0].rules if shown else ())},
            empty=tuple(product_id for product_id, record in records.items() if not record.made),
            on_own_backdrop=sum(one.model_id == MODEL_ID for one in shown),
            few=few,
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The summary in lines for people."""
        passed = f"{self.images} images, every one through the fidelity gate"
        lines = [passed if self.images else "no image was made: no description, or no picture of one, passed the gates"]
        if self.on_own_backdrop:
            lines.append(
                f"{self.on_own_backdrop} of them keep the backdrop of the product's own photo; --photographs scenes "
                "cuts it out instead"
            )
        if self.redrawn:
            lines.append(f"{self.redrawn} of them were drawn again; {MANIFEST} says why")
        lines += [f"brand rule {rule!r}: met by {count} of {self.images} images" for rule, count in self.met.items()]
        if self.edited:
            lines.append(
                f"{self.edited} descriptions were edited to suit product or rules; {MANIFEST} has what was written"
            )
        if self.refused:
            counted = ", ".join(f"{count} by {rule!r}" for rule, count in sorted(self.refused.items()))
            lines.append(f"descriptions not drawn: {counted}; {REFUSED} says why")
        lines += [f"no image of product {name!r}: every description was refused" for name in self.empty]
        if self.replaced:
            lines.append(f"{self.replaced} of which no picture passed gave way to the next best; {LEFT_OUT} says why")
        if self.left_out:
            lines.append(f"{len(self.left_out)} left out, because no picture passed; {LEFT_OUT} says more:")
        lines += self.left_out
        for cause, missing in self.few.items():
            reason, remedy = _SHORTAGES[cause]
            named = ", ".join([*map(repr, [*missing][:_NAMED]), *(["…"] if len(missing) > _NAMED else [])])
            lines.append(f"{sum(missing.values())} images fewer than asked ({named}): {reason}; {remedy}")
        lines += [f"not drawn, product {one}" for one in self.failed]
        return (*lines, *(f"left out, {one.place}: {one.reason}" for one in self.skipped))
