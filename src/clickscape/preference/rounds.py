"""Rounds of sampling, scoring and training, in a folder from which a killed run goes on (`records` lists its files).

Every round has random streams of its own, drawn from (seed, round, purpose), and an optimizer of its own, so that a run
that goes on after a kill gives the same result, to the bit, as one that was never interrupted.  Several processes share
the products of a round and the pairs of a batch; the main one reads and writes the files and broadcasts.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from clickscape.compute import fsdp
from clickscape.config import OptimizeConfig
from clickscape.errors import PreferenceError
from clickscape.files import atomic_folder, sweep
from clickscape.generation.pipeline import AdPipeline, ProductImages, cutout_images
from clickscape.generation.sample import Candidate
from clickscape.json_files import write_json
from clickscape.preference import adapter, divergence, records
from clickscape.preference.candidates import round_pairs, sample_round
from clickscape.preference.corruption import Captions
from clickscape.preference.divergence import Divergence
from clickscape.preference.loss import AnswerLogProbs
from clickscape.preference.monitor import RewardHackingMonitor
from clickscape.preference.optimizer import PreferenceOptimizer
from clickscape.preference.precision import to_device_and_dtype
from clickscape.preference.records import Round, RoundReport, Sampled, read_pairs
from clickscape.preference.reference import Reference, reference_log_probs
from clickscape.preference.train import (
    Step,
    TrainingPairs,
    build_training_pairs,
    question,
    sample_log_probs,
    train,
    trainable_parameters,
)
from clickscape.types import Product
from clickscape.vlm import model as vlm_model
from clickscape.vlm.batch import Sample
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel

__all__ = [
    "Event",
    "RoundReport",
    "Sampled",
    "open_policy",
    "optimize",
    "read_pairs",
    "save_policy",
]

KL_PRODUCTS = 64
"""Products whose descriptions (unselected samples of the policy) estimate the KL to the reference."""

Event = Sampled | Step | RoundReport


def optimize(
    writer: Writer,
    pipeline: AdPipeline,
    products: Sequence[Product],
    *,
    folder: Path,
    config: OptimizeConfig,
    monitor: RewardHackingMonitor | None = None,
) -> Iterator[Event]:
    """Optimize a copy of the writer's model on these products by PCPO; `open_policy(folder)` opens the result.

    Yields `Sampled`, `Step` and one `RoundReport` per round; finished rounds are not repeated.  What the pipeline's
    relevance gate refuses may be rejected and never chosen; `monitor` may end the run, and the policy kept is then the
    one before.  All of the pipeline's processes call this with the same arguments and see the same folder.
    PreferenceError for a catalog from which no other caption can be drawn, for a folder of another run, and when the
    first round finds no pair.
    """
    folder = Path(folder)
    captions = Captions(products) if config.product_weight > 0 else None
    by_id = {product.product_id: product for product in products}
    images = pipeline.product_images or cutout_images(writer.vlm.image_size)
    pipeline, processes = replace(pipeline, product_images=images), pipeline.processes
    if processes.is_main:
        records.claim_folder(folder, writer.vlm, products, config=config, monitor=monitor)
    del writer  # its weights lie in round-0 now; a second copy must not stand in memory while the policy learns
    policy: VisionLanguageModel | None = None
    for number in range(1, config.rounds + 1):
        current = Round(folder, number, config, processes)
        if known := _finished_report(current):
            yield known
            if known.stopped:
                return
            continue
        policy = policy or _opened(current)
        with fsdp.gathered(policy.core):
            if monitor is not None:
                monitor.sample(Writer(policy), folder / f"round-{number - 1}", processes=processes)
            candidates = yield from sample_round(policy, products, current=current, pipeline=pipeline)
            pairs = round_pairs(candidates, products, current=current, captions=captions, vlm=policy)
            if not pairs and number == 1:
                raise PreferenceError(
                    f"no preference pairs among {sum(map(len, candidates))} candidates: those of a product are equal, "
                    f"did not parse, or differ by less than min_margin = {config.min_margin}. Lower min_margin, or "
                    "raise temperature."
                )
            training_pairs = build_training_pairs(pairs, products=by_id, pictures=images, vlm=policy)
            first = [each[0] for each in candidates[:KL_PRODUCTS]]
            shown = [by_id[one.product_id] for one in first]
            drawn = [
                Sample(question(product, taught=policy.instructions), (images(product),), one.text)
                for product, one in zip(shown, first, strict=True)
            ]
            reference = _reference(policy, training_pairs, drawn, current=current)
            before = reference.drawn[processes.number :: processes.count]
            log_ratios = divergence.log_ratios(policy, processes.share(drawn), before=before, processes=processes)
            report = records.report(number, candidates, pairs, log_ratios=log_ratios)
        unused = _unused(products, candidates, current=current)
        for step in _steps(
            policy, training_pairs, current=current, reference=reference.answers, unused=unused, images=images
        ):
            report = replace(report, steps=step.number, kl_after=step.kl, kl_after_error=step.kl_error)
            yield step
        if monitor is not None:
            with fsdp.gathered(policy.core):
                found = monitor.after(Writer(policy), folder, round_number=number, processes=processes)
            report = replace(report, monitor=found)
        report = replace(report, stopped=_reason(report, kl_budget=config.kl_budget))
        records.save_round(policy, current, last=number == config.rounds or report.stopped is not None)
        if processes.is_main:
            write_json(current.folder / "report.json", asdict(report))
            shutil.rmtree(current.folder / records.CHECKPOINT, ignore_errors=True)
        yield report
        if report.stopped:
            return


def open_policy(folder: Path, *, round_number: int | None = None) -> Writer:
    """Open the writer after a round (None: the one that is kept; 0: the reference); PreferenceError without one."""
    settings = records.read_settings(folder)
    if settings.get("version") != records.VERSION:
        raise PreferenceError(f"{folder} was written by another release of clickscape. Optimize again in a new folder.")
    config = OptimizeConfig.model_validate(settings["config"])
    if round_number is None:
        reports = [folder / f"round-{number}" / "report.json" for number in range(1, config.rounds + 1)]
        finished = [file for file in reports if file.exists()]
        round_number = records.read_report(finished[-1]).kept if finished else 0
    return Writer(records.open_round(folder, round_number, config=config))


def save_policy(folder: Path, target: Path) -> None:
    """Save the policy that is kept as a checkpoint that plain `transformers` opens, an adapter merged into it."""
    vlm = open_policy(folder).vlm
    vlm_model.save(adapter.merged(vlm) if hasattr(vlm.model, "merge_and_unload") else vlm, target)


def _finished_report(current: Round) -> RoundReport | None:
    """Return the report of a finished round and delete its last checkpoint, which a kill may have left; else None."""
    report, file = None, current.folder / "report.json"
    if current.processes.is_main and file.exists():
        report = records.read_report(file)
        shutil.rmtree(current.folder / records.CHECKPOINT, ignore_errors=True)
    return current.processes.broadcast(report)


def _reason(report: RoundReport, *, kl_budget: float) -> str | None:
    """Return why the optimization ends with a round, by its KL budget or its monitor; None where it goes on."""
    reasons = [report.monitor.reason] if report.monitor is not None and report.monitor.reason else []
    if kl_budget and report.kl_after is not None and report.kl_after > kl_budget:
        reasons.append(
            f"KL {report.kl_after:.2f} ± {report.kl_after_error:.2f} nats after step {report.steps}, over "
            f"kl_budget = {kl_budget:g}"
        )
    return "; ".join(reasons) or None


def _unused(products: Sequence[Product], candidates: Sequence[Sequence[Candidate]], *, current: Round) -> list[Product]:
    """Products on which the KL is estimated during a round: those that the round does not learn from, if any."""
    learned = {each[0].product_id for each in candidates}
    others = [product for product in products if product.product_id not in learned]
    others = others if len(others) > 1 else list(products)
    order = current.stream(records.MONITORING).permutation(len(others))
    return [others[int(row)] for row in order[:KL_PRODUCTS]]


def _steps(
    policy: VisionLanguageModel,
    training_pairs: TrainingPairs,
    *,
    current: Round,
    reference: AnswerLogProbs,
    unused: Sequence[Product],
    images: ProductImages,
) -> Iterator[Step]:
    """The steps of a round, from its checkpoint on if there is one, until its pairs or its KL budget are used up."""
    if not len(training_pairs):
        return
    config, processes = current.config, current.processes
    optimizer = PreferenceOptimizer(trainable_parameters(policy, config=config), processes=processes)
    checkpoint = current.folder / records.CHECKPOINT
    if processes.is_main and current.folder.exists():
        sweep(current.folder, deep=False)  # a kill while a checkpoint was replaced
    done = optimizer.restore(checkpoint) if processes.broadcast(processes.is_main and checkpoint.exists()) else 0
    for step in train(
        policy,
        training_pairs,
        reference=reference,
        config=config,
        rng=current.stream(records.TRAINING),
        round_number=current.number,
        optimizer=optimizer,
        done=done,
        processes=processes,
    ):
        last = step.number == step.steps
        if config.kl_budget and (last or step.number % config.kl_every == 0):
            with fsdp.gathered(policy.core):
                samples = divergence.sample(
                    Writer(policy),
                    unused,
                    pictures=images,
                    max_new_tokens=config.max_new_tokens,
                    rng=current.stream(records.MONITORING, step.number),
                    processes=processes,
                )
                with _pretrained(policy, current=current) as pretrained:
                    before = sample_log_probs(pretrained, samples)
                found = Divergence.of(divergence.log_ratios(policy, samples, before=before, processes=processes))
            step = replace(step, kl=found.nats, kl_error=found.error)
            if found.nats > config.kl_budget:
                yield step
                return
        # No checkpoint of a step that ends the round: what went on from it would not end there.
        if config.checkpoint_every and not last and step.number % config.checkpoint_every == 0:
            optimizer.save(checkpoint, number=step.number)
        yield step


def _reference(
    policy: VisionLanguageModel, training_pairs: TrainingPairs, drawn: Sequence[Sample], *, current: Round
) -> Reference:
    """Return log π_ref of a round's pairs and of texts that the policy sampled, before any step of the round."""
    config = current.config
    alike = current.number == 1 and not config.lora_rank  # nothing has been learned: the policy is the reference
    digest = records.read_settings(current.run)["model"]
    return reference_log_probs(
        training_pairs,
        drawn,
        file=current.folder / "reference.safetensors",
        weights=f"{digest} {policy.core.dtype}",
        opened=lambda: nullcontext(policy) if alike else _pretrained(policy, current=current),
        product_centric=config.product_weight > 0,
        device=policy.device,
        processes=current.processes,
    )


def _opened(current: Round) -> VisionLanguageModel:
    """The policy before a round, ready to learn; split over the processes where the settings say so."""
    config, processes = current.config, current.processes
    policy = records.open_round(current.run, current.number - 1, config=config)
    to_device_and_dtype(policy, config=config, device=processes.device)
    if config.server and current.number == 1 and processes.is_main:  # later ones were saved after their rounds
        with atomic_folder(current.run / "round-0" / records.ADAPTER_FOLDER) as waiting:
            adapter.save(policy, waiting)
    if config.shard:
        trainable_parameters(policy, config=config)
        fsdp.shard(policy.core, processes=processes)
    return policy


@contextmanager
def _pretrained(policy: VisionLanguageModel, *, current: Round) -> Iterator[VisionLanguageModel]:
    """The reference for the length of a block: the policy without its adapter, or opened and let go again."""
    if current.config.lora_rank:
        with adapter.disabled(policy):
            yield policy
    else:
        pretrained = vlm_model.load(current.run / "round-0" / "model")
        yield to_device_and_dtype(pretrained, config=current.config, device=current.processes.device)
