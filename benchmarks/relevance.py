"""How often is the relevance gate right? Its contrast against the fit table of the simulated worlds.

Descriptions of three kinds for products of the sample catalog: what `tiny` writes, the same told of a product of
another department, and the copywriter's. The truth is `world.matching` (both worlds share it). The limit is chosen on
objects that `tiny` was pre-trained beside, everything else is measured on held-out objects; 95 % intervals by bootstrap
over objects. Then other ways to compare, on what `tiny` writes. Prints Markdown, appends one JSON row to
results/relevance.jsonl, and writes the tables into a page between its markers.

    python benchmarks/relevance.py --page docs/experiments/relevance.md
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from _results import append_row, write_part
from clickscape import vlm as vlm_room
from clickscape.catalog import sample
from clickscape.config import RelevanceConfig
from clickscape.gates.relevance import ContrastRelevance, panel
from clickscape.generation.pipeline import cutout_images
from clickscape.preference.corruption import hide_patches
from clickscape.render.language.parse import parse
from clickscape.simulator import world, writer
from clickscape.stats.bootstrap import ClusterBootstrap, percentile_interval
from clickscape.types import Estimate, Product
from clickscape.vlm.batch import Sample
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.packing import packed_log_probs
from clickscape.vlm.prompts import instruction

VARIANTS = sample.VARIANTS[:2]
PER_PRODUCT = 4
KEPT = 0.95  # share of the matching descriptions that the limit lets through, on the objects that choose it
LIMITS = (-1.0, 0.0, 0.5, 0.7, 1.0, 1.5, 2.0)
RESAMPLES = 1_000


@dataclass(frozen=True)
class Told:
    """Descriptions of one kind, one entry each: product, words, contrast (nats), whether shoppers find that it fits."""

    products: list[Product]
    texts: list[str]
    contrast: np.ndarray
    fits: np.ndarray

    @property
    def objects(self) -> list[str]:
        """What the bootstrap draws."""
        return [sample.object_of(product.product_id).object_id for product in self.products]


def main() -> None:
    """Measure, print, keep the row, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        testing, learned = _catalog(Path(folder))
        vlm = vlm_room.load("tiny").vlm
        gate = ContrastRelevance(
            vlm, panel(learned, size=RelevanceConfig().others), pictures=cutout_images(vlm.image_size), limit=0.0
        )
        choosing = _written(gate, learned[: len(testing)], rng=rng)
        limit = float(np.quantile(choosing.contrast[choosing.fits], 1 - KEPT))
        clock = time.process_time()
        own = _written(gate, testing, rng=rng)
        seconds = time.process_time() - clock
        kinds = {"what `tiny` writes": own, "those of another department's product": _moved(gate, own, rng=rng),
                 "the copywriter's": _copywriters(gate, testing, rng=rng)}  # fmt: skip
        ways = _ways(vlm, own, learned)
    row = {
        "limit chosen": limit,
        "milliseconds": 1000 * seconds / len(own.texts),
        "kinds": {name: _figures(told, limit=RelevanceConfig().limit, rng=rng) for name, told in kinds.items()},
        "curve": {str(level): _figures(own, limit=level, rng=rng) for level in LIMITS},
        "ways": {name: _auc_estimate(values, own, rng=rng) for name, values in ways.items()},
    }
    text = _tables(row)
    print(text)
    append_row(row, by="relevance")
    if asked.page:
        write_part(asked.page, text, by="relevance")


def _catalog(folder: Path) -> tuple[list[Product], list[Product]]:
    """Products of held-out objects, and others in an order that mixes departments."""
    wanted = [product.product_id for product in sample.products() if product.product_id.endswith(VARIANTS)]
    products = sample.write(folder, 160, product_ids=wanted)
    held = [product for product in products if sample.is_held_out(product.product_id)]
    return held, panel([product for product in products if not sample.is_held_out(product.product_id)], size=200)


def _told(gate: ContrastRelevance, products: Sequence[Product], texts: Sequence[str]) -> Told:
    """Those of the descriptions that the studio understands: the others lose anyway."""
    pairs = [(product, text) for product, text in zip(products, texts, strict=True) if parse(text).is_valid]
    asked, said = [product for product, _ in pairs], [text for _, text in pairs]
    fits = np.array([world.matching(product, parse(text).scene) for product, text in pairs])
    return Told(asked, said, gate.contrast(asked, said), fits)


