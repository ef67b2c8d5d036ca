"""Alpha from a matting model: any ONNX file that takes one color picture and gives one map of the same proportions.

The choice made here: the file says what it can (layout, size, type), and a `Recipe` says the rest.  The picture keeps
its proportions (its edge is repeated to fill the model's square), and the alpha is scaled back.  The file is not
trusted: it runs on the CPU with the runtime's own operators, and the runtime refuses weights outside of its folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.errors import ModelError, first_line
from clickscape.regular_files import read_bytes

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_TYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
_SALIENCY = Path(__file__).with_name("u2netp.onnx")
_PALE = 190  # sRGB level of the border's median from which a picture is pale
_DARKER = 4  # exponent by which it is seen darker: 250 becomes 236, and 230 becomes 169
_MULTIPLE = 32  # models of free size halve their maps five times
_LARGEST = 4096  # side, pixels, that a file may ask for


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model wants its picture: (value / 255 − mean) / deviation per channel, red first.

    ``side``: pixels, where the file leaves its size open; ``output``: which of the outputs is the alpha; ``logits``:
    whether it still needs a sigmoid, None to tell from its values (any outside of 0..1).
    """

    side: int = 1024
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    deviation: tuple[float, float, float] = (0.229, 0.224, 0.225)
    output: int = 0
    logits: bool | None = None

    def __post_init__(self) -> None:
        if not _MULTIPLE <= self.side <= _LARGEST:
            raise ValueError(f"side must lie between {_MULTIPLE} and {_LARGEST} pixels, got {self.side}")
        if len(self.mean) != 3 or len(self.deviation) != 3 or min(self.deviation) <= 0:
            raise ValueError("mean and deviation are three numbers each, deviations above 0")


RECIPES: Mapping[str, Recipe] = {
    "u2net": Recipe(side=320),
    "isnet": Recipe(mean=(0.5, 0.5, 0.5), deviation=(1.0, 1.0, 1.0)),
    "birefnet": Recipe(output=-1, logits=True),
    "modnet": Recipe(side=512, mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5)),
    "plain": Recipe(mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0)),
}
"""By a word in the file's name, as in isnet-general-use.onnx."""


def alpha(image: Pixels, model: Path, *, recipe: Recipe | None = None) -> Floats:
    """Alpha 0..1 (height, width) of a picture (height, width, 3) sRGB, on one thread of the CPU.

    Without a recipe, `recipe_of` finds it.  ModelError when the file is no such model or its answer is no alpha.
    """
    recipe = recipe or recipe_of(model)
    session = _session(model)
    entry = _entry(model, session)
    size, window = _fitted(image.shape[:2], entry.size, recipe.side)
    picture = cv2.resize(image, (window[1], window[0]), interpolation=cv2.INTER_AREA)
    below, beside = size[0] - window[0], size[1] - window[1]
    picture = cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_REPLICATE)
    if entry.type is not np.uint8:
        scaled = (picture.astype(np.float32) / 255 - np.array(recipe.mean, np.float32)) / np.array(
            recipe.deviation, np.float32
        )
        picture = scaled.astype(entry.type)
    if entry.channels_first:
        picture = picture.transpose(2, 0, 1)
    try:
        outputs = session.run(None, {entry.name: np.ascontiguousarray(picture[None])})
    except Exception as error:  # the runtime throws classes of its own, and which ones is no promise of it
        raise ModelError(
            f"{model}: the model fails on a picture of {size[1]} × {size[0]} ({first_line(error)}). Try another recipe."
        ) from error
    answer = _map(model, outputs, recipe)
    # the window's share of the answer, which may be smaller than what went in
    height, width = (max(1, round(answer.shape[axis] * window[axis] / size[axis])) for axis in (0, 1))
    back = (image.shape[1], image.shape[0])
    return np.clip(cv2.resize(answer[:height, :width], back, interpolation=cv2.INTER_LINEAR), 0, 1)


def check_model(model: Path) -> None:
    """Open the model, so that a file that is none is told before any photo; ModelError as of `alpha`."""
    _entry(model, _session(model))
    recipe_of(model)


def saliency(image: Pixels) -> Floats:
    """Probability 0..1 (height, width) that a pixel of a picture (height, width, 3) sRGB is what the picture shows.

    U²-Net-p (Qin et al. 2020), which comes with clickscape: right about shapes, at most 320 pixels of detail. A picture
    with a pale border is seen a second time much darker, so that white stands out from white; the mean counts.
    """
    seen = alpha(image, _SALIENCY)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    if np.median(border) < _PALE:
        return seen
    darker = np.rint(255 * (np.arange(256) / 255) ** _DARKER).astype(np.uint8)
    return np.asarray((seen + alpha(darker[image], _SALIENCY)) / 2, np.float32)


