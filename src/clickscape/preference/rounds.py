"""Several rounds of writing, judging and learning, in a folder from which a killed run goes on (`records`: its files).

Every round has random streams of its own, drawn from (seed, round, purpose), and an optimizer of its own, so that a run
that goes on after a kill gives the same result, to the bit, as one that was never interrupted.  Several processes share
the products of a round and the pairs of a batch; the leading one reads and writes the files and tells the others.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from clickscape.compute.device import ALONE, Processes
from clickscape.config import OptimizeConfig
from clickscape.errors import PreferenceError
from clickscape.preference import adapter, divergence, records
from clickscape.preference.divergence import Divergence
from clickscape.preference.learner import Learner
from clickscape.preference.loss import AnswerLogProbs
from clickscape.preference.precision import placed
from clickscape.preference.records import RoundReport, Sampled, read_pairs, stream
from clickscape.preference.reference import Reference, reference_log_probs
from clickscape.preference.sample import (
    Candidate,
    Pictures,
    PreferencePair,
    Reward,
    choose_pairs,
    product_pictures,
    sample_candidates,
)
from clickscape.preference.spoil import Captions, draw
from clickscape.preference.train import (
    Lessons,
    Step,
    patch_grid,
    prepare,
    question,
    score_answers,
    train,
    trainable_parameters,
)
from clickscape.render.renderer import Renderer
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
    "product_pictures",
    "read_pairs",
    "save_policy",
]

KL_PRODUCTS = 64
"""Products whose descriptions (unselected samples of the policy) estimate the KL to the reference."""

Event = Sampled | Step | RoundReport


def optimize(
    writer: Writer,
    reward: Reward,
    renderer: Renderer,
    products: Sequence[Product],
    *,
    folder: Path,
    config: OptimizeConfig,
    pictures: Pictures | None = None,
    processes: Processes = ALONE,
) -> Iterator[Event]:
    """Optimize a copy of the writer's model on these products; `open_policy(folder)` is what came of it.

    Yields `Sampled`, `Step` and one `RoundReport` per round; finished rounds are not repeated.  `pictures` gives the
    picture of a product, by default its cut-out on a plain ground.  All `processes` run this with the same arguments
    and see the same folder.  PreferenceError for a catalog from which no other caption can be drawn, for a folder of
    another run, and when the first round finds nothing to prefer.
    """
    folder = Path(folder)
    captions = Captions(products) if config.product_weight > 0 else None
    by_id = {product.product_id: product for product in products}
    shown = pictures or product_pictures(writer.vlm.image_size)
    if processes.leads:
        records.claim(folder, writer.vlm, products, config=config)
    del writer  # its weights lie in round-0 now; a second copy must not stand in memory while the policy learns
    policy: VisionLanguageModel | None = None
    for number in range(1, config.rounds + 1):
        place = folder / f"round-{number}"
        if known := _told_report(place, processes=processes):
            yield known
            if known.stopped:
                return
            continue
        policy = policy or placed(
            records.open_round(folder, number - 1, config=config), config=config, device=processes.device
        )
        judged = yield from _candidates(
            policy,
            reward,
            renderer,
            products,
            place=place,
            config=config,
            number=number,
            pictures=shown,
            processes=processes,
        )
        pairs = _pairs(judged, by_id, policy, captions, config=config, rng=stream(config, number, records.SPOILING))
        if processes.leads:
            records.write_lines(place / "pairs.jsonl", pairs)
        if not pairs and number == 1:
            raise PreferenceError(
                f"no preference pairs among {sum(map(len, judged))} candidates: those of a product are equal, not "
                f"understood, or closer than min_margin = {config.min_margin}. Lower min_margin or raise temperature."
            )
        lessons = prepare(pairs, products=by_id, pictures=shown, vlm=policy)
        first = [own[0] for own in judged[:KL_PRODUCTS]]
        drawn = [Sample(question(by_id[one.product_id]), (shown(by_id[one.product_id]),), one.text) for one in first]
        reference = _round_reference(
            policy, lessons, drawn, folder=folder, config=config, number=number, processes=processes
        )
        before = reference.drawn[processes.number :: processes.count]
        shifts = divergence.shifts(policy, processes.share(drawn), before=before, processes=processes)
        report = records.report(number, judged, pairs, shifts=shifts)
        for step in _lessons_learned(
            policy,
            lessons,
            reference=reference.answers,
            unused=_held_back(products, judged, config=config, number=number),
            folder=folder,
            config=config,
            number=number,
            pictures=shown,
            processes=processes,
        ):
            report = replace(report, steps=step.number, kl_after=step.kl, kl_after_error=step.kl_error)
            yield step
        if config.kl_budget is not None and report.kl_after is not None and report.kl_after > config.kl_budget:
            report = replace(
                report,
                stopped=f"KL {report.kl_after:.2f} ± {report.kl_after_error:.2f} nats after step {report.steps}, over "
                f"kl_budget = {config.kl_budget:g}",
            )
        if processes.leads:
            last = number == config.rounds or report.stopped is not None
            records.save_round(policy, place, config=config, last=last)
            records.write_json(place / "report.json", asdict(report))
            (place / records.CHECKPOINT).unlink(missing_ok=True)
        yield report
        if report.stopped:
            return


def open_policy(folder: Path, *, round_number: int | None = None) -> Writer:
    """The writer after a round (None: the last finished one; 0: the reference). PreferenceError where there is none."""
    settings = records.read_json(folder / "settings.json")
    config = OptimizeConfig.model_validate(settings["config"])
    if round_number is None:
        finished = [n for n in range(1, config.rounds + 1) if (folder / f"round-{n}" / "report.json").exists()]
        round_number = max(finished, default=0)
    return Writer(records.open_round(folder, round_number, config=config))


def save_policy(folder: Path, target: Path) -> None:
    """Write what came of an optimization as a checkpoint that plain `transformers` opens, an adapter merged into it."""
    vlm = open_policy(folder).vlm
    vlm_model.save(adapter.merged(vlm) if hasattr(vlm.model, "merge_and_unload") else vlm, target)


def _told_report(place: Path, *, processes: Processes) -> RoundReport | None:
    """The report of a round that is done; what a kill left of its training goes."""
    report = None
    if processes.leads and (place / "report.json").exists():
        report = records.read_report(place / "report.json")
        (place / records.CHECKPOINT).unlink(missing_ok=True)
    return processes.told(report)


def _candidates(
    policy: VisionLanguageModel,
    reward: Reward,
    renderer: Renderer,
    products: Sequence[Product],
    *,
    place: Path,
    config: OptimizeConfig,
    number: int,
    pictures: Pictures,
    processes: Processes,
) -> Generator[Event, None, list[list[Candidate]]]:
    """Sample and judge this round's candidates, or read those that an interrupted run has finished."""
    file = place / "candidates.jsonl"
    if known := processes.told(records.read_candidates(file) if processes.leads and file.exists() else None):
        return known
    count = min(config.products_per_round, len(products))
    chosen = stream(config, number, records.PRODUCTS).choice(len(products), size=count, replace=False)
    own: list[list[list[Candidate]]] = []
    policy.model.eval()
    for some in sample_candidates(
        Writer(policy),
        [products[int(row)] for row in chosen],
        reward=reward,
        renderer=renderer,
        candidates=config.candidates,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        render_size=config.render_size,
        pictures=pictures,
        rng=stream(config, number, records.SAMPLING),
        processes=processes,
    ):
        own.append(some)
        yield Sampled(number, min(count, processes.count * sum(map(len, own))), count)
    judged = [product for some in processes.gathered(own) for product in some]
    if processes.leads:
        records.write_lines(file, [candidate for product in judged for candidate in product])
    return judged


