"""Several rounds of writing, judging and learning, in a folder from which a killed run goes on.

    folder/settings.json            what this run is of: its settings, its model, its products
    folder/round-0/model/           the reference: the pre-trained model (a Hugging Face folder)
    folder/round-1/candidates.jsonl what was written and how it was judged   (sampling is done)
    folder/round-1/pairs.jsonl      what is learned from
    folder/round-1/model/           the policy after the round   (LoRA: adapter.safetensors, and model/ in the last)
    folder/round-1/report.json      (the round is done)
    folder/round-1/watch.jsonl      (with a watch) what the policy after the round writes for held-back products

Every round has random streams of its own, drawn from (seed, round, purpose), and an optimizer of its own, so that a run
that goes on after a kill gives the same result, to the bit, as one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clickscape.catalog.cutout import open_cutout, product_picture
from clickscape.config import OptimizeConfig
from clickscape.errors import PreferenceError
from clickscape.gates.relevance import Relevance
from clickscape.preference import adapter
from clickscape.preference import watch as watching
from clickscape.preference.loss import AnswerLogProbs
from clickscape.preference.sample import (
    Candidate,
    Pictures,
    PreferencePair,
    Reward,
    choose_pairs,
    sample_candidates,
)
from clickscape.preference.spoil import Captions, Spoilt, draw
from clickscape.preference.train import Lessons, Step, patch_grid, prepare, question, score, score_answers, train
from clickscape.preference.watch import Watch, Watched
from clickscape.render.renderer import Renderer
from clickscape.types import Product
from clickscape.vlm import model as vlm_model
from clickscape.vlm.batch import Sample
from clickscape.vlm.generate import BLANK, Writer
from clickscape.vlm.model import VisionLanguageModel
from clickscape.workspace.files import atomic_file, fingerprint

VERSION = 1
KL_PRODUCTS = 64
"""Products whose first description (an unselected sample of the policy) estimates the KL to the reference."""

_PRODUCTS, _SAMPLING, _SPOILING, _TRAINING, _ADAPTER = range(5)


@dataclass(frozen=True, slots=True)
class Sampled:
    """How far a round's sampling is, in products."""

    round: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What one round saw and did: counts; shares of candidates; ``reward`` and ``margin``: means in logits.

    ``kl``: estimate of KL(policy before this round ‖ reference) in nats; ``kl_error``: its standard error.
    ``margin`` is None without a pair of two understood descriptions.  ``relevant_rate``: 1 where no gate was asked;
    ``watched``: what the held-back products say, None without a watch.
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
    relevant_rate: float = 1.0
    watched: Watched | None = None

    @property
    def ends(self) -> bool:
        """Whether the run ends here and the policy of an earlier round is kept."""
        return self.watched is not None and bool(self.watched.reason)


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
    relevance: Relevance | None = None,
    watch: Watch | None = None,
) -> Iterator[Event]:
    """Optimize a copy of the writer's model on these products; `open_policy(folder)` is what came of it.

    Yields `Sampled`, `Step` and one `RoundReport` per round; finished rounds are not repeated.  `pictures` gives the
    picture of a product, by default its cut-out on a plain ground.  What `relevance` refuses may lose and never win;
    `watch` ends the run, and the policy kept is then the one before.  PreferenceError for a catalog from which no other
    caption can be drawn, for a folder of another run, and when the first round finds nothing to prefer.
    """
    folder = Path(folder)
    captions = Captions(products) if config.product_weight > 0 else None
    by_id = {product.product_id: product for product in products}
    shown = pictures or product_pictures(writer.vlm.image_size)
    _claim(folder, writer.vlm, products, config=config, watch=watch)
    policy: VisionLanguageModel | None = None
    for number in range(1, config.rounds + 1):
        place = folder / f"round-{number}"
        if (place / "report.json").exists():
            yield (report := _read_report(place / "report.json"))
            if report.ends:
                return
            continue
        policy = policy or _open(folder, number - 1, config=config)
        if watch is not None:
            watch.look(Writer(policy), folder / f"round-{number - 1}")
        judged = yield from _candidates(
            policy, reward, renderer, products, place=place, config=config, number=number, pictures=shown,
            relevance=relevance,
        )  # fmt: skip
        pairs = _pairs(judged, by_id, policy, captions, config=config, rng=_stream(config, number, _SPOILING))
        _write_lines(place / "pairs.jsonl", pairs)
        if not pairs and number == 1:
            raise PreferenceError(
                f"no preference pairs among {sum(map(len, judged))} candidates: those of a product are equal, not "
                f"understood, or closer than min_margin = {config.min_margin}. Lower min_margin or raise temperature."
            )
        lessons = prepare(pairs, products=by_id, pictures=shown, vlm=policy)
        first = [own[0] for own in judged[:KL_PRODUCTS]]
        drawn = [Sample(question(by_id[one.product_id]), (shown(by_id[one.product_id]),), one.text) for one in first]
        reference, shift = _against_reference(policy, lessons, drawn, folder=folder, config=config)
        steps = 0
        if pairs:
            rng = _stream(config, number, _TRAINING)
            for step in train(policy, lessons, reference=reference, config=config, rng=rng, round_number=number):
                steps = step.number
                yield step
        _save(policy, place, config=config, last=number == config.rounds)
        watched = None if watch is None else watch.after(Writer(policy), folder, round_number=number)
        report = _report(number, judged, pairs, shift=shift, steps=steps, watched=watched)
        _write_json(place / "report.json", asdict(report))
        yield report
        if report.ends:
            return