def recipe_of(model: Path) -> Recipe:
    """The recipe in ``<model>.json`` beside the file, else the one that its name names; ModelError without either."""
    beside = model.with_suffix(".json")
    if beside.is_file():
        try:
            given = json.loads(read_bytes(beside, error=ModelError).decode())
            known: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
            return Recipe(**known)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            names = ", ".join(field.name for field in fields(Recipe))
            raise ModelError(f"{beside}: not a recipe ({first_line(error)}). Its keys are {names}.") from None
    for name, recipe in RECIPES.items():
        if name in model.name.lower().replace("-", "").replace("_", ""):
            return recipe
    raise ModelError(
        f"{model}: how this model wants its pictures is unknown. Put {', '.join(RECIPES)} into its file name, "
        f'or write {beside.name} beside it, such as {{"side": 1024, "mean": [0.5, 0.5, 0.5], "deviation": [1, 1, 1]}}.'
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """The model's one input: (height, width), each None where it is free."""

    name: str
    size: tuple[int | None, int | None]
    channels_first: bool
    type: type[np.generic]


def _session(model: Path) -> InferenceSession:
    try:
        status = model.stat()
    except OSError as error:
        raise ModelError(f"{model}: no such matting model ({error.strerror}). Give the path of an ONNX file.") from None
    if not model.is_file():
        raise ModelError(f"{model}: no regular file, expected a matting model. Give the path of an ONNX file.")
    return _opened(model, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _opened(model: Path, _changed: int, _bytes: int) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    options.enable_cpu_mem_arena = False  # an arena keeps the most that was ever taken: 460 MB here
    options.log_severity_level = 4  # what goes wrong is raised; the runtime need not write to the terminal as well
    try:
        # by path, not by content: the runtime then knows the folder that weights must lie in
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(
            f"{model}: not an ONNX model that can be run ({first_line(error)}). Export it again, weights inside its "
            "folder."
        ) from error


def _entry(model: Path, session: InferenceSession) -> _Entry:
    entries = session.get_inputs()
    if len(entries) != 1:
        names = ", ".join(entry.name for entry in entries)
        raise ModelError(f"{model}: expected one input, a picture; this model has {len(entries)} ({names[:80]}).")
    (entry,) = entries
    shape = [side if isinstance(side, int) and side > 0 else None for side in entry.shape]
    if len(shape) != 4 or 3 not in (shape[1] or 3, shape[3] or 3) or shape[0] not in (1, None):
        raise ModelError(
            f"{model}: expected an input of one color picture, (1, 3, height, width) or (1, height, width, 3); "
            f"this model takes {entry.shape}."
        )
    if entry.type not in _TYPES:
        raise ModelError(f"{model}: expected an input of {', '.join(_TYPES)}; this model takes {entry.type}.")
    channels_first = shape[1] == 3 or (shape[1] is None and shape[3] != 3)
    size = (shape[2], shape[3]) if channels_first else (shape[1], shape[2])
    if max(side or 0 for side in size) > _LARGEST:
        raise ModelError(f"{model}: asks for pictures of {size}; expected at most {_LARGEST} pixels a side.")
    return _Entry(entry.name, size, channels_first, _TYPES[entry.type])


def _fitted(
    shape: tuple[int, ...], wanted: tuple[int | None, int | None], side: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) that the model gets, and the window in it that the picture fills from the upper left corner."""
    height, width = shape
    bounds = tuple(given or side for given in wanted)
    scale = min(bounds[0] / height, bounds[1] / width)
    window = (max(1, round(height * scale)), max(1, round(width * scale)))
    size = tuple(
        given or -(-filled // _MULTIPLE) * _MULTIPLE for given, filled in zip(wanted, window, strict=True)
    )  # fmt: skip
    return (size[0], size[1]), window


def _map(model: Path, outputs: list[np.ndarray], recipe: Recipe) -> Floats:
    """The alpha (height, width) among the outputs, 0..1."""
    if not -len(outputs) <= recipe.output < len(outputs):
        raise ModelError(f"{model}: the recipe names output {recipe.output}; this model has {len(outputs)}.")
    answer = np.asarray(outputs[recipe.output])
    plane = answer.squeeze()
    if plane.ndim != 2 or min(plane.shape) < 2:
        raise ModelError(
            f"{model}: expected an alpha of shape (1, 1, height, width) or (1, height, width); "
            f"output {recipe.output} is {answer.shape}. Name another output in the recipe."
        )
    plane = plane.astype(np.float32)
    if not np.isfinite(plane).all():
        raise ModelError(f"{model}: the answer has values that are no numbers. Try the model in 32 bits.")
    logits = recipe.logits
    if logits is None:
        logits = bool(plane.min() < -0.01 or plane.max() > 1.01)
    return 1 / (1 + np.exp(-np.clip(plane, -60, 60))) if logits else plane
