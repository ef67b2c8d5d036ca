"""What the reference says of a round, scored once and kept on disk: no second model stands beside a policy that learns.

The file (safetensors, log-probabilities in nats) carries a mark of everything that it depends on.  A run that goes on
after a kill reads it; with another model, other pairs, pictures or texts it is scored again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from clickscape.preference.loss import AnswerLogProbs
from clickscape.preference.train import Lessons, score, score_answers
from clickscape.vlm.batch import Sample
from clickscape.vlm.model import VisionLanguageModel
from clickscape.workspace.files import atomic_file, fingerprint

VERSION = 1
_MARK = "fingerprint"


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """log π_ref in nats: of a round's answers, and of texts that the policy drew, (text,)."""

    answers: AnswerLogProbs
    drawn: Tensor


def reference_log_probs(
    lessons: Lessons,
    drawn: Sequence[Sample],
    *,
    file: Path,
    weights: str,
    opened: Callable[[], AbstractContextManager[VisionLanguageModel]],
    product_centric: bool,
    device: torch.device,
) -> Reference:
    """Read what the reference said from `file`; if that is not there, or of something else, score and write it.

    `weights` names the reference's weights (their digest).  `opened` gives the model for as long as it is asked; it is
    not called when the file is good.
    """
    mark = _mark(lessons, drawn, weights=weights, product_centric=product_centric)
    known = _read(file, mark=mark, device=device)
    if known is not None:
        return known
    with opened() as vlm:
        known = Reference(score(vlm, lessons, product_centric=product_centric), score_answers(vlm, drawn))
    _write(file, known, mark=mark)
    return known


def _mark(lessons: Lessons, drawn: Sequence[Sample], *, weights: str, product_centric: bool) -> str:
    pictures = [*lessons.pictures, *(picture for sample in drawn for picture in sample.images)]
    return fingerprint(
        {
            "version": VERSION,
            "weights": weights,
            "product_centric": product_centric,
            "lessons": [asdict(lesson) for lesson in lessons.lessons],
            "drawn": [(sample.instruction, sample.answer, len(sample.images)) for sample in drawn],
            "pictures": [(picture.shape, hashlib.sha256(picture.tobytes()).hexdigest()) for picture in pictures],
        }
    )


def _read(file: Path, *, mark: str, device: torch.device) -> Reference | None:
    """None where there is no file, one of another mark, or a damaged one: it can always be made again."""
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="pt", device=str(device)) as saved:
            if (saved.metadata() or {}).get(_MARK) != mark:
                return None
            values = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError):
        return None
    answers = AnswerLogProbs(values["chosen"], values["rejected"], values.get("spoilt"))
    return Reference(answers, values["drawn"])


def _write(file: Path, reference: Reference, *, mark: str) -> None:
    answers = reference.answers
    values = {"chosen": answers.chosen, "rejected": answers.rejected, "drawn": reference.drawn}
    if answers.spoilt is not None:
        values["spoilt"] = answers.spoilt
    with atomic_file(file) as waiting:
        save_file({name: value.cpu().contiguous() for name, value in values.items()}, waiting, metadata={_MARK: mark})
