"""The files of an optimization and the report of a round; every file is written whole or not at all.

folder/settings.json            the run's settings, and fingerprints of its model and products
folder/round-0/model/           the reference: the pre-trained model (a Hugging Face folder)   (a server: adapter/, too)
folder/round-1/passes/          the same of some products each, while sampling goes on
folder/round-1/candidates.jsonl descriptions with their rewards   (sampling is done)
folder/round-1/pairs.jsonl      the preference pairs
folder/round-1/reference.safetensors    log-probabilities under the reference
folder/round-1/checkpoint/      the policy in the middle of the round, in parts   (gone when the round is done)
folder/round-1/model/           the policy after the round   (LoRA: adapter/ as PEFT's, and model/ in the last)
folder/round-1/monitor.jsonl    what it writes for held-out products   (with a monitor; round-0: the reference)
folder/round-1/report.json      (the round is done)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from clickscape.compute import fsdp
from clickscape.compute.device import Processes
from clickscape.config import OptimizeConfig
from clickscape.errors import PreferenceError
from clickscape.files import atomic_folder, fingerprint
from clickscape.generation.sample import Candidate
from clickscape.json_files import read_json, read_json_lines, write_json
from clickscape.preference import adapter
from clickscape.preference.divergence import Divergence
from clickscape.preference.monitor import MonitorReport, RewardHackingMonitor
from clickscape.preference.pairs import PreferencePair
from clickscape.preference.precision import to_device_and_dtype
from clickscape.types import Product
from clickscape.vlm import model as vlm_model
from clickscape.vlm.model import VisionLanguageModel

VERSION = 2
SETTINGS, CANDIDATES, PASSES = "settings.json", "candidates.jsonl", "passes"
CHECKPOINT, ADAPTER_FOLDER = "checkpoint", "adapter"
_REMEDY = "Delete the folder and optimize again."
Record = TypeVar("Record")

PRODUCTS, SAMPLING, CORRUPTING, TRAINING, ADAPTER, MONITORING, SEARCHING = range(7)
"""What the random streams of a round are for."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Progress of a round's sampling, in products."""

    round: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class RoundReport:
    """One round in figures: counts; shares of candidates; ``reward`` and ``margin``: means in logits.

    All but the pairs are of what the policy wrote; ``searched``: what search over scenes added to the candidates.
    ``kl``: estimate of KL(policy before this round ‖ reference) in nats; ``kl_error``: its standard error.
    ``margin`` is None without a pair of two parsed descriptions.  ``kl_after``: the same of the policy after the
    round, None without a KL budget.  ``relevant_rate``: 1 where no gate was asked.  ``monitor``: measured on held-out
    products, None without.  ``stopped``: why the optimization ends with this round, None where it goes on.
    """

    round: int
    products: int
    candidates: int
    pairs: int
    parse_rate: float
    distinct_scenes: int
    reward: float
    margin: float | None
    kl: float
    kl_error: float
    steps: int
    kl_after: float | None = None
    kl_after_error: float | None = None
    relevant_rate: float = 1.0
    monitor: MonitorReport | None = None
    stopped: str | None = None
    searched: int = 0

    @property
    def kept(self) -> int:
        """The round whose policy is kept, should this one be the last."""
        return self.round if self.monitor is None else self.monitor.kept


@dataclass(frozen=True, slots=True)
class Round:
    """Which round of which run, with which settings, and the processes that share it."""

    run: Path
    number: int
    config: OptimizeConfig
    processes: Processes

    @property
    def folder(self) -> Path:
        """The folder of this round's files."""
        return self.run / f"round-{self.number}"

    def stream(self, *purpose: int) -> np.random.Generator:
        """Return the random stream of one purpose in this round: the same however often a run was killed."""
        return _stream(self.config, self.number, *purpose)


def report(
    number: int,
    candidates: Sequence[Sequence[Candidate]],
    pairs: Sequence[PreferencePair],
    *,
    log_ratios: np.ndarray,
) -> RoundReport:
    """Return a round's report before its first step.

    `log_ratios`: log π_θ − log π_ref of samples of the policy, (sample,) nats.
    """
    flat = [candidate for each in candidates for candidate in each if not candidate.searched]
    margins = [pair.margin for pair in pairs if pair.margin is not None]
    found = Divergence.of(log_ratios)
    return RoundReport(
        round=number,
        products=len(candidates),
        candidates=len(flat),
        pairs=len(pairs),
        parse_rate=float(np.mean([candidate.parsed for candidate in flat])),
        distinct_scenes=len({candidate.scene for candidate in flat}),
        reward=float(np.mean([candidate.score for candidate in flat])),
        margin=float(np.mean(margins)) if margins else None,
        kl=found.nats,
        kl_error=found.error,
        steps=0,
        relevant_rate=float(np.mean([candidate.relevant for candidate in flat])),
        searched=sum(map(len, candidates)) - len(flat),
    )


