"""Pre-training from nothing, in the order that works at a few million weights; every stage is a generator of steps.

1. The tower (with the projector) learns to name what a scene shows: captions alone, through the language model, would
   destroy what it sees.  2. The language model learns to write from text alone.  3. Both are joined: tower and
   projector stay as they are, so their features are computed once, and the language model learns the four tasks.
1 and 2 do not need each other. Every step draws from a random state of its own, so a resumed run equals one that was
never interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16, Int64, UInt8
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from clickscape.compute.schedules import warmup_cosine
from clickscape.compute.weights import read_tensors
from clickscape.config import PretrainConfig
from clickscape.errors import ModelError
from clickscape.files import atomic_file
from clickscape.vlm import batch as batches
from clickscape.vlm import tasks
from clickscape.vlm.model import VisionLanguageModel, rescale_projector
from clickscape.vlm.packing import packed_log_probs
from clickscape.vlm.slots import DEPARTMENT, SlotHeads
from clickscape.vlm.tasks import Corpus, Question

EVERY = 200
"""Steps between two checkpoints."""

_TOWER, _TEXT, _JOINT = 1, 2, 3
_SHIFT = 3  # pixels
_GLOW = 0.12  # brightness and contrast vary by this share
_UNKNOWN = -100
_MOMENTS = ("exp_avg", "exp_avg_sq")
_FLOOR = 0.03  # the learning rate ends at this share
_LABEL_SMOOTHING = 0.05  # probability spread over the other values of a slot
_WIDE_SHARE = 0.1  # share of the tower's steps that show pictures two by two, as the pair form will
PLAIN_SHARE = 0.85
"""Share of the text warm-up in the course of which plain wordings fade out."""
_JOINT_RATE = 0.7  # learning rate of joint training, as a share of the text warm-up's
_CHUNK = 128


@dataclass(frozen=True)
class Step:
    """One step: its number from 1, of how many, and the loss in nats."""

    stage: str
    number: int
    total: int
    loss: float
    learning_rate: float
    losses: Mapping[str, float] = field(default_factory=dict)


def pretrain(
    vlm: VisionLanguageModel, corpus: Corpus, *, config: PretrainConfig, folder: Path | None = None
) -> Iterator[Step]:
    """All three stages in place; with a ``folder``, finished stages and steps are taken from their checkpoints."""
    heads = slot_heads(vlm, corpus, seed=config.seed)
    yield from warm_up_tower(vlm, heads, corpus, config=config, checkpoint=_file(folder, "tower"))
    yield from warm_up_text(vlm, corpus, config=config, checkpoint=_file(folder, "text"))
    yield from train_jointly(vlm, corpus, config=config, checkpoint=_file(folder, "joint"))


def slot_heads(vlm: VisionLanguageModel, corpus: Corpus, *, seed: int) -> SlotHeads:
    """Untrained classifiers for the corpus's slots and departments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SlotHeads({**corpus.slots, DEPARTMENT: departments(corpus)}, width=vlm.hidden_size)


def departments(corpus: Corpus) -> tuple[str, ...]:
    """The departments of the products that have pictures, in alphabetical order."""
    return tuple(sorted({product.department for product in corpus.products}))


