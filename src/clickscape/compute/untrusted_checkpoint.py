"""Check a checkpoint folder from elsewhere: bound what it may ask for before a loader reads it, and while it builds.

A config.json of ten lines can ask for ten million layers. Numbers in its files are bounded first, because libraries
count up to them; then the model is built while its modules and weights are counted, and no more of them may be made
than the folder's weight files can hold, whatever the setting is called that asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks

from clickscape.errors import ModelError, printable
from clickscape.json_files import read_json

MOST_MODULES = 20_000
"""Of one model; 80 layers have about two thousand."""

MOST_ADDED_TOKENS = 50_000
"""Of a tokenizer, besides its vocabulary: each one costs time whenever text is read."""

_LARGEST = 1 << 25  # of any whole number in a settings file: pixels, positions, words
_LARGEST_COUNT = 30_000  # of what libraries make one by one
_COUNTS = (
    "layer", "layers", "depth", "depths", "labels", "per_block", "blocks", "stages", "experts", "head", "heads",
    "beams", "sequences", "image_seq_len", "image_seq_length", "image_tokens",
)  # fmt: skip
"""How the names of numbers end that libraries count up to."""
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_LARGEST_FILE = 1 << 26  # bytes of one of these
_ADDED = ("added_tokens", "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens")
_REMEDY = "The folder is damaged or was made to do harm: do not use it."
_SPARE = 1 << 26  # tensor elements besides the stored ones: positions, masks, weights that are tied afterwards


@contextmanager
def bounded_loading(folder: Path, *, weights: Path | None = None) -> Iterator[None]:
    """Check a checkpoint's folder, then bound what is built within the block; ModelError for whatever goes too far.

    weights: the one file that holds them, where it does not lie in the folder.
    """
    check_folder(folder)
    files = [weights] if weights is not None else [*folder.glob("*.safetensors")]
    # Four bits are the smallest number format, a tied weight is made twice, and loading registers it again.
    most = _SPARE + 8 * sum(file.stat().st_size for file in files if file.is_file())
    made = {"modules": 0, "weights": 0}

    def count_module(_parent: nn.Module, _name: str, _child: nn.Module | None) -> None:
        made["modules"] += 1
        if made["modules"] > MOST_MODULES:
            raise ModelError(f"{folder}: its settings ask for more than {MOST_MODULES:,} parts. {_REMEDY}")

    def count_tensor(_parent: nn.Module, _name: str, tensor: Tensor | None) -> None:
        made["weights"] += 0 if tensor is None else tensor.numel()
        if made["weights"] > most:
            raise ModelError(f"{folder}: its settings ask for more weights than its files hold. {_REMEDY}")

    handles = (
        hooks.register_module_module_registration_hook(count_module),
        hooks.register_module_parameter_registration_hook(count_tensor),
        hooks.register_module_buffer_registration_hook(count_tensor),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_folder(folder: Path) -> None:
    """Raise a ModelError for a settings file, tokenizer or index of shards that asks for what no checkpoint needs."""
    for file in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]):
        if file.name.endswith(".index.json"):
            _check_index(file)
        elif file.name in _TOKENIZER:
            _check_tokenizer(file)
        elif file.name.endswith("config.json"):
            _check_settings(file, _read(file), "")


def _read(file: Path) -> dict[str, Any]:
    if file.stat().st_size > _LARGEST_FILE:
        raise ModelError(f"{file}: more than {_LARGEST_FILE >> 20} MiB of JSON. {_REMEDY}")
    return read_json(file, dict[str, Any], error=ModelError, remedy="Download or save the checkpoint again.")


def _check_index(file: Path) -> None:
    named = _read(file).get("weight_map")
    for name in {str(one) for one in named.values()} if isinstance(named, dict) else ():
        if Path(name).name != name:
            raise ModelError(f"{file}: names a file outside of its folder, {printable(name[:80])!r}. {_REMEDY}")
        if not (file.parent / name).is_file():
            raise ModelError(f"{file.parent / name}: missing, but {file.name} names it. Download the rest.")


def _check_tokenizer(file: Path) -> None:
    content = _read(file)
    added = [content] if file.name == "added_tokens.json" else [content.get(key) for key in _ADDED]
    if (most := max(len(one) if isinstance(one, list | dict) else 0 for one in added)) > MOST_ADDED_TOKENS:
        raise ModelError(f"{file}: {most:,} added tokens, expected at most {MOST_ADDED_TOKENS:,}. {_REMEDY}")


def _check_settings(file: Path, value: object, key: str) -> None:
    """Numbers below their limit, and no code from elsewhere named as the way to compute attention."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            _check_settings(file, one, str(name))
    elif isinstance(value, list):
        for one in value:
            _check_settings(file, one, key)
    elif isinstance(value, int) and "theta" not in key:
        limit = _LARGEST_COUNT if key.endswith(_COUNTS) else _LARGEST
        if abs(value) > limit:
            raise ModelError(f"{file}: {printable(key[:80])} is {str(value)[:20]}, at most {limit:,}. {_REMEDY}")
    elif isinstance(value, str) and key.endswith("_implementation") and "/" in value:
        raise ModelError(f"{file}: {printable(key[:80])} names code of the hub, {printable(value[:80])!r}. {_REMEDY}")