def _stream(config: OptimizeConfig, number: int, *purpose: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, number, *purpose])


def claim_folder(
    folder: Path,
    vlm: VisionLanguageModel,
    products: Sequence[Product],
    *,
    config: OptimizeConfig,
    monitor: RewardHackingMonitor | None = None,
) -> None:
    """Write the run's settings and reference into the folder; PreferenceError where it holds another run."""
    settings: dict[str, Any] = {
        "version": VERSION,
        "config": config.model_dump(mode="json"),
        "model": _digest(vlm),
        "products": fingerprint([product.product_id for product in products]),
        "monitor": None if monitor is None else fingerprint(monitor.settings),
    }
    file = folder / SETTINGS
    if file.exists():
        known = read_settings(folder)
        differing = [key for key in settings if known.get(key) != settings[key]]
        if "config" in differing and isinstance(known.get("config"), dict):
            differing += [key for key, value in settings["config"].items() if known["config"].get(key) != value]
        if differing:
            raise PreferenceError(
                f"{folder} holds an optimization of another kind (different: {', '.join(differing)}). "
                f"Go on with its own settings, or choose a new folder."
            )
    if not (folder / "round-0" / "model").exists():
        vlm_model.save(vlm, folder / "round-0" / "model")
    if not file.exists():
        write_json(file, settings)


def _digest(vlm: VisionLanguageModel) -> str:
    """sha256 of all weights, so that nobody goes on with another model."""
    total = hashlib.sha256()
    for name, value in vlm.model.state_dict().items():
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def open_round(folder: Path, number: int, *, config: OptimizeConfig) -> VisionLanguageModel:
    """Open the policy after round `number`; 0 is the reference."""
    if not config.lora_rank:
        return vlm_model.load(folder / f"round-{number}" / "model", trainable=True)
    vlm = vlm_model.load(folder / "round-0" / "model", trainable=True)
    vlm = adapter.attach(vlm, rank=config.lora_rank, seed=int(_stream(config, 0, ADAPTER).integers(2**31)))
    if number:
        adapter.restore(vlm, folder / f"round-{number}" / ADAPTER_FOLDER)
    return vlm


def save_round(policy: VisionLanguageModel, current: Round, *, last: bool) -> None:
    """Write the policy after a round; an adapter alone, and after the last round the model that holds it.

    All processes call it together, because a split policy is put together; the main one writes.
    """
    config, folder, is_main = current.config, current.folder, current.processes.is_main
    held = adapter.weights(policy) if config.lora_rank else policy.core.state_dict(keep_vars=True)
    weights = fsdp.whole(held, keep=is_main)
    if not is_main:
        return
    if not config.lora_rank:
        vlm_model.save(policy, folder / "model", weights=weights)
        return
    with atomic_folder(folder / ADAPTER_FOLDER) as waiting:
        adapter.save(policy, waiting, saved=weights)
    if last:
        if fsdp.is_sharded(policy.core):  # which nobody can copy
            policy = open_round(current.run, current.number, config=config)
            to_device_and_dtype(policy, config=config, device=current.processes.device)
        vlm_model.save(adapter.merged(policy), folder / "model")


def read_report(file: Path) -> RoundReport:
    """Read the report of a finished round (report.json)."""
    return _read(file, RoundReport)


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings of a run's folder; PreferenceError where nothing or something else is found."""
    return _read(folder / SETTINGS, dict[str, Any])


def read_candidates(file: Path) -> list[list[Candidate]]:
    """Read a round's candidates, a list per product in the order in which they were sampled (candidates.jsonl)."""
    candidates: dict[str, list[Candidate]] = {}
    for candidate in read_json_lines(file, Candidate, error=PreferenceError, remedy=_REMEDY):
        candidates.setdefault(candidate.product_id, []).append(candidate)
    return list(candidates.values())


def pass_file(folder: Path, number: int, *, total: int) -> Path:
    """Return the file of the candidates of one pass of a round's sampling, of so many in all."""
    return folder / f"{number}-of-{total}.jsonl"


def read_passes(folder: Path, *, total: int) -> dict[int, list[list[Candidate]]]:
    """Read the passes of a round's sampling that are finished: number → candidates, a list per product."""
    files = {number: pass_file(folder, number, total=total) for number in range(total)}
    return {number: read_candidates(file) for number, file in files.items() if file.exists()}


def read_pairs(file: Path) -> list[PreferencePair]:
    """Read the pairs that a round learned from (pairs.jsonl)."""
    return read_json_lines(file, PreferencePair, error=PreferenceError, remedy=_REMEDY)


def _read(file: Path, kind: type[Record]) -> Record:
    try:
        return read_json(file, kind, error=PreferenceError, remedy=_REMEDY)
    except FileNotFoundError:
        raise PreferenceError(f"{file}: no optimization here. Run `clickscape optimize` first.") from None
