"""Re-creates the shipped model `tiny` from nothing and prints how close it came; `make pretrain-tiny` runs this.

It takes tens of minutes on two cores: ads are rendered, and tower and language model warm up, in two processes; then
both are joined. Everything goes through a work folder; a killed run starts again where it stopped. Held-out objects of
the sample catalog are used to measure, never to train.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from clickscape.catalog import sample
from clickscape.catalog.cutout import product_picture
from clickscape.config import TinyConfig
from clickscape.generation.department_fit import DepartmentFit
from clickscape.render.language.parse import parse
from clickscape.render.physical_size import PhysicalSize, physical_size
from clickscape.render.scene import Scene
from clickscape.render.studio.engine import StudioRenderer
from clickscape.simulator import writer
from clickscape.types import Product
from clickscape.vlm import model as models
from clickscape.vlm import pretrain as training
from clickscape.vlm.generate import Writer
from clickscape.vlm.prompts import INSTRUCTIONS, instruction
from clickscape.vlm.shipped import TINY, TINY_FOLDER
from invented_products import invented_cutout
from invented_texts import caption, rough, text_product
from sample_corpus import SampleCorpus
from warm_ups import (
    PLAIN_SHARE,
    WarmUpConfig,
    named_slots,
    pretrain,
    slot_accuracy,
    slot_heads,
    warm_up_text,
    warm_up_tower,
)

RENDERED = 128  # pixels of a rendered ad, before it is scaled down for the tower
CUTOUT = 200  # longest side, pixels, of the cut-outs that are rendered
Subject = tuple[Product, np.ndarray, PhysicalSize]
"""What an ad shows: the product, its cut-out, how large it is in the world."""
Draw = Callable[[np.random.Generator], Subject]

PARTS = 12  # files of training ads
INVENTED_PARTS = 6  # files of as many ads each, with things that nobody sells in place of products
PRODUCT_ADS = tuple(f"ads-{part}" for part in range(PARTS))
HELD_OUT_ADS = 1_000
_TRAIN, _HELD_OUT, _INVENTED, _FIT = 1, 2, 3, 4
FIT_PRODUCTS, FIT_DESCRIPTIONS = 960, 10
NOBODYS = Product("invented", "thing that nobody sells")
"""What an invented thing is: it has no department, so the tower learns nothing about departments from it."""
STATURES: dict[PhysicalSize, float] = {"small": 0.2, "usual": 0.6, "large": 0.2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/pretrain-tiny"), help="folder of unfinished work")
    parser.add_argument("--out", type=Path, default=TINY_FOLDER, help="folder of the finished model")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of ads and steps")
    parser.add_argument("--seed", type=int, default=0)
    stages = ("ads-0", "ads-1", "tower", "text", "fit")
    parser.add_argument("--stage", choices=stages, help="used internally; fit: count what the model in --out suggests")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    config = _scaled(WarmUpConfig(seed=arguments.seed), arguments.scale)
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    if arguments.stage is None:
        _everything(work, arguments.out, config=config)
    elif arguments.stage == "fit":
        measure_department_fit(models.load(arguments.out), seed=config.seed).write(arguments.out)
    elif arguments.stage.startswith("ads"):
        _render_share(work, config, share=int(arguments.stage[-1]))
    else:
        _warm_up(work, config, stage=arguments.stage)


def _everything(work: Path, out: Path, *, config: WarmUpConfig) -> None:
    _side_by_side("ads-0", "ads-1")
    tokenizer_folder = work / "start"
    if not tokenizer_folder.exists():
        models.save(_start(config), tokenizer_folder)
    _side_by_side("tower", "text")
    corpus = _corpus(work, held_out=False)
    vlm = models.load(tokenizer_folder, trainable=True)
    heads = slot_heads(vlm, corpus, seed=config.seed)
    for _ in warm_up_tower(vlm, heads, corpus, config=config, checkpoint=work / "tower.safetensors"):
        pass  # finished in its own process: this only loads it
    held_out = _corpus(work, held_out=True)
    seen = slot_accuracy(
        vlm, heads, held_out.ads, held_out.ad_slots, [product.department for product in held_out.ad_products]
    )
    before = training.projector_scale(vlm)
    for step in pretrain(vlm, corpus, config=config, folder=work):
        _show(step, work)
    vlm = replace(vlm, model_id=TINY)
    named = named_slots(heads).rescaled(training.projector_scale(vlm) / before)
    written = measure_writing(vlm, held_out)
    seconds = _cpu_seconds(work)
    models.save(vlm, work / "finished")
    named.write(work / "finished")
    measure_department_fit(vlm, seed=config.seed).write(work / "finished")
    result = {"held_out_slot_accuracy": seen, "writing": written, "cpu_seconds": seconds, "parameters": vlm.parameters}
    (work / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (work / "finished" / "README.md").write_text(model_card(result, config, corpus, held_out), encoding="utf-8")
    _replace(work / "finished", out)
    print(json.dumps(result, indent=2))
    print(f"the model is in {out}")


def _side_by_side(*stages: str) -> None:
    """Run stages of this script in processes of their own, one thread each; stop if one fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, __file__, *sys.argv[1:], "--stage", stage], env=environment)
        for stage in stages
    ]
    if any([process.wait() != 0 for process in running]):  # noqa: C419  (all must end before one is judged)
        raise SystemExit("a stage failed; see above. Run the command again to go on where it stopped.")


