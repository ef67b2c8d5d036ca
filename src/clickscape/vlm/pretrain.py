"""Joint pre-training on the four instruction tasks; every step yields a record, and a killed run goes on.

Tower and projector stay as they are, so their features are computed once, and the language model learns. Every step
draws from a random state of its own, so a resumed run equals one that was never interrupted. What comes before, for
the shipped model alone, is in scripts/warm_ups.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from safetensors.torch import save_file
from torch import Tensor, nn

from clickscape.compute.schedules import warmup_cosine
from clickscape.compute.weights import read_tensors
from clickscape.config import PretrainConfig
from clickscape.errors import ModelError
from clickscape.files import atomic_file
from clickscape.vlm import batch as batches
from clickscape.vlm import tasks
from clickscape.vlm.model import VisionLanguageModel, rescale_projector
from clickscape.vlm.packing import packed_log_probs
from clickscape.vlm.tasks import Corpus, Question

EVERY = 200
"""Steps between two checkpoints."""

_JOINT = 3
_MOMENTS = ("exp_avg", "exp_avg_sq")
_FLOOR = 0.03  # the learning rate ends at this share
_JOINT_RATE = 0.7  # learning rate of joint training, as a share of the text warm-up's
CHUNK = 128
"""Pictures that the tower encodes in one pass."""


@dataclass(frozen=True)
class Step:
    """One step: its number from 1, of how many, and the loss in nats."""

    stage: str
    number: int
    total: int
    loss: float
    learning_rate: float
    losses: Mapping[str, float] = field(default_factory=dict)


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
        return answer_loss(vlm, questions, features)

    yield from train_part(
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
    rows = np.random.default_rng([seed, _JOINT]).permutation(len(bank))[: 2 * CHUNK]
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
        batches.image_features(vlm, list(pictures[start : start + CHUNK])).half().cpu()
        for start in range(0, len(pictures), CHUNK)
    ]
    return torch.cat(parts)


def answer_loss(
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


def train_part(
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
