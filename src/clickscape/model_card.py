"""Model cards in the form of the Hugging Face hub: a README.md in every saved model's folder, with metadata.

A model is saved with a card that says what it is; the stage that measured it adds the figures and their intervals.
Cards hold nothing that changes from one training to the same again, and no path of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yaml import YAMLError  # type: ignore[import-untyped]

from clickscape.errors import ClickscapeError, ModelError
from clickscape.files import write_text
from clickscape.regular_files import read_bytes
from clickscape.types import Estimate

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

FILE = "README.md"
SHIPPED = "clickscape-tiny"
"""What cards call the model that comes with the package; the hub does not have it."""
_LONGEST = 1 << 20
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a card says of all models of one kind."""

    title: str
    library: str
    task: str
    tags: tuple[str, ...]
    text: str


PROMPT = Kind(
    title="Prompt model",
    library="transformers",
    task="image-text-to-text",
    tags=("advertising", "background-description"),
    text="Writes background descriptions for product photos. Opens with plain `transformers` "
    "(`AutoModelForImageTextToText`, `AutoProcessor`), or with clickscape:\n\n"
    '    writer = clickscape.vlm.load("FOLDER")\n    texts = writer.describe(product, n=4, seed=0)',
)
REWARD = Kind(
    title="Reward model",
    library="clickscape",
    task="visual-question-answering",
    tags=("advertising", "reward-model", "click-through-rate"),
    text="Says which of two advertising images of one product gets clicked more. Only differences of its scores "
    "within one product mean something.\n\n"
    '    reward = clickscape.reward.load("FOLDER")\n    ranking = reward.rank(product, images)',
)
JUDGE = Kind(
    title="Second reward model",
    library="clickscape",
    task="visual-question-answering",
    tags=("advertising", "reward-model", "click-through-rate", "reward-hacking"),
    text="Says which of two advertising images of one product gets clicked more, as a judge of a policy that another "
    "reward model trains. It must train no policy itself.",
)
_LIMITS = (
    "What it prefers is what its clicks showed: other shops, seasons and placements may differ. Figures on simulated "
    "clicks say that the machinery finds what is there, not how people click."
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number: its name for people, the hub's or our own name of the metric, and the interval."""

    name: str
    metric: str
    estimate: Estimate


def write(folder: Path, kind: Kind, *, base: str | None, tags: Sequence[str] = ()) -> None:
    """Write the card of a model that nobody measured yet. base: a hub id or "tiny"; others are left out."""
    _save(folder, kind, base=_base(base), tags=tags, figures=(), data="", note="")


def add_figures(
    folder: Path, kind: Kind, figures: Sequence[Figure], *, data: str, base: str | None, note: str = ""
) -> None:
    """Write the card anew with figures. data: what they were measured on, in words; note: a sentence on the training.

    The tags that the model was saved with are kept; base: as `base_of` says it, None keeps the card's own.
    """
    known = _read(folder)
    told = {} if known is None else known.data.to_dict()
    tags = [tag for tag in told.get("tags") or () if tag not in ("clickscape", *kind.tags)]
    base = base or told.get("base_model")
    _save(folder, kind, base=base, tags=tags, figures=figures, data=data, note=note)


def base_of(source: Path | str) -> str | None:
    """Return what a model that was trained from `source` (a folder, a hub id, "tiny") names as its base model."""
    if isinstance(source, str) and not Path(source).is_dir():
        return _base(source)
    card = _read(Path(source))
    found = None if card is None else card.data.to_dict().get("base_model")
    return found if isinstance(found, str) else None


def _base(name: str | None) -> str | None:
    if name == "tiny":
        return SHIPPED
    return name if name and _HUB_ID.fullmatch(name) else None


def _text(folder: Path) -> str:
    text = read_bytes(folder / FILE)
    if len(text) > _LONGEST:
        raise ValueError(f"over {_LONGEST:,} bytes")
    return text.decode()


def _read(folder: Path) -> ModelCard | None:
    """The card in a folder; None where there is none, or one that cannot be read."""
    from huggingface_hub import ModelCard

    try:
        return ModelCard(_text(folder), ignore_metadata_errors=True)
    except (OSError, ValueError, TypeError, AttributeError, YAMLError, ClickscapeError):
        return None


def _save(
    folder: Path,
    kind: Kind,
    *,
    base: str | None,
    tags: Sequence[str],
    figures: Sequence[Figure],
    data: str,
    note: str,
) -> None:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type=kind.task,
            dataset_type="clickscape-workspace",
            dataset_name=data,
            metric_type=figure.metric,
            metric_name=figure.name,
            metric_value=round(figure.estimate.value, 6),
            metric_args={
                "low": round(figure.estimate.low, 6),
                "high": round(figure.estimate.high, 6),
                "level": figure.estimate.level,
            },
        )
        for figure in figures
    ]
    metadata: dict[str, Any] = {"base_model": base, "library_name": kind.library, "pipeline_tag": kind.task}
    named: dict[str, Any] = (
        {"model_name": f"clickscape {kind.title.lower()}", "eval_results": results} if results else {}
    )
    card = ModelCardData(**metadata, **named, tags=["clickscape", *kind.tags, *tags])
    lines = ["---", card.to_yaml().strip(), "---", "", f"# {kind.title}", "", kind.text, ""]
    if base == SHIPPED:
        lines += [f"`{SHIPPED}` is the model that comes with the package `clickscape`; it is not on the hub.", ""]
    if note:
        lines += [note, ""]
    if figures:
        lines += [f"## Measured on {data}", "", "| figure | value | interval |", "| --- | --- | --- |"]
        for figure in figures:
            own = figure.estimate
            lines.append(f"| {figure.name} | {own.value:.3f} | {own.level:.0%}: [{own.low:.3f}, {own.high:.3f}] |")
        lines.append("")
    lines += ["## Limits", "", _LIMITS, ""]
    write_text(folder / FILE, "\n".join(lines))
    (folder / FILE).chmod(0o644)


def check(folder: Path) -> ModelCard:
    """Return the card of a folder if the hub's library takes its metadata; ModelError says what is wrong with it."""
    from huggingface_hub import ModelCard

    path = folder / FILE
    try:
        card = ModelCard(_text(folder))
    except FileNotFoundError:
        raise ModelError(f"{path}: no model card. Train the model again, or write one.") from None
    except (ValueError, TypeError, KeyError, AttributeError, YAMLError) as error:
        raise ModelError(f"{path}: not a model card that the hub takes ({error}). Correct its metadata.") from None
    if missing := [name for name in ("library_name", "tags") if not getattr(card.data, name)]:
        raise ModelError(f"{path}: its metadata has no {missing[0]}. Train the model again, or add it.")
    return card
