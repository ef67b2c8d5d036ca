"""Stage `generate`: descriptions, images and a page to look at, for a workspace or for a bare catalog file.

Every image passes the fidelity gate: one that does not is drawn again with another seed, and a creative that never
passes is left out and named. A product is finished when its own JSON file is there; a killed run goes on with the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image

from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.catalog import feeds
from clickscape.config import GenerateConfig
from clickscape.errors import ConfigError, WorkspaceError
from clickscape.gates import Passed, Rejected, Verdict, fidelity, until_pass
from clickscape.preference import sample
from clickscape.preference.sample import Candidate
from clickscape.render.renderer import Renderer, Rendering
from clickscape.reward.model import RewardModel
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.reward import writer_source
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.workspace import Workspace, atomic_file, file_name, fingerprint

STAGE = "generate"
PREVIEW = 128
"""Pixels of the square images that the reward model compares; the same that it learned from."""

MANIFEST = "creatives.jsonl"
LEFT_OUT = "left-out.jsonl"
"""Creatives of which no picture passed the gate; written only when there are any."""

PAGE = "index.html"
CHUNK = 8


@dataclass(frozen=True, slots=True)
class Attempt:
    """A picture that the gate rejected: the seed that drew it, and each failure with what was measured and allowed."""

    seed: int
    failures: tuple[dict[str, object], ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """What the fidelity gate said of a creative: whether a picture passed, and the pictures rejected before."""

    passed: bool
    rejected: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """One creative, everything that is needed to draw it again; `image` is the file's name, "" when it was left out."""

    creative_id: str
    product_id: str
    title: str
    image: str
    description: str
    scene: str
    unknown: tuple[str, ...]
    renderer: str
    model_id: str
    seed: int
    reward: float | None
    gate: Gate


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run left in its folder: how many images, how many of them drawn again, and who was left out and why."""

    images: int
    redrawn: int
    left_out: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """What to tell people."""
        told = [f"{self.images} images, every one through the fidelity gate"]
        if self.redrawn:
            told.append(f"{self.redrawn} of them were drawn again; creatives.jsonl says why")
        if self.left_out:
            told.append(f"{len(self.left_out)} left out, because no picture passed; {LEFT_OUT} says more:")
        return (*told, *self.left_out)


@dataclass(frozen=True, slots=True)
class _Tools:
    """What every product needs."""

    writer: Writer
    renderer: Renderer
    reward: RewardModel | None
    config: GenerateConfig
    out: Path


def generate(
    *, workspace: Path | None, catalog: Path | None, out: Path, overrides: Mapping[str, int] | None = None
) -> Stage[Summary]:
    """Draw `keep` images for every product of a workspace or of a catalog file into `out`; returns what lies there.

    With a workspace, its own prompt and reward models are used when it has them; a bare catalog gets the shipped model,
    and the first descriptions that the renderer understands. Raises ConfigError unless exactly one source is given.
    """
    if (workspace is None) == (catalog is None):
        raise ConfigError("give either a workspace or --catalog, and not both: clickscape generate --catalog my.csv")
    if workspace is not None:
        shop = Workspace.open(workspace)
        products, settings = shop.products(), shop.settings.generate
        source, rewards = _writer_source(shop), shop.models / "reward"
        reward = reward_room.load(rewards) if rewards.exists() else None
    else:
        assert catalog is not None
        products, settings, source, reward = feeds.read(catalog), GenerateConfig(), "tiny", None
    config = _settings(settings, overrides or {})
    if out.exists() and not out.is_dir():
        raise WorkspaceError(f"{out} is a file, expected a folder for the images. Choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    tools = _Tools(vlm.load(source), render.load("studio"), reward, config, out)
    work = fingerprint({"config": config.model_dump(), "writer": source, "reward": None if reward is None else rewards})
    open_products = [product for product in products if not _finished(product, work, out=out)]
    done = len(products) - len(open_products)
    yield Progress(STAGE, done, len(products))
    for start in range(0, len(open_products), CHUNK):
        for product, candidates in _candidates(tools, open_products[start : start + CHUNK]):
            made = [_draw(tools, product, candidate, place) for place, candidate in enumerate(candidates, start=1)]
            _write(_record(product, out=out), json.dumps({"work": work, "made": [asdict(one) for one in made]}))
            done += 1
            yield Progress(STAGE, done, len(products), product.title)
    everything = [row for product in products for row in _read(product, out=out)["made"]]
    rows, left_out = [row for row in everything if row["image"]], [row for row in everything if not row["image"]]
    _write(out / MANIFEST, _lines(rows))
    if left_out:
        _write(out / LEFT_OUT, _lines(left_out))
    else:
        (out / LEFT_OUT).unlink(missing_ok=True)
    environment = Environment(loader=PackageLoader("clickscape.stages", "."), autoescape=True)
    _write(out / PAGE, environment.get_template("gallery.html.j2").render(rows=rows, size=config.size))
    return Summary(len(rows), sum(bool(row["gate"]["rejected"]) for row in rows), tuple(map(_reason, left_out)))


def _writer_source(shop: Workspace) -> Path | str:
    optimized = shop.models / "prompt"
    return optimized if optimized.exists() else writer_source(shop)


def _settings(settings: GenerateConfig, overrides: Mapping[str, int]) -> GenerateConfig:
    wanted = {**settings.model_dump(), **overrides}
    wanted["per_product"] = max(wanted["per_product"], wanted["keep"])
    return GenerateConfig.model_validate(wanted)


def _candidates(tools: _Tools, products: Sequence[Product]) -> Iterator[tuple[Product, list[Candidate]]]:
    """The `keep` best candidates of every product: by reward where there is one, else as they were written."""
    config = tools.config
    texts = tools.writer.describe_all(products, n=config.per_product, seed=config.seed, temperature=config.temperature)
    for product, own in zip(products, texts, strict=True):
        rng = np.random.default_rng([config.seed, int(fingerprint(product.product_id)[:8], 16)])
        judged = sample.judge(
            [product],
            [own],
            reward=tools.reward or _Indifferent(),
            renderer=tools.renderer,
            render_size=PREVIEW,
            rng=rng,
        )[0]
        ranked = sorted(judged, key=lambda candidate: (candidate.understood, candidate.score), reverse=True)
        distinct = list({candidate.scene: candidate for candidate in reversed(ranked)}.values())[::-1]
        rest = [candidate for candidate in ranked if candidate not in distinct]
        yield product, [*distinct, *rest][: config.keep]


class _Indifferent:
    """No reward model: every image is as good as the other, and the order of writing stays."""

    def score(self, products: Sequence[Product], images: Sequence[np.ndarray]) -> np.ndarray:
        """Zero for every image."""
        return np.zeros(min(len(products), len(images)))


def _draw(tools: _Tools, product: Product, candidate: Candidate, place: int) -> Made:
    """Draw a candidate until the gate lets it pass: first with its own seed, then with others."""
    side = tools.config.size
    seeds = [candidate.seed, *(_seed(product, candidate, attempt) for attempt in range(1, tools.config.tries))]

    def draw(attempt: int) -> Rendering:
        return tools.renderer.render(product, candidate.text, size=(side, side), seed=seeds[attempt])

    outcome = until_pass(draw, _verdict, tries=tools.config.tries)
    creative_id = f"{product.product_id}-{place}"
    name, seed, drawn = "", candidate.seed, None
    if isinstance(outcome, Passed):
        drawn, seed, name = outcome.drawn, seeds[outcome.attempt], f"{file_name(creative_id)}.png"
        with atomic_file(tools.out / name) as temporary:
            Image.fromarray(drawn.image).save(temporary)
    rejected = outcome.rejected if isinstance(outcome, Passed) else outcome
    return Made(
        creative_id=creative_id,
        product_id=product.product_id,
        title=product.title,
        image=name,
        description=candidate.text,
        scene=drawn.content if drawn is not None else "",
        unknown=drawn.unknown if drawn is not None else (),
        renderer=tools.renderer.name,
        model_id=tools.writer.vlm.model_id,
        seed=seed,
        reward=None if tools.reward is None else candidate.score,
        gate=Gate(drawn is not None, tuple(_attempt(one, seeds) for one in rejected)),
    )


def _verdict(drawn: Rendering) -> Verdict:
    return fidelity.judge(drawn.image, drawn.product)


def _attempt(rejected: Rejected, seeds: Sequence[int]) -> Attempt:
    return Attempt(seeds[rejected.attempt], tuple(asdict(failure) for failure in rejected.failures))


def _seed(product: Product, candidate: Candidate, attempt: int) -> int:
    """A seed of its own for each further picture; the same run always draws the same pictures."""
    return int(fingerprint([product.product_id, candidate.seed, attempt])[:8], 16)


def _reason(row: dict[str, Any]) -> str:
    """Why a creative was left out: the failures of its last picture."""
    last = row["gate"]["rejected"][-1]["failures"]
    said = "; ".join(f"{one['kind']} ({one['measured']:.3g}, limit {one['limit']:.3g})" for one in last)
    return f"{row['creative_id']}: {said} after {len(row['gate']['rejected'])} pictures"


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _record(product: Product, *, out: Path) -> Path:
    return out / f"{file_name(product.product_id)}.json"


def _read(product: Product, *, out: Path) -> dict[str, list[dict[str, Any]]]:
    return json.loads(_record(product, out=out).read_text(encoding="utf-8"))


def _finished(product: Product, work: str, *, out: Path) -> bool:
    """Whether this very work was done for the product, and its images are still there."""
    if not _record(product, out=out).exists():
        return False
    try:
        record = json.loads(_record(product, out=out).read_text(encoding="utf-8"))
        return record["work"] == work and all((out / row["image"]).exists() and "gate" in row for row in record["made"])
    except (ValueError, KeyError, TypeError):
        return False


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
