"""What do batches of the diffusion renderer save against calling the diffusers pipeline one image at a time?

    python benchmarks/diffusion.py [--width 32 --side 64]                             random weights, anywhere
    python benchmarks/diffusion.py --family sdxl [--model … --controlnet …] --images 32   real weights, on a GPU

Prints a table and appends one JSON row to benchmarks/results/diffusion.jsonl. Both sides draw the same pictures in one
run, turn about: CPU-seconds of this process on a CPU, wall seconds of a synchronized device elsewhere.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from _results import append_row
from clickscape.config import DiffusionConfig
from clickscape.render.diffusion import conditions, weights, words
from clickscape.render.diffusion.engine import DiffusionRenderer
from clickscape.render.diffusion.frame import brought_back, frame, placed, widened
from clickscape.render.diffusion.weights import Weights
from clickscape.render.studio.product import over
from clickscape.types import Product

DESCRIPTIONS = (
    "pale marble podium, soft morning light, eucalyptus leaves",
    "oak table, warm window light, blurred kitchen",
    "slate slab in a forest, leafy shade",
    "studio sweep, mint wall, lemons",
)


def bottle(folder: Path) -> Product:
    """A drawn bottle with alpha."""
    picture = np.zeros((640, 640, 4), np.uint8)
    cv2.rectangle(picture, (220, 200), (420, 610), (60, 150, 200, 255), -1, cv2.LINE_AA)
    cv2.rectangle(picture, (280, 60), (360, 210), (40, 40, 44, 255), -1, cv2.LINE_AA)
    Image.fromarray(picture).save(folder / "bottle.png")
    return Product("bottle", "Glass Bottle", image=str(folder / "bottle.png"))


def random_model(folder: Path, *, width: int) -> None:
    """An SD 1.5 of `width` channels (the real one has 320) with random weights, and its ControlNet."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    pieces = ["<|startoftext|>", *letters, *(f"{letter}</w>" for letter in letters), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    blocks: dict[str, Any] = {
        "block_out_channels": (width, 2 * width, 4 * width, 4 * width),
        "layers_per_block": 2,
        "cross_attention_dim": 64,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
    }
    text = CLIPTextConfig(
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        vocab_size=len(pieces),
        bos_token_id=0,
        eos_token_id=len(pieces) - 1,
    )
    controlnet = diffusers.ControlNetModel.from_unet(diffusers.UNet2DConditionModel(in_channels=4, **blocks))
    pipeline = diffusers.StableDiffusionControlNetInpaintPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=(width, 2 * width, 4 * width, 4 * width),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            norm_num_groups=8,
            latent_channels=4,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer.from_pretrained(folder, model_max_length=77),
        unet=diffusers.UNet2DConditionModel(in_channels=9, **blocks),
        controlnet=controlnet,
        scheduler=diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "model")
    controlnet.save_pretrained(folder / "canny")


def one_by_one(opened: Weights, config: DiffusionConfig, product: Product, *, size: int, seeds: list[int]) -> None:
    """The straightforward way: a call of the pipeline for every image, with words and not embeddings."""
    from clickscape.catalog.cutout import open_cutout

    cutout = open_cutout(product.image)
    for place, seed in enumerate(seeds):
        around = frame((size, size), side=config.side, multiple=opened.multiple)
        canvas = widened(placed(cutout, size=around.window), around)
        outline = conditions.edges(canvas)
        drawn = conditions.mask(
            canvas[..., 3], erode=config.mask_erode * config.side, blur=config.mask_blur * config.side
        )
        made = opened.pipeline(
            prompt=words.prompt(DESCRIPTIONS[place % 4], product, style=config.style, omit_product=True),
            negative_prompt=config.negative,
            image=Image.fromarray(conditions.start(canvas, fill=config.fill)),
            mask_image=Image.fromarray(drawn),
            control_image=Image.fromarray(outline),
            width=around.model[0],
            height=around.model[1],
            num_inference_steps=config.steps,
            strength=config.strength,
            guidance_scale=config.guidance,
            controlnet_conditioning_scale=config.control_scale,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="np",
        )
        background = np.rint(np.asarray(made.images[0], np.float32) * 255).astype(np.uint8)
        over(brought_back(background, around), placed(cutout, size=(size, size)))


def batched(opened: Weights, config: DiffusionConfig, product: Product, *, size: int, seeds: list[int]) -> None:
    count = len(seeds)
    texts = [DESCRIPTIONS[place % 4] for place in range(count)]
    renderer = DiffusionRenderer(config, opened=opened)
    renderer.render_many([product] * count, texts, sizes=[(size, size)] * count, seeds=seeds)


def seconds(work: Callable[[], None], *, device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--family", choices=["sd15", "sdxl"], default="sd15")
    arguments.add_argument("--model", help="hub id, folder or file; the family's own with --family sdxl or a GPU")
    arguments.add_argument("--controlnet", help="hub id, folder or file")
    arguments.add_argument("--width", type=int, default=32, help="channels of the random model; ignored with --model")
    arguments.add_argument("--side", type=int, help="pixels at which the model draws")
    arguments.add_argument("--steps", type=int, default=8)
    arguments.add_argument("--images", type=int, default=8)
    arguments.add_argument("--batch", type=int, default=4)
    arguments.add_argument("--rounds", type=int, default=3)
    asked = arguments.parse_args()
    is_real = bool(asked.model) or asked.family == "sdxl"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings: dict[str, Any] = {"family": asked.family, "steps": asked.steps, "batch_size": asked.batch}
        settings |= {"safety_checker": False}
        if is_real:
            named = {"model": asked.model, "controlnet": asked.controlnet}
            settings |= {key: value for key, value in named.items() if value} | {"allow_download": True}
        else:
            random_model(folder, width=asked.width)
            settings |= {"model": str(folder / "model"), "controlnet": str(folder / "canny"), "style": "", "side": 64}
            settings |= {"negative": "text, logo, blurry"}
        if asked.side:
            settings["side"] = asked.side
        config = DiffusionConfig.model_validate(settings)
        opened = weights.load(config)
        device = opened.pipeline.device.type
        product = bottle(folder)
        sides = {"batched": batched, "one by one": one_by_one}
        spent: dict[str, list[float]] = {side: [] for side in sides}
        for round_number in range(asked.rounds + 1):
            seeds = [1_000 * round_number + place for place in range(asked.images)]
            for side, work in sides.items():
                task = partial(work, opened, config, product, size=config.side, seeds=seeds)
                took = seconds(task, device=device)
                if round_number:  # the first round warms up
                    spent[side].append(took)
    ratios = sorted(slow / fast for fast, slow in zip(spent["batched"], spent["one by one"], strict=True))
    unit = "CPU-second" if device == "cpu" else "second"
    print(f"{'images per ' + unit:28s} {'median':>8s}")
    for side, values in spent.items():
        print(f"{side:28s} {asked.images / float(np.median(values)):8.2f}")
    median = float(np.median(ratios))
    print(f"batched is {median:.2f} × as fast, over {asked.rounds} rounds {ratios[0]:.2f} to {ratios[-1]:.2f}")
    row = {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "weights": config.model if is_real else f"random, width {asked.width}",
        "side": config.side,
        "steps": config.steps,
        "images": asked.images,
        "batch": config.batch_size,
        f"images per {unit}": {side: round(asked.images / float(np.median(took)), 3) for side, took in spent.items()},
        "ratio": {"median": round(median, 3), "least": round(ratios[0], 3), "most": round(ratios[-1], 3)},
    }
    append_row(row, by="diffusion")


if __name__ == "__main__":
    main()