def _render_share(work: Path, config: WarmUpConfig, *, share: int) -> None:
    started = time.process_time()
    held_out = max(HELD_OUT_ADS * config.ads // WarmUpConfig().ads, 64)
    each = config.ads // PARTS
    jobs = [(f"ads-{part}", each, [config.seed, _TRAIN, part], known_product(held_out=False)) for part in range(PARTS)]
    jobs.append(("ads-held-out", held_out, [config.seed, _HELD_OUT], known_product(held_out=True)))
    jobs += [
        (f"ads-invented-{part}", each, [config.seed, _INVENTED, part], invented_product)
        for part in range(INVENTED_PARTS)
    ]
    for name, count, seed, draw in jobs[share::2]:
        if not (work / f"{name}.npz").exists():
            render_ads(work / f"{name}.npz", count=count, rng=np.random.default_rng(seed), draw=draw)
            print(f"{name}: {count} ads", flush=True)
    _note_cpu(work, f"ads-{share}", started)


def known_product(*, held_out: bool) -> Draw:
    """Draws products of one side of the split."""
    products = [item for item in sample.products() if sample.is_held_out(item.product_id) == held_out]

    def draw(rng: np.random.Generator) -> Subject:
        product = products[int(rng.integers(len(products)))]
        return product, sample.cutout(product.product_id, CUTOUT), physical_size(product)

    return draw


def invented_product(rng: np.random.Generator) -> Subject:
    """Draws a thing that nobody sells."""
    size = list(STATURES)[int(rng.choice(len(STATURES), p=list(STATURES.values())))]
    return NOBODYS, invented_cutout(rng, CUTOUT), size


def render_ads(path: Path, *, count: int, rng: np.random.Generator, draw: Draw) -> None:
    """Draw random products in random scenes, every slot uniform, and keep them as one file that appears whole.

    Noted is what a picture shows: a product that lies hides the setting.
    """
    studio, pictures, scenes, shown = StudioRenderer(), [], [], []
    for _ in range(count):
        product, cutout, size = draw(rng)
        scene = writer.random_scene(rng)
        seed = int(rng.integers(2**31))
        drawn = studio.compose(
            cutout,
            scene,
            size=(RENDERED, RENDERED),
            seed=seed,
            physical_size=size,
            staging=studio.staging(product, cutout, scene),
        )
        assert drawn.scene is not None
        side = TinyConfig().image_size
        pictures.append(cv2.resize(drawn.image, (side, side), interpolation=cv2.INTER_AREA))
        scenes.append(drawn.scene.to_json())
        shown.append(product.product_id)
    waiting = path.with_suffix(".part")
    with waiting.open("wb") as file:
        np.savez(file, ads=np.stack(pictures), products=np.array(shown), scenes=np.array(scenes))
    os.replace(waiting, path)


def _warm_up(work: Path, config: WarmUpConfig, *, stage: str) -> None:
    started = time.process_time()
    corpus = _corpus(work, held_out=False, ads=_training_files() if stage == "tower" else ())
    vlm = models.load(work / "start", trainable=True)
    checkpoint = work / f"{stage}.safetensors"
    steps: Iterator[training.Step]
    if stage == "tower":
        heads = slot_heads(vlm, corpus, seed=config.seed)
        steps = warm_up_tower(vlm, heads, corpus, config=config, checkpoint=checkpoint)
    else:
        steps = warm_up_text(vlm, corpus, config=config, checkpoint=checkpoint)
    for step in steps:
        _show(step, work)
    _note_cpu(work, stage, started)


def _training_files() -> tuple[str, ...]:
    """All that the tower learns from: ads of products, and of things that nobody sells."""
    return (*PRODUCT_ADS, *(f"ads-invented-{part}" for part in range(INVENTED_PARTS)))


def _corpus(work: Path, *, held_out: bool, ads: Sequence[str] = PRODUCT_ADS) -> SampleCorpus:
    """Products of one side of the split and ads from files (of held-out products: theirs)."""
    names = ["ads-held-out"] if held_out else ads
    files = [dict(np.load(work / f"{name}.npz", allow_pickle=False)) for name in names]
    products = [item for item in sample.products() if sample.is_held_out(item.product_id) == held_out]
    by_id = {item.product_id: item for item in (*products, NOBODYS)}
    size = TinyConfig().image_size
    return SampleCorpus(
        products=products,
        pictures=np.stack([product_picture(sample.cutout(item.product_id, CUTOUT), size) for item in products]),
        ads=np.concatenate([np.zeros((0, size, size, 3), np.uint8), *(file["ads"] for file in files)]),
        ad_products=[by_id[str(product_id)] for file in files for product_id in file["products"]],
        ad_slots=[Scene.from_json(str(text)).slots for file in files for text in file["scenes"]],
    )


def _start(config: WarmUpConfig) -> models.VisionLanguageModel:
    """A `tiny` with random weights; its tokenizer learns from what the corpus will say."""
    rng = np.random.default_rng(config.seed)
    texts = []
    catalog = [item for item in sample.products() if not sample.is_held_out(item.product_id)]
    for number, product in zip(range(8_000), cycle(catalog), strict=False):
        item = product if number < len(catalog) else text_product(rng)
        description, scene = writer.write(item, rng)
        texts += [f"USER: {instruction('describe', item, variant=number)}\nASSISTANT:\n", description]
        texts += [caption(scene, item.title.split(",")[0].lower(), rng), rough(description, rng)]
    texts += [words for wordings in INSTRUCTIONS.values() for words in wordings for _ in range(50)]
    settings = TinyConfig()
    return models.build_tiny(settings, models.train_tokenizer(texts, vocabulary=settings.vocabulary), seed=config.seed)


def measure_writing(vlm: models.VisionLanguageModel, held_out: SampleCorpus) -> dict[str, float]:
    """Parse rate, share that suits the product in the copywriter's opinion, and variety, on held-out products."""
    pictures = {item.product_id: picture for item, picture in zip(held_out.products, held_out.pictures, strict=True)}
    result: dict[str, float] = {}
    started = time.process_time()
    for name, temperature, n in (("sampled", 1.0, 4), ("greedy", 0.0, 1)):
        texts = Writer(vlm).describe_all(
            held_out.products, n=n, seed=0, temperature=temperature, pictures=lambda item: pictures[item.product_id]
        )
        if name == "sampled":
            result["products_per_cpu_second"] = len(texts) / (time.process_time() - started)
        read = [(item, parse(text)) for item, own in zip(held_out.products, texts, strict=True) for text in own]
        result[f"{name}_parse_rate"] = float(np.mean([parsed.is_valid for _, parsed in read]))
        result[f"{name}_fit_share"] = float(np.mean([writer.suits(item, parsed.scene) for item, parsed in read]))
        result[f"{name}_distinct_scenes"] = len({parsed.scene for _, parsed in read}) / len(read)
    invented = [text_product(np.random.default_rng([9, number])) for number in range(200)]
    texts = Writer(vlm).describe_all(invented, n=2, seed=0)
    read = [(item, parse(text)) for item, own in zip(invented, texts, strict=True) for text in own]
    result["invented_parse_rate"] = float(np.mean([parsed.is_valid for _, parsed in read]))
    result["invented_fit_share"] = float(np.mean([writer.suits(item, parsed.scene) for item, parsed in read]))
    return result


def measure_department_fit(vlm: models.VisionLanguageModel, *, seed: int) -> DepartmentFit:
    """Count the settings and props that the model suggests for invented products of every department."""
    drawn = np.random.default_rng([seed, _FIT])
    products = [text_product(drawn) for _ in range(FIT_PRODUCTS)]
    texts = Writer(vlm).describe_all(products, n=FIT_DESCRIPTIONS, seed=seed)
    read = [(item.department, parse(text)) for item, own in zip(products, texts, strict=True) for text in own]
    return DepartmentFit.of((department, parsed.scene) for department, parsed in read if parsed.is_valid)


def model_card(result: Mapping[str, Any], config: WarmUpConfig, corpus: SampleCorpus, held_out: SampleCorpus) -> str:
    """The README of the shipped folder: what it is, what it learned from, what was measured, what it cannot do."""
    slots = "\n".join(f"| {slot} | {share:.3f} |" for slot, share in result["held_out_slot_accuracy"].items())
    writing = "\n".join(f"| {name.replace('_', ' ')} | {value:.3f} |" for name, value in result["writing"].items())
    seconds = ", ".join(f"{stage} {value:.0f}" for stage, value in result["cpu_seconds"].items())
    unseen = sorted({sample.object_of(item.product_id).object_id for item in held_out.products})
    return f"""---
license: apache-2.0
pipeline_tag: image-text-to-text
library_name: transformers
tags: [clickscape, advertising, background-description]
---

# clickscape tiny

A LLaVA of {result["parameters"] / 1e6:.1f} M weights (CLIP tower 96 px, patch 16; Llama) that writes background
descriptions for product photos and serves as the eye of reward models. It was pre-trained from nothing by
`scripts/pretrain_tiny.py` on **simulated copy and rendered ads**: no person wrote its descriptions and no camera took
its pictures. It opens with plain `transformers` (`AutoModelForImageTextToText`, `AutoProcessor`). `slots.safetensors`
holds the linear classifiers of the scene's slots that the tower was warmed up with; reward models begin with them.

**Data.** {len(corpus.products):,} products of the sample catalog (Fluent Emoji by Microsoft, MIT, and objects
baked for this project), {len(corpus.ads):,} ads rendered by the studio renderer with every slot of the scene uniform
(and half as many for the tower alone that show shapes put together at random in place of a product), and products
without pictures in sixteen departments, described by an imperfect copywriter of whose scenes only about
{writer.SUITING_SHARE:.0%} suit their product. Seed {config.seed}.

**Held out.** {len(unseen)} objects ({len(held_out.products)} products) were used to measure and never to train:
{", ".join(unseen)}.

**Training.** Tower: {config.tower_steps:,} steps of {config.tower_batch_size} pictures, naming the scene's slots and
the product's department. Text only: {config.text_steps:,} steps of {config.batch_size} questions with up to
{config.answers} answers each; plain wording, half of which names the product's department first, gives way to free
wording in the course of the first {PLAIN_SHARE:.0%}. Joint, tower and projector frozen:
{config.joint_steps:,} such steps of the four instruction tasks. CPU-seconds: {seconds}.

## Measured on held-out objects, one seed

The recipe was chosen while these figures were watched, so they flatter it a little.

What the tower sees: share of {len(held_out.ads):,} ads whose slot the warm-up's linear classifiers name rightly. It
does not recognize the *department* of an object that it has never seen: there are too few objects to learn that from,
and the text of a product says it anyway.

| slot | accuracy |
| --- | --- |
{slots}

What it writes, temperature 1 with four descriptions per product, and greedily. *Parse rate*: the studio understands
every word. *Fit share*: setting and prop suit the product in the opinion of the copywriter from whom it learned, who
himself suits {writer.SUITING_SHARE:.0%}. *Invented*: products without a picture.

| | |
| --- | --- |
{writing}

## Limits

It knows the vocabulary of the studio renderer and little else; it reads English titles; its pictures were drawn, not
photographed. It is a starting point for preference optimization and a laptop-sized stand-in for larger checkpoints.
"""


def _scaled(config: WarmUpConfig, scale: float) -> WarmUpConfig:
    counts = ("ads", "tower_steps", "text_steps", "joint_steps")
    return config.model_copy(update={name: max(64, round(getattr(config, name) * scale)) for name in counts})


def _show(step: training.Step, work: Path) -> None:
    if step.number % 50 and step.number != step.total:
        return
    losses = ", ".join(f"{name} {value:.2f}" for name, value in step.losses.items())
    line = f"{step.stage} {step.number}/{step.total}: loss {step.loss:.3f} ({losses})"
    with (work / f"{step.stage}.log").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line, flush=True)


def _note_cpu(work: Path, stage: str, started: float) -> None:
    """Add up what a stage cost over all its runs."""
    path = work / f"{stage}.cpu"
    before = float(path.read_text(encoding="utf-8")) if path.exists() else 0.0
    path.write_text(f"{before + time.process_time() - started:.1f}\n", encoding="utf-8")


def _cpu_seconds(work: Path) -> dict[str, float]:
    noted = {path.stem: float(path.read_text(encoding="utf-8")) for path in sorted(work.glob("*.cpu"))}
    return {**noted, "joint and measuring": time.process_time()}


def _replace(finished: Path, out: Path) -> None:
    """Move the finished folder to its place in two renames."""
    old = out.with_name(out.name + ".old")
    if out.exists():
        os.replace(out, old)
    os.replace(finished, out)
    if old.exists():
        for path in old.iterdir():
            path.unlink()
        old.rmdir()


if __name__ == "__main__":
    main()
