"""The diffusion renderer: a model draws the background, the product's own pixels go on top.

Every picture has a random generator of its own, on the CPU, so what is drawn for one product depends on nothing that is
drawn beside it and starts from the same noise on every device. Pictures share a call of the model only when neither has
to be padded: same size, and prompts of as many chunks.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from clickscape.config import DiffusionConfig
from clickscape.errors import RenderError
from clickscape.render.color import Bytes
from clickscape.render.diffusion import conditions, embed, weights, words
from clickscape.render.diffusion.frame import Frame, brought_back, frame, placed, widened
from clickscape.render.diffusion.weights import Weights
from clickscape.render.physical_size import physical_size
from clickscape.render.renderer import NO_MARGINS, DigitalSource, Margins, Rendering, check_size
from clickscape.render.studio.product import over
from clickscape.types import Product

KEPT = 64
"""Backgrounds that stay in memory: a preview's is used again when the finished picture is drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A background to draw; tasks of equal `key` get the same one."""

    product: Product
    description: str
    prompt: tuple[str, ...]
    cutout: Bytes
    frame: Frame
    seed: int
    key: tuple[object, ...]
    tried: int = 0


class DiffusionRenderer:
    """Draws what a description says around a product with Stable Diffusion; opens its models when it is made.

    The same arguments and settings give the same picture on one machine; another device or version may differ slightly.
    """

    name = "diffusion"
    digital_source: DigitalSource = "trainedAlgorithmicMedia"

    def __init__(self, config: DiffusionConfig, *, opened: Weights | None = None) -> None:
        self.config = config
        self.weights = opened or weights.load(config)
        self._kept: OrderedDict[tuple[object, ...], Bytes] = OrderedDict()
        self._negative = embed.cut(self.weights.pipeline, config.negative) if config.negative.strip() else ()

    @property
    def recipe(self) -> Mapping[str, object]:
        """Return the settings of `[diffusion]` that decide what a picture looks like."""
        return self.config.recipe

    def render(
        self,
        product: Product,
        description: str,
        *,
        size: tuple[int, int] = (1024, 1024),
        seed: int,
        margins: Margins = NO_MARGINS,
    ) -> Rendering:
        """One picture of `size` (width, height); RenderError when the safety checker lets none pass."""
        return self.render_many([product], [description], sizes=[size], seeds=[seed], margins=margins)[0]

    def render_many(
        self,
        products: Sequence[Product],
        descriptions: Sequence[str],
        *,
        sizes: Sequence[tuple[int, int]],
        seeds: Sequence[int],
        margins: Margins = NO_MARGINS,
    ) -> list[Rendering]:
        """One picture per product, in order, each as `render` gives it alone; `sizes` are (width, height).

        RenderError when the safety checker lets none of a description's pictures pass.
        """
        tasks = [
            self._task(product, description, size=size, seed=seed, margins=margins)
            for product, description, size, seed in zip(products, descriptions, sizes, seeds, strict=True)
        ]
        drawn = {task.key: self._kept[task.key] for task in tasks if task.key in self._kept}
        for key, background in self._draw({task.key: task for task in tasks if task.key not in drawn}.values()):
            drawn[key] = self._kept[key] = background
        for task in tasks:
            self._kept.move_to_end(task.key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return [_finished(task, drawn[task.key]) for task in tasks]

    def _task(self, product: Product, description: str, *, size: tuple[int, int], seed: int, margins: Margins) -> _Task:
        from clickscape.catalog.cutout import open_cutout

        check_size(size)
        config = self.config
        cutout = open_cutout(product.image)
        text = words.prompt(description, product, style=config.style, omit_product=config.omit_product_words)
        around = frame(size, side=config.side, multiple=self.weights.multiple, margins=margins)
        seen = hashlib.sha256(np.ascontiguousarray(cutout).data).digest()
        key = (seen, cutout.shape, text, around.window, around.model, margins, physical_size(product), seed)
        return _Task(product, description, embed.cut(self.weights.pipeline, text), cutout, around, seed, key)

    def _draw(self, tasks: Iterable[_Task]) -> Iterator[tuple[tuple[object, ...], Bytes]]:
        """Key and background (height, width, 3) of every task; flagged ones are drawn again from another seed."""
        waiting = list(tasks)
        while waiting:
            again: list[_Task] = []
            for batch in self._batches(waiting):
                pictures = self._call(batch)
                flags = self._flags(pictures)
                for task, picture, flagged in zip(batch, pictures, flags, strict=True):
                    if flagged:
                        again.append(self._once_more(task))
                    else:
                        yield task.key, np.rint(picture * 255).astype(np.uint8)
            waiting = again

    def _batches(self, tasks: Sequence[_Task]) -> Iterator[list[_Task]]:
        groups: dict[tuple[object, ...], list[_Task]] = defaultdict(list)
        for task in tasks:
            groups[task.frame.model, self._length(task)].append(task)
        for group in groups.values():
            for start in range(0, len(group), self.config.batch_size):
                yield group[start : start + self.config.batch_size]

    def _length(self, task: _Task) -> int:
        """Chunks of its prompt, or of what it must not show if that is longer."""
        return max(len(task.prompt), len(self._negative))

    def _call(self, batch: Sequence[_Task]) -> np.ndarray:
        """One call of the pipeline: float (picture, height, width, 3) in 0..1."""
        config, pipeline = self.config, self.weights.pipeline
        width, height = batch[0].frame.model
        with weights.quiet(), warnings.catch_warnings():
            # diffusers 0.42 calls a method of its own that it has deprecated, and NumPy in a way that NumPy has.
            warnings.filterwarnings("ignore", message=".*upcast_vae.*", category=FutureWarning)
            warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
            made = pipeline(
                **self._conditions(batch),
                **self._words(batch),
                height=height,
                width=width,
                num_inference_steps=config.steps,
                strength=config.strength,
                guidance_scale=config.guidance,
                controlnet_conditioning_scale=config.control_scale,
                generator=[torch.Generator("cpu").manual_seed(_noise_seed(task)) for task in batch],
                output_type="np",
            )
        pictures = np.asarray(made.images, np.float32)
        if not np.isfinite(pictures).all():
            raise RenderError(
                f"{config.model}: numbers overflowed in the model, and the picture of {batch[0].product.product_id!r} "
                'is not one. Set diffusion.dtype to "bfloat16" or "float32".'
            )
        return pictures

    def _conditions(self, batch: Sequence[_Task]) -> dict[str, list[Image.Image]]:
        config = self.config
        canvases = [widened(_placed(task, task.frame.window), task.frame) for task in batch]
        masks = [
            conditions.mask(canvas[..., 3], erode=config.mask_erode * config.side, blur=config.mask_blur * config.side)
            for canvas in canvases
        ]
        outlines = [conditions.edges(canvas) for canvas in canvases]
        starts = [conditions.start(canvas, fill=config.fill) for canvas in canvases]
        return {
            "image": [Image.fromarray(picture) for picture in starts],
            "mask_image": [Image.fromarray(picture) for picture in masks],
            "control_image": [Image.fromarray(picture) for picture in outlines],
        }

    def _words(self, batch: Sequence[_Task]) -> dict[str, torch.Tensor]:
        pipeline, length = self.weights.pipeline, self._length(batch[0])
        wanted = embed.embed(pipeline, [task.prompt for task in batch], length=length)
        given = {"prompt_embeds": wanted.tokens, "pooled_prompt_embeds": wanted.pooled}
        if self.config.guidance > 1:
            unwanted = (
                embed.embed(pipeline, [self._negative] * len(batch), length=length)
                if self._negative
                else embed.unprompted(pipeline, wanted)
            )
            given |= {"negative_prompt_embeds": unwanted.tokens, "negative_pooled_prompt_embeds": unwanted.pooled}
        return {name: tensor for name, tensor in given.items() if tensor is not None}

    def _flags(self, pictures: np.ndarray) -> list[bool]:
        checker = self.weights.checker
        return [False] * len(pictures) if checker is None else checker.flags(pictures)

    def _once_more(self, task: _Task) -> _Task:
        tried = task.tried + 1
        if tried >= self.config.safety_tries:
            raise RenderError(
                f"product {task.product.product_id!r}, {task.description!r}, seed {task.seed}: the safety checker "
                f"flagged {tried} of {tried} pictures. Change the description or the seed, raise "
                "diffusion.safety_tries, or set safety_checker = false."
            )
        return replace(task, tried=tried)


def _placed(task: _Task, size: tuple[int, int]) -> Bytes:
    return placed(task.cutout, size=size, margins=task.frame.margins, physical_size=physical_size(task.product))


def _finished(task: _Task, background: Bytes) -> Rendering:
    canvas = _placed(task, task.frame.size)
    image = over(brought_back(background, task.frame), canvas)
    return Rendering(image=image, scene=None, unknown=(), product=canvas)


def _noise_seed(task: _Task) -> int:
    """The seed itself for the first try; for every further one a number that follows from it."""
    if not task.tried:
        return task.seed
    return int(np.random.SeedSequence([task.seed, task.tried]).generate_state(1, np.uint64)[0] >> 1)