def _pairs(
    judged: Sequence[Sequence[Candidate]],
    products: Mapping[str, Product],
    vlm: VisionLanguageModel,
    captions: Captions | None,
    *,
    config: OptimizeConfig,
    rng: np.random.Generator,
) -> list[PreferencePair]:
    """The pairs of every product, each with the spoilt input that it keeps for this round."""
    pairs = choose_pairs(
        judged,
        min_margin=config.min_margin,
        per_product=config.pairs_per_product,
        unparsed_share=config.unparsed_share,
    )
    if captions is None:
        return pairs
    patches = patch_grid(vlm) ** 2
    return [
        replace(
            pair,
            spoilt=draw(
                products[pair.product_id],
                captions=captions,
                patches=patches,
                mask_ratio=config.mask_ratio,
                caption_swap_share=config.caption_swap_share,
                rng=rng,
            ),
        )
        for pair in pairs
    ]


def _held_back(
    products: Sequence[Product], judged: Sequence[Sequence[Candidate]], *, config: OptimizeConfig, number: int
) -> list[Product]:
    """Products on which the KL is watched during a round: such as the round does not learn from, if there are any."""
    learned = {own[0].product_id for own in judged}
    others = [product for product in products if product.product_id not in learned]
    others = others if len(others) > 1 else list(products)
    order = stream(config, number, records.WATCHING).permutation(len(others))
    return [others[int(row)] for row in order[:KL_PRODUCTS]]