def open_policy(folder: Path, *, round_number: int | None = None) -> Writer:
    """The writer after a round (None: the one that is kept; 0: the reference). PreferenceError where there is none."""
    settings = _read_json(folder / "settings.json")
    config = OptimizeConfig.model_validate(settings["config"])
    if round_number is None:
        finished = [n for n in range(1, config.rounds + 1) if (folder / f"round-{n}" / "report.json").exists()]
        round_number = max(finished, default=0)
        if round_number and (watched := _read_report(folder / f"round-{round_number}" / "report.json").watched):
            round_number = watched.kept
    return Writer(_open(folder, round_number, config=config))


def product_pictures(size: int) -> Pictures:
    """The bare product on a plain ground, `size` pixels square, from its cut-out file; the ground alone without one."""

    def picture(product: Product) -> np.ndarray:
        if not product.image:
            return np.full((size, size, 3), BLANK, np.uint8)
        return product_picture(open_cutout(product.image), size=size)

    return picture


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
    relevance: Relevance | None,
) -> Any:
    """Sample and judge this round's candidates, or read those that an interrupted run has finished; a generator."""
    file = place / "candidates.jsonl"
    if file.exists():
        return _read_candidates(file)
    count = min(config.products_per_round, len(products))
    chosen = _stream(config, number, _PRODUCTS).choice(len(products), size=count, replace=False)
    judged: list[list[Candidate]] = []
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
        relevance=relevance,
        rng=_stream(config, number, _SAMPLING),
    ):
        judged.extend(some)
        yield Sampled(number, len(judged), count)
    _write_lines(file, [candidate for own in judged for candidate in own])
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


def _against_reference(
    policy: VisionLanguageModel, lessons: Lessons, drawn: Sequence[Sample], *, folder: Path, config: OptimizeConfig
) -> tuple[AnswerLogProbs, np.ndarray]:
    """The reference's log-probabilities of the round, and log π_θ − log π_ref of texts drawn from π_θ, (text,) nats.

    The reference is gone from memory when this returns.
    """
    centric = config.product_weight > 0
    now = score_answers(policy, drawn)
    if config.lora_rank:
        with adapter.detached(policy):
            reference, before = score(policy, lessons, product_centric=centric), score_answers(policy, drawn)
    else:
        pretrained = vlm_model.load(folder / "round-0" / "model")
        reference, before = score(pretrained, lessons, product_centric=centric), score_answers(pretrained, drawn)
    return reference, (now - before).double().cpu().numpy()