def warm_up_tower(
    vlm: VisionLanguageModel,
    heads: SlotHeads,
    corpus: Corpus,
    *,
    config: PretrainConfig,
    checkpoint: Path | None = None,
) -> Iterator[Step]:
    """Classify scene slots on ads and departments on everything; flipped, shifted and brightened at random."""
    parts = nn.ModuleDict(
        {"tower": vlm.core.model.vision_tower, "projector": vlm.core.model.multi_modal_projector, "heads": heads}
    )
    ads = slot_labels(heads, corpus.ad_slots, [product.department for product in corpus.ad_products])
    nothing: dict[str, str | None] = dict.fromkeys(corpus.slots)
    bare = slot_labels(heads, [nothing] * len(corpus.products), [product.department for product in corpus.products])
    labels = {slot: torch.cat([ads[slot], bare[slot]]) for slot in ads}
    bare_count = config.tower_batch_size // 6

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([config.seed, _TOWER, step])
        rows = rng.integers(len(corpus.ads), size=config.tower_batch_size - bare_count)
        products = rng.integers(len(corpus.products), size=bare_count)
        pictures = augment(np.concatenate([corpus.ads[rows], corpus.pictures[products]]), rng)
        chosen = torch.from_numpy(np.concatenate([rows, len(corpus.ads) + products]))
        wide = rng.random() < _WIDE_SHARE
        logits = heads(_tokens(vlm, pictures, wide=wide))
        if wide:
            chosen = chosen[: len(chosen) // 2 * 2]
        losses = {
            slot: functional.cross_entropy(
                logits[slot],
                labels[slot][chosen].to(vlm.device),
                ignore_index=_UNKNOWN,
                label_smoothing=_LABEL_SMOOTHING,
            )
            for slot in logits
            if bool((labels[slot][chosen] != _UNKNOWN).any())
        }
        return torch.stack(list(losses.values())).sum(), {slot: float(value.detach()) for slot, value in losses.items()}

    yield from _train(
        "tower",
        parts,
        loss,
        steps=config.tower_steps,
        learning_rate=config.tower_learning_rate,
        weight_decay=0.05,
        config=config,
        checkpoint=checkpoint,
    )


def warm_up_text(
    vlm: VisionLanguageModel, corpus: Corpus, *, config: PretrainConfig, checkpoint: Path | None = None
) -> Iterator[Step]:
    """Teach the language model to write from product text and rough prompts, without pictures."""

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([config.seed, _TEXT, step])
        plain = plain_share(step / config.text_steps, end=PLAIN_SHARE)
        questions = [
            tasks.draw_text(corpus, rng, answers=config.answers, plain=bool(rng.random() < plain))
            for _ in range(config.batch_size)
        ]
        return _answer_loss(vlm, questions, None)

    yield from _train(
        "text",
        vlm.core.model.language_model,
        loss,
        steps=config.text_steps,
        learning_rate=config.learning_rate,
        weight_decay=0.02,
        config=config,
        checkpoint=checkpoint,
    )


def train_jointly(
    vlm: VisionLanguageModel, corpus: Corpus, *, config: PretrainConfig, checkpoint: Path | None = None
) -> Iterator[Step]:
    """Teach the language model the four tasks with pictures; tower and projector stay, but for their scale."""
    bank = tasks.picture_bank(corpus)
    match_projector_scale(vlm, bank, seed=config.seed)
    features = all_features(vlm, bank) if config.joint_steps else None

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([config.seed, _JOINT, step])
        questions = [tasks.draw(corpus, bank, rng, answers=config.answers) for _ in range(config.batch_size)]
        return _answer_loss(vlm, questions, features)

    yield from _train(
        "joint",
        vlm.core.model.language_model,
        loss,
        steps=config.joint_steps,
        learning_rate=config.learning_rate * _JOINT_RATE,
        weight_decay=0.02,
        config=config,
        checkpoint=checkpoint,
    )


def projector_scale(vlm: VisionLanguageModel) -> float:
    """Return the root mean square of the projector's output, by which readers of image tokens rescale."""
    return float(vlm.core.model.multi_modal_projector.linear_2.weight.detach().norm())


@torch.inference_mode()
def match_projector_scale(
    vlm: VisionLanguageModel, bank: UInt8[np.ndarray, "picture size size 3"], *, seed: int
) -> None:
    """Scale the projector so that image tokens have the root mean square of words: else they drown what layers add."""
    rows = np.random.default_rng([seed, _JOINT]).permutation(len(bank))[: 2 * _CHUNK]
    observed = float(all_features(vlm, bank[rows]).float().square().mean().sqrt())
    words = float(vlm.core.get_input_embeddings().weight.float().square().mean().sqrt())
    rescale_projector(vlm, rms=words, observed=observed)


@torch.inference_mode()
def all_features(
    vlm: VisionLanguageModel, pictures: UInt8[np.ndarray, "picture size size 3"]
) -> Float16[Tensor, "picture token width"]:
    """Image features of many pictures, in chunks, kept in half precision: (picture, token, width) float16."""
    vlm.model.eval()
    parts = [
        batches.image_features(vlm, list(pictures[start : start + _CHUNK])).half().cpu()
        for start in range(0, len(pictures), _CHUNK)
    ]
    return torch.cat(parts)


@torch.inference_mode()
def slot_accuracy(
    vlm: VisionLanguageModel,
    heads: SlotHeads,
    pictures: UInt8[np.ndarray, "picture size size 3"],
    slots: Sequence[Mapping[str, str | None]],
    departments: Sequence[str],
) -> dict[str, float]:
    """Share of pictures whose slot the warm-up's classifiers name rightly; slots that do not apply are left out."""
    labels = slot_labels(heads, slots, departments)
    vlm.model.eval()
    parts = [
        heads(_tokens(vlm, pictures[start : start + _CHUNK], wide=False)) for start in range(0, len(pictures), _CHUNK)
    ]
    result = {}
    for slot, truth in labels.items():
        named = torch.cat([part[slot] for part in parts]).argmax(1).cpu()
        known = truth != _UNKNOWN
        result[slot] = float((named == truth)[known].float().mean())
    return result


def slot_labels(
    heads: SlotHeads, slots: Sequence[Mapping[str, str | None]], departments: Sequence[str]
) -> dict[str, Int64[Tensor, " picture"]]:
    """Index of every picture's value per slot, (picture,) int64; −100 where the slot does not apply."""
    rows = [{**values, DEPARTMENT: department} for values, department in zip(slots, departments, strict=True)]
    places = {slot: {name: place for place, name in enumerate(names)} for slot, names in heads.values.items()}
    labels = {}
    for slot, place in places.items():
        values = [row.get(slot) for row in rows]
        labels[slot] = torch.tensor([_UNKNOWN if value is None else place.get(value, _UNKNOWN) for value in values])
    return labels


def augment(
    pictures: UInt8[np.ndarray, "picture size size 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "picture size size 3"]:
    """Mirror half of the pictures, shift each by up to three pixels, vary brightness and contrast a little."""
    count, height, width, _ = pictures.shape
    padded = np.pad(pictures, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="edge")
    result = np.empty_like(pictures)
    corners, mirrored = rng.integers(0, 2 * _SHIFT + 1, size=(count, 2)), np.less(rng.random(count), 0.5)
    gains, lifts = 1 + _GLOW * rng.uniform(-1, 1, (count, 1)), 128 * _GLOW * rng.uniform(-1, 1, (count, 1))
    for number, ((top, left), turned) in enumerate(zip(corners, mirrored, strict=True)):
        picture = padded[number, top : top + height, left : left + width]
        result[number] = picture[:, ::-1] if turned else picture
    levels = np.arange(256)
    tables = np.clip((levels - 128) * gains + 128 + lifts, 0, 255).astype(np.uint8)
    return tables[np.arange(count)[:, None, None, None], result]


def plain_share(done: float, *, end: float) -> float:
    """Share of plain wording after ``done`` of the text warm-up: all at first, then ever less, none from ``end`` on."""
    return float(np.clip(1.5 * (1 - done / end), 0, 1)) if end > 0 else 0.0


def _tokens(vlm: VisionLanguageModel, pictures: np.ndarray, *, wide: bool) -> Tensor:
    """Image tokens per square, (picture, token, width); ``wide`` shows them to the tower two by two, side by side."""
    if not wide:
        return batches.image_features(vlm, list(pictures))
    pairs = [np.concatenate(list(pictures[row : row + 2]), axis=1) for row in range(0, len(pictures) - 1, 2)]
    tokens = batches.image_features(vlm, pairs)
    side = math.isqrt(tokens.shape[1] // 2)
    grid = tokens.unflatten(1, (side, 2, side)).transpose(1, 2)
    return grid.flatten(2, 3).flatten(0, 1)


def _answer_loss(
    vlm: VisionLanguageModel, questions: Sequence[Question], features: Tensor | None
) -> tuple[Tensor, dict[str, float]]:
    """Mean negative log-probability of the answers' tokens, nats, and the same by task."""
    shown = [question.picture for question in questions if question.picture is not None]
    given = features[torch.tensor(shown)].to(vlm.device, torch.float32) if features is not None and shown else None
    answers = [(number, answer) for number, question in enumerate(questions) for answer in question.answers]
    log_probs, rows = packed_log_probs(vlm, [question.sample for question in questions], answers, features=given)
    kinds = np.array([questions[number].task for number, _ in answers])[rows.cpu().numpy()]
    values = -log_probs.detach().cpu().numpy()
    return -log_probs.mean(), {str(task): float(values[kinds == task].mean()) for task in np.unique(kinds)}


def _train(
    stage: str,
    module: nn.Module,
    loss: Callable[[int], tuple[Tensor, dict[str, float]]],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    config: PretrainConfig,
    checkpoint: Path | None,
) -> Iterator[Step]:
    """AdamW on the module's weights; continues from the checkpoint if there is one."""
    parameters = dict(module.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    matrices = [value for value in parameters.values() if value.ndim > 1]
    vectors = [value for value in parameters.values() if value.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=True)
    first = _restore(checkpoint, parameters, optimizer, stage=stage, steps=steps)
    module.train()
    for step in range(first, steps):
        rate = learning_rate * warmup_cosine(step, steps, warmup_share=config.warmup_share, floor=_FLOOR)
        for group in optimizer.param_groups:
            group["lr"] = rate
        value, losses = loss(step)
        value.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if checkpoint is not None and ((step + 1) % EVERY == 0 or step + 1 == steps):
            _store(checkpoint, parameters, optimizer, step=step + 1, steps=steps)
        yield Step(stage, step + 1, steps, float(value.detach()), rate, losses)
    module.requires_grad_(False).eval()


def _store(
    path: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, *, step: int, steps: int
) -> None:
    """Weights and moments as one safetensors file, which appears whole or not at all."""
    tensors: dict[str, Tensor] = {f"weight.{name}": value.detach() for name, value in parameters.items()}
    for name, parameter in parameters.items():
        for moment in _MOMENTS:
            if parameter in optimizer.state:  # a weight that no output depends on has no moments
                tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment]
    with atomic_file(path) as waiting:
        save_file(
            {name: value.contiguous().clone() for name, value in tensors.items()},
            waiting,
            {"step": str(step), "steps": str(steps)},
        )


def _restore(
    path: Path | None,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    stage: str,
    steps: int,
) -> int:
    """Load what `_store` wrote and return the number of finished steps; 0 without a checkpoint."""
    if path is None or not path.exists():
        return 0
    remedy = f"Delete it, or the folder, to start the {stage} stage again."
    saved, metadata = read_tensors(path, remedy=remedy)
    if metadata.get("steps") != str(steps) or not metadata.get("step", "").isdecimal():
        raise ModelError(f"{path}: belongs to a run of {metadata.get('steps')} steps, not {steps}. {remedy}")
    kinds = ("weight", *_MOMENTS)
    expected = {f"{kind}.{name}": value.shape for name, value in parameters.items() for kind in kinds}
    odd = [name for name, value in saved.items() if value.shape != expected.get(name)]
    half = [name for name in parameters if len({f"{kind}.{name}" in saved for kind in _MOMENTS}) > 1]
    if odd or half or any(f"weight.{name}" not in saved for name in parameters):
        raise ModelError(f"{path}: the checkpoint of another model. {remedy}")
    step = int(metadata["step"])
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[f"weight.{name}"])
            moments = {kind: saved[f"{kind}.{name}"] for kind in _MOMENTS if f"{kind}.{name}" in saved}
            if moments:
                placed = {kind: value.to(parameter.device) for kind, value in moments.items()}
                optimizer.state[parameter] = {"step": torch.tensor(float(step)), **placed}
    return step


def _file(folder: Path | None, stage: str) -> Path | None:
    return None if folder is None else folder / f"{stage}.safetensors"