def _written(gate: ContrastRelevance, products: Sequence[Product], *, rng: np.random.Generator) -> Told:
    texts = vlm_room.load("tiny").describe_all(products, n=PER_PRODUCT, seed=int(rng.integers(2**31)))
    return _told(gate, [product for product in products for _ in range(PER_PRODUCT)], [t for own in texts for t in own])


def _moved(gate: ContrastRelevance, own: Told, *, rng: np.random.Generator) -> Told:
    """Every description told of a product of another department."""
    others = [
        [place for place, other in enumerate(own.products) if other.department != product.department]
        for product in own.products
    ]
    return _told(gate, own.products, [own.texts[int(rng.choice(places))] for places in others])


def _copywriters(gate: ContrastRelevance, products: Sequence[Product], *, rng: np.random.Generator) -> Told:
    asked = [product for product in products for _ in range(PER_PRODUCT)]
    return _told(gate, asked, [writer.write(product, rng)[0] for product in asked])


def _ways(vlm: VisionLanguageModel, own: Told, learned: Sequence[Product]) -> dict[str, np.ndarray]:
    """Scores of the descriptions that `tiny` wrote, by every way to compare that was tried."""
    pictures = cutout_images(vlm.image_size)
    others = list(panel(learned, size=10))
    foreign = np.array([[one.department != other.department for one in own.products] for other in others])
    said = _pieces(vlm, own, lambda product: (product, pictures(product)))
    scene_words = [_scene_words(vlm, text) for text in own.texts]
    sizes = np.array([len(row) for row in said])

    def corrupted(shown: Callable[[Product, Product], tuple[Product, np.ndarray]]) -> list[list[np.ndarray]]:
        return [_pieces(vlm, own, lambda product, other=other: shown(product, other)) for other in others]  # type: ignore[misc]

    def minus(corrupted: Sequence[Sequence[np.ndarray]], words: Sequence[np.ndarray] | None = None) -> np.ndarray:
        chosen = words if words is not None else [np.ones(size, bool) for size in sizes]
        sums = np.array([[row[word].sum() for row, word in zip(one, chosen, strict=True)] for one in corrupted])
        kept = foreign if len(corrupted) == len(others) else np.ones_like(sums, bool)
        mine = np.array([row[word].sum() for row, word in zip(said, chosen, strict=True)])
        return np.asarray(mine - (sums * kept).sum(0) / kept.sum(0))

    whole = corrupted(lambda _, other: (other, pictures(other)))
    text = corrupted(lambda product, other: (other, pictures(product)))
    picture = corrupted(lambda product, other: (product, pictures(other)))
    rng = np.random.default_rng(1)
    patch = int(vlm.core.config.vision_config.patch_size)
    patches = (vlm.image_size // patch) ** 2
    hidden = [int(place) for place in rng.permutation(patches)[: round(0.75 * patches)]]
    masked = [_pieces(vlm, own, lambda p: (p, hide_patches(pictures(p), hidden, patch=patch, size=vlm.image_size)))]
    totals = np.array([[row.sum() for row in one] for one in whole])
    mine = np.array([row.sum() for row in said])
    mixture = np.log((np.exp(totals) * foreign).sum(0) / foreign.sum(0))
    first = foreign.argmax(0)
    return {
        "**other products, text and picture, mean of ten** (the gate)": minus(whole),
        "the same, per token": minus(whole) / sizes,
        "the same, scene words only (setting and props)": minus(whole, scene_words),
        "the same, against their mixture, log of the mean p": mine - mixture,
        "the same, one other product": mine - totals[first, np.arange(len(mine))],
        "other products' text, own picture": minus(text),
        "own text, other products' picture": minus(picture),
        "own text, 75 % of the picture masked": minus(masked),
        "log p(y\\|x) alone, nothing to compare with": mine,
    }


@torch.inference_mode()
def _pieces(
    vlm: VisionLanguageModel, own: Told, shown: Callable[[Product], tuple[Product, np.ndarray]]
) -> list[np.ndarray]:
    """log p of every token of every description; `shown`: product → whose text is read, which picture is seen."""
    found: list[np.ndarray] = []
    for start in range(0, len(own.texts), 64):
        some, texts = own.products[start : start + 64], own.texts[start : start + 64]
        numbers: dict[str, int] = {}
        questions = []
        for product in some:
            if product.product_id not in numbers:
                numbers[product.product_id] = len(questions)
                told, picture = shown(product)
                questions.append(Sample(instruction("describe", told, variant=0), (picture,)))
        answers = [(numbers[product.product_id], text) for product, text in zip(some, texts, strict=True)]
        values, owners = packed_log_probs(vlm, questions, answers)
        found += [values[owners == number].double().numpy() for number in range(len(texts))]
    return found


def _scene_words(vlm: VisionLanguageModel, text: str) -> np.ndarray:
    """Which tokens lie in words without which setting or props would be others, (token,), the end token left out."""
    meant = parse(text).scene
    marked = np.zeros(len(text), bool)
    place = 0
    for word in text.split():
        place = text.index(word, place)
        without = parse(text[:place] + text[place + len(word) :]).scene
        marked[place : place + len(word)] = (without.setting, without.props) != (meant.setting, meant.props)
        place += len(word)
    offsets = vlm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return np.array([*(bool(marked[start:end].any()) for start, end in offsets), False])


def _figures(told: Told, *, limit: float, rng: np.random.Generator) -> dict[str, list[float]]:
    """Every figure with its interval; a figure that a draw cannot have is left out of that draw."""
    refused = told.contrast < limit

    def share(among: np.ndarray, of: np.ndarray) -> Callable[[np.ndarray], float]:
        return lambda weight: float((weight * (among & of)).sum() / max((weight * of).sum(), 1e-9))

    everything = np.ones(len(refused), bool)
    figures = {
        "auc": lambda weight: _auc(told.contrast, told.fits, weight),
        "fits": share(told.fits, everything),
        "refused": share(refused, everything),
        "precision": share(~told.fits, refused),
        "recall": share(refused, ~told.fits),
        "fits after": share(told.fits, ~refused),
        "fitting refused": share(refused, told.fits),
    }
    return {"descriptions": [float(len(refused))]} | {
        name: _interval(figure, told.objects, rng=rng) for name, figure in figures.items()
    }


def _auc_estimate(values: np.ndarray, own: Told, *, rng: np.random.Generator) -> list[float]:
    return _interval(lambda weight: _auc(values, own.fits, weight), own.objects, rng=rng)


def _interval(
    figure: Callable[[np.ndarray], float], objects: Sequence[str], *, rng: np.random.Generator
) -> list[float]:
    """Value, low and high; whole objects are drawn."""
    bootstrap = ClusterBootstrap.draw(objects, rng=rng, resamples=RESAMPLES)
    resampled = np.array([figure(drawn[bootstrap.cluster]) for drawn in bootstrap.drawn])
    found = percentile_interval(figure(np.ones(len(objects))), resampled)
    return [found.value, found.low, found.high]


def _auc(values: np.ndarray, fits: np.ndarray, weight: np.ndarray) -> float:
    """P(a fitting description scores higher than another), entries counted as often as `weight` says."""
    times = weight.astype(int)
    values, fits = np.repeat(values, times), np.repeat(fits, times)
    yes = int(fits.sum())
    rank = rankdata(values)[fits].sum()
    return float((rank - yes * (yes + 1) / 2) / max(yes * (len(fits) - yes), 1))


def _tables(row: dict) -> str:
    """Markdown."""
    limit = RelevanceConfig().limit
    head = (
        "descriptions", "number", "fit", "ROC AUC", "refused", "of these, do not fit", "of what does not fit, refused",
        "of what fits, refused", "fit, of what is let through",
    )  # fmt: skip
    columns = ("fits", "auc", "refused", "precision", "recall", "fitting refused", "fits after")
    lines = [
        f"Limit {limit:g} nats (what the other objects would choose: {row['limit chosen']:.2f}).",
        "",
        *_head(head),
    ]
    for name, told in row["kinds"].items():
        cells = [_show(told[column], digits=column == "auc") for column in columns]
        lines.append(f"| {name} | {told['descriptions'][0]:.0f} | {' | '.join(cells)} |")
    lines += ["", *_head(("limit, nats", *head[4:8]))]
    for level, told in row["curve"].items():
        cells = [_show(told[column]) for column in columns[2:6]]
        lines.append(f"| {level} | {' | '.join(cells)} |")
    lines += ["", *_head(("what log p(y\\|x) is compared with", "ROC AUC"))]
    lines += [f"| {name} | {_show(value, digits=True)} |" for name, value in row["ways"].items()]
    lines += ["", f"A description takes {row['milliseconds']:.0f} CPU-milliseconds, writing it included.", ""]
    return "\n".join(lines)


def _head(columns: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]


def _show(figure: Sequence[float], *, digits: bool = False) -> str:
    value = Estimate(*figure)
    if digits:
        return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
    return f"{100 * value.value:.0f} % [{100 * value.low:.0f}, {100 * value.high:.0f}]"


if __name__ == "__main__":
    main()