def _report(
    number: int,
    judged: Sequence[Sequence[Candidate]],
    pairs: Sequence[PreferencePair],
    *,
    shift: np.ndarray,
    steps: int,
    watched: Watched | None,
) -> RoundReport:
    flat = [candidate for own in judged for candidate in own]
    margins = [pair.margin for pair in pairs if pair.margin is not None]
    return RoundReport(
        round=number,
        products=len(judged),
        candidates=len(flat),
        pairs=len(pairs),
        parse_rate=float(np.mean([candidate.understood for candidate in flat])),
        distinct_scenes=len({candidate.scene for candidate in flat}),
        reward=float(np.mean([candidate.score for candidate in flat])),
        margin=float(np.mean(margins)) if margins else None,
        kl=float(shift.mean()),
        kl_error=float(shift.std(ddof=1) / np.sqrt(len(shift))),
        steps=steps,
        relevant_rate=float(np.mean([candidate.relevant for candidate in flat])),
        watched=watched,
    )


def _stream(config: OptimizeConfig, number: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, number, purpose])


def _claim(
    folder: Path,
    vlm: VisionLanguageModel,
    products: Sequence[Product],
    *,
    config: OptimizeConfig,
    watch: Watch | None,
) -> None:
    """Make the folder this run's, or see that it is."""
    settings: dict[str, Any] = {
        "version": VERSION,
        "config": config.model_dump(mode="json"),
        "model": _digest(vlm),
        "products": fingerprint([product.product_id for product in products]),
        "watch": None if watch is None else fingerprint(watch.settings),
    }
    file = folder / "settings.json"
    if file.exists():
        known = _read_json(file)
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
        _write_json(file, settings)


def _digest(vlm: VisionLanguageModel) -> str:
    """sha256 of all weights, so that nobody goes on with another model."""
    total = hashlib.sha256()
    for name, value in vlm.model.state_dict().items():
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def _open(folder: Path, number: int, *, config: OptimizeConfig) -> VisionLanguageModel:
    """The policy after round `number`; 0 is the reference."""
    if not config.lora_rank:
        return vlm_model.load(folder / f"round-{number}" / "model", trainable=True)
    vlm = vlm_model.load(folder / "round-0" / "model", trainable=True)
    vlm = adapter.attach(vlm, rank=config.lora_rank, seed=int(_stream(config, 0, _ADAPTER).integers(2**31)))
    if number:
        adapter.restore(vlm, folder / f"round-{number}" / "adapter.safetensors")
    return vlm


def _save(policy: VisionLanguageModel, place: Path, *, config: OptimizeConfig, last: bool) -> None:
    if not config.lora_rank:
        vlm_model.save(policy, place / "model")
        return
    with atomic_file(place / "adapter.safetensors") as file:
        adapter.save(policy, file)
    if last:
        vlm_model.save(adapter.merged(policy), place / "model")


def _read_report(file: Path) -> RoundReport:
    values = _read_json(file)
    watched = values.get("watched")
    return RoundReport(**{**values, "watched": None if watched is None else watching.read(watched)})


def _read_candidates(file: Path) -> list[list[Candidate]]:
    """Candidates of one product stand together, in the order in which they were drawn."""
    judged: dict[str, list[Candidate]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        candidate = Candidate(**json.loads(line))
        judged.setdefault(candidate.product_id, []).append(candidate)
    return list(judged.values())


def read_pairs(file: Path) -> list[PreferencePair]:
    """The pairs that a round learned from (pairs.jsonl)."""
    pairs = []
    for line in file.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        spoilt = values.pop("spoilt")
        if spoilt is not None:
            spoilt = Spoilt(hidden=tuple(spoilt["hidden"]), caption_of=spoilt["caption_of"])
        pairs.append(PreferencePair(**values, spoilt=spoilt))
    return pairs


def _write_lines(file: Path, records: Sequence[Any]) -> None:
    with atomic_file(file) as waiting:
        waiting.write_text("".join(json.dumps(asdict(record)) + "\n" for record in records), encoding="utf-8")


def _write_json(file: Path, value: Mapping[str, Any]) -> None:
    with atomic_file(file) as waiting:
        waiting.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PreferenceError(f"{file}: no optimization here. Run `clickscape optimize` first.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PreferenceError(f"{file}: damaged ({error}). Delete the folder and optimize again.") from None
    if not isinstance(values, dict):
        raise PreferenceError(f"{file}: damaged (an object is expected). Delete the folder and optimize again.")
    return values
