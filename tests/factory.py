"""Tiny models, pictures and rewards, and the command line run in this process: what tests of several rooms share.

Models here have random weights, 32 px pictures of 4 × 4 patches and two layers: a step of training takes milliseconds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
from scipy import ndimage

from clickscape import vlm
from clickscape.catalog import sample
from clickscape.cli import main
from clickscape.compute.device import Processes, launched
from clickscape.config import TinyConfig
from clickscape.preference.corruption import Captions, draw
from clickscape.preference.pairs import PreferencePair
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel, build_tiny, train_tokenizer
from clickscape.workspace import Workspace


def tiny_config(**changed: int) -> TinyConfig:
    """Sizes of the smallest model that still has every part."""
    sizes = {
        "image_size": 32, "patch_size": 8, "vision_width": 24, "vision_layers": 2, "vision_heads": 2,
        "text_width": 32, "text_layers": 2, "text_heads": 4, "text_kv_heads": 2, "text_ffn": 48, "max_positions": 256,
    }  # fmt: skip
    return TinyConfig.model_validate({**sizes, **changed})


def tiny_vlm(texts: Sequence[str], *, vocabulary: int = 400, seed: int = 0, **changed: int) -> VisionLanguageModel:
    """A vision-language model with random weights and a tokenizer trained on `texts`."""
    return build_tiny(tiny_config(**changed), train_tokenizer(list(texts), vocabulary=vocabulary), seed=seed)


@cache
def shipped() -> Writer:
    """The model that comes with clickscape, loaded once; do not train it."""
    return vlm.load("tiny")


def noise_picture(product: Product, *, side: int = 32) -> np.ndarray:
    """Noise that is the same for the same product, (side, side, 3) uint8."""
    rng = np.random.default_rng(sum(map(ord, product.product_id)))
    return rng.integers(0, 256, (side, side, 3)).astype(np.uint8)


def write_feed(folder: Path, *, side: int, product_ids: Sequence[str]) -> Path:
    """Write products of the sample catalog as JSON Lines, with cut-outs of `side` pixels beside it."""
    rows = [
        {
            "id": product.product_id,
            "title": product.title,
            "category": list(product.category),
            "attributes": {**product.attributes, "item_group_id": product.product_id.rpartition("-")[0]},
            "image": Path(product.image).relative_to(folder).as_posix(),
        }
        for product in sample.write(folder, side, product_ids=product_ids)
    ]
    return write_rows(folder / "catalog.jsonl", rows)


def corrupted_pairs(products: Sequence[Product], texts: Sequence[str]) -> list[PreferencePair]:
    """One pair per product; about half of the corrupted inputs are masked, half have another caption."""
    rng, captions = np.random.default_rng(1), Captions(products)
    made = []
    for product in products:
        chosen, rejected = (texts[int(row)] for row in rng.permutation(len(texts))[:2])
        corrupted = draw(product, captions=captions, patches=16, mask_ratio=0.75, caption_swap_share=0.5, rng=rng)
        made.append(PreferencePair(product.product_id, chosen, rejected, 1.0, corrupted))
    assert {pair.corrupted.caption_of is None for pair in made if pair.corrupted} == {True, False}
    return made


def saliency_by_color(image: np.ndarray) -> np.ndarray:
    """How far pixels (height, width, 3) are from the color of the picture's border, 0..1, holes filled.

    Stands in for the saliency network, which takes 0.5 CPU-seconds a picture, where a plain background is removed.
    """
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    apart = np.abs(image.astype(np.float32) - np.median(border, axis=0)).max(-1)
    shape = ndimage.binary_fill_holes(cv2.GaussianBlur(apart, (0, 0), 1.5) > 20)
    return cv2.GaussianBlur(np.asarray(shape, np.float32), (0, 0), 1.0)


class Brightness:
    """A reward that can be checked by eye: the mean lightness of the image."""

    def score(self, products: Sequence[Product], images: Sequence[np.ndarray], _scenes: object = None, /) -> np.ndarray:
        return np.array([image.mean() / 25 for image in images])


class LocalServer(socketserver.ThreadingTCPServer):
    """A server on this machine; clients hang up on one that misbehaves, and that is the point."""

    allow_reuse_address, daemon_threads = True, True

    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.port: int = self.server_address[1]

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Serve in a thread until the end of the block."""
        with self:
            thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            yield self
            self.shutdown()
            thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


def in_two(work: Callable[[Processes], object], folder: Path, **environment: str) -> tuple[list[int], list[object]]:
    """Fork two processes that meet as under torchrun; how each ended (a signal counts negative), what each gave."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            own = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
            try:
                os.environ.update(own | meeting | {"OMP_NUM_THREADS": "1"} | environment)
                with launched() as processes:
                    given: object = work(processes)
            except BaseException as error:
                given = error
            (folder / f"given-{number}").write_bytes(pickle.dumps(given))
            os._exit(1 if isinstance(given, BaseException) else 0)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    files = [folder / f"given-{number}" for number in range(2)]
    return ends, [pickle.loads(file.read_bytes()) if file.exists() else None for file in files]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


PARALLEL = ("demo", "ingest", "simulate", "draw", "generate", "export")
"""Commands that start two processes by default, each of which takes seconds to import its libraries."""


def clickscape(*arguments: str | Path, cwd: Path | str = ".") -> Done:
    """Run the command line in this process, as its script does; without --workers no other process is started."""
    out, err = io.StringIO(), io.StringIO()
    words = [str(argument) for argument in arguments]
    if words and words[0] in PARALLEL and "--workers" not in words:
        words += ["--workers", "1"]
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as stop:
            return Done(int(stop.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("the command line must end with an exit code")


def copy_of(shop: Workspace, folder: Path, *left_out: str) -> Workspace:
    """The shop, to write into; left_out: globs of what is not copied."""
    return Workspace.open(shutil.copytree(shop.path, folder, ignore=shutil.ignore_patterns(*left_out)))


def tin(color: tuple[int, int, int]) -> np.ndarray:
    """A cut-out (150, 90, 4) of a plain box in one color."""
    cutout = np.zeros((150, 90, 4), np.uint8)
    cutout[5:145, 5:85] = (*color, 255)
    return cutout


def shop_of_tins(folder: Path, colors: Mapping[str, tuple[int, int, int]]) -> Workspace:
    """A workspace with a tin of each color, by the product's id."""
    shop = Workspace.create(folder)
    for name, color in colors.items():
        shop.save_cutout(name, tin(color))
    shop.write_products([Product(name, f"Tin {name}", image=str(shop.cutout_path(name))) for name in colors])
    return shop


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Write a JSON Lines file; returns its path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
