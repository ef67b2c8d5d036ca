"""The reference model's log-probabilities of a round, computed once and kept on disk, not beside the policy in memory.

The file (safetensors, log-probabilities in nats) carries a mark of everything that it depends on.  A run that goes on
after a kill reads it; with another model, other pairs, pictures or texts it is scored again.  Several processes share
the scoring; the leading one reads and writes the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from clickscape.compute.device import ALONE, Processes
from clickscape.compute.weights import read_tensors
from clickscape.errors import ModelError
from clickscape.files import atomic_file, fingerprint
from clickscape.preference.loss import AnswerLogProbs
from clickscape.preference.train import TrainingPairs, pair_log_probs, sample_log_probs
from clickscape.vlm.batch import Sample
from clickscape.vlm.model import VisionLanguageModel

VERSION = 1
_MARK = "fingerprint"


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """log π_ref in nats: of a round's answers, and of texts that the policy drew, (text,)."""

    answers: AnswerLogProbs
    drawn: Tensor

    def to(self, device: torch.device) -> Reference:
        """The same on another device."""
        return Reference(self.answers.each(lambda values: values.to(device)), self.drawn.to(device))


def reference_log_probs(
    training_pairs: TrainingPairs,
    drawn: Sequence[Sample],
    *,
    file: Path,
    weights: str,
    opened: Callable[[], AbstractContextManager[VisionLanguageModel]],
    product_centric: bool,
    device: torch.device,
    processes: Processes = ALONE,
) -> Reference:
    """Read the reference's log-probabilities from `file`; compute and write them if it is missing or of other inputs.

    `weights` names the reference's weights (their digest) and their number format.  `opened` gives the model for as
    long as it is asked; it is not called when the file is good.  All `processes` pass the same and get all of it.
    """
    mark = _mark(training_pairs, drawn, weights=weights, product_centric=product_centric) if processes.is_main else ""
    known = processes.broadcast(_read(file, mark=mark) if processes.is_main else None)
    if known is not None:
        return known.to(device)
    share = training_pairs.subset(processes.share(range(len(training_pairs))))
    with opened() as vlm:
        answers = pair_log_probs(vlm, share, product_centric=product_centric)
        texts = sample_log_probs(vlm, processes.share(drawn))
    known = _together(Reference(answers, texts), processes=processes)
    if processes.is_main:
        _write(file, known, mark=mark)
    return known


def _together(scored: Reference, *, processes: Processes) -> Reference:
    """What all processes have scored, in the order of what was shared out."""

    def whole(values: Tensor) -> Tensor:
        return values.new_tensor(processes.gather(values.tolist()))

    return Reference(scored.answers.each(whole), whole(scored.drawn))


def _mark(training_pairs: TrainingPairs, drawn: Sequence[Sample], *, weights: str, product_centric: bool) -> str:
    pictures = [*training_pairs.pictures, *(picture for sample in drawn for picture in sample.images)]
    return fingerprint(
        {
            "version": VERSION,
            "weights": weights,
            "product_centric": product_centric,
            "training_pairs": [asdict(training_pair) for training_pair in training_pairs.pairs],
            "drawn": [(sample.instruction, sample.answer, len(sample.images)) for sample in drawn],
            "pictures": [(picture.shape, hashlib.sha256(picture.tobytes()).hexdigest()) for picture in pictures],
        }
    )


def _read(file: Path, *, mark: str) -> Reference | None:
    """None where there is no file, one of another mark, or a damaged one: it can always be made again."""
    if not file.exists():
        return None
    try:
        values, metadata = read_tensors(file)
    except ModelError:
        return None
    if metadata.get(_MARK) != mark or not {"chosen", "rejected", "drawn"} <= set(values):
        return None
    answers = AnswerLogProbs(values["chosen"], values["rejected"], values.get("corrupted"))
    return Reference(answers, values["drawn"])


def _write(file: Path, reference: Reference, *, mark: str) -> None:
    answers = reference.answers
    values = {"chosen": answers.chosen, "rejected": answers.rejected, "drawn": reference.drawn}
    if answers.corrupted is not None:
        values["corrupted"] = answers.corrupted
    with atomic_file(file) as waiting:
        save_file({name: value.cpu().contiguous() for name, value in values.items()}, waiting, metadata={_MARK: mark})