def _lessons_learned(
    policy: VisionLanguageModel,
    lessons: Lessons,
    *,
    reference: AnswerLogProbs,
    unused: Sequence[Product],
    folder: Path,
    config: OptimizeConfig,
    number: int,
    pictures: Pictures,
    processes: Processes,
) -> Iterator[Step]:
    """The steps of a round, from its checkpoint on if there is one, until its pairs or its KL budget are used up."""
    if not len(lessons):
        return
    learner = Learner(trainable_parameters(policy, config=config), processes=processes)
    file = folder / f"round-{number}" / records.CHECKPOINT
    done = learner.restore(file) if processes.told(processes.leads and file.exists()) else 0
    rng = stream(config, number, records.TRAINING)
    for step in train(
        policy,
        lessons,
        reference=reference,
        config=config,
        rng=rng,
        round_number=number,
        learner=learner,
        done=done,
        processes=processes,
    ):
        last = step.number == step.steps
        if config.kl_budget is not None and (last or step.number % config.kl_every == 0):
            samples = divergence.sample(
                Writer(policy),
                unused,
                pictures=pictures,
                max_new_tokens=config.max_new_tokens,
                rng=stream(config, number, records.WATCHING, step.number),
                processes=processes,
            )
            with _pretrained(policy, folder=folder, config=config, processes=processes) as pretrained:
                before = score_answers(pretrained, samples)
            found = Divergence.of(divergence.shifts(policy, samples, before=before, processes=processes))
            step = replace(step, kl=found.nats, kl_error=found.error)
            if found.nats > config.kl_budget:
                yield step
                return
        # No checkpoint of a step that ends the round: what went on from it would not end there.
        if processes.leads and config.checkpoint_every and not last and step.number % config.checkpoint_every == 0:
            learner.save(file, number=step.number)
        yield step


def _round_reference(
    policy: VisionLanguageModel,
    lessons: Lessons,
    drawn: Sequence[Sample],
    *,
    folder: Path,
    config: OptimizeConfig,
    number: int,
    processes: Processes,
) -> Reference:
    """What the reference says of a round's pairs and of texts that the policy drew; before any step of the round."""
    alike = number == 1 and not config.lora_rank  # nothing has been learned: the policy is the reference
    return reference_log_probs(
        lessons,
        drawn,
        file=folder / f"round-{number}" / "reference.safetensors",
        weights=f"{records.read_json(folder / 'settings.json')['model']} {policy.core.dtype}",
        opened=lambda: (
            nullcontext(policy) if alike else _pretrained(policy, folder=folder, config=config, processes=processes)
        ),
        product_centric=config.product_weight > 0,
        device=policy.device,
        processes=processes,
    )


@contextmanager
def _pretrained(
    policy: VisionLanguageModel, *, folder: Path, config: OptimizeConfig, processes: Processes
) -> Iterator[VisionLanguageModel]:
    """The reference for the length of a block: the policy without its adapter, or opened and let go again."""
    if config.lora_rank:
        with adapter.detached(policy):
            yield policy
    else:
        yield placed(vlm_model.load(folder / "round-0" / "model"), config=config, device=processes.device)
