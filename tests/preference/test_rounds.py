from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.factory import Brightness

from clickscape.config import OptimizeConfig
from clickscape.errors import PreferenceError
from clickscape.generation import sample
from clickscape.generation.pipeline import AdPipeline, cutout_images
from clickscape.generation.sample import score_candidates
from clickscape.preference.records import read_candidates
from clickscape.preference.rounds import (
    Event,
    RoundReport,
    Sampled,
    open_policy,
    optimize,
    read_pairs,
    save_policy,
)
from clickscape.preference.train import Step, build_training_pairs, pair_log_probs
from clickscape.render import load
from clickscape.types import Product
from clickscape.vlm import model as vlm_model
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel

pytestmark = pytest.mark.slow  # one preparation of seconds serves the whole module

Taught = Callable[[], VisionLanguageModel]

SMALL = OptimizeConfig(
    rounds=2, products_per_round=8, candidates=3, max_new_tokens=40, min_margin=0.05,
    epochs=2, batch_size=3, learning_rate=2e-3, checkpoint_every=2, render_size=64, caption_swap_share=0.5,
    pairs_per_product=1, unparsed_share=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def start(taught: Taught, shelf: list[Product]) -> Callable[..., Iterator[Event]]:
    renderer = load("studio")

    def go(folder: Path, config: OptimizeConfig = SMALL, products: list[Product] = shelf) -> Iterator[Event]:
        return optimize(Writer(taught()), AdPipeline(renderer, Brightness()), products, folder=folder, config=config)

    return go


@pytest.fixture(scope="module")
def uninterrupted(start: Callable[..., Iterator[Event]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, list(start(folder))


def weights(folder: Path, number: int = 2) -> dict[str, torch.Tensor]:
    return dict(open_policy(folder, round_number=number).vlm.model.state_dict())


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_round_reports_its_events_and_writes_them_to_disk(
    uninterrupted: tuple[Path, list], taught: Taught, shelf: list[Product]
) -> None:
    folder, events = uninterrupted
    reports = [event for event in events if isinstance(event, RoundReport)]
    steps = [event for event in events if isinstance(event, Step)]
    assert [report.round for report in reports] == [1, 2]
    assert [event.done for event in events if isinstance(event, Sampled)] == [8, 8]
    for report in reports:
        own = [step for step in steps if step.round == report.round]
        assert report.steps == len(own) == 2 * -(-report.pairs // 3)
        assert (report.products, report.candidates) == (8, 24)
        pairs = read_pairs(folder / f"round-{report.round}" / "pairs.jsonl")
        assert len(pairs) == report.pairs
        by_id = {product.product_id: product for product in shelf}
        for pair in pairs:
            assert pair.corrupted is not None
            if pair.corrupted.caption_of is not None:
                assert by_id[pair.corrupted.caption_of].department != by_id[pair.product_id].department
            else:
                assert len(pair.corrupted.hidden) == 12  # 75 % of the tower's 4 × 4 patches
    assert reports[0].kl == 0.0
    assert steps[0].chosen == pytest.approx(0, abs=1e-4)
    assert same(weights(folder, 0), dict(taught().model.state_dict()))
    assert not same(weights(folder, 0), weights(folder, 1))
    assert not same(weights(folder, 1), weights(folder, 2))


def test_the_checkpoint_opens_like_any_model(uninterrupted: tuple[Path, list]) -> None:
    folder, _ = uninterrupted
    opened = vlm_model.load(folder / "round-2" / "model")
    assert same(dict(opened.model.state_dict()), weights(folder))
    assert not [path for path in folder.rglob("*") if path.suffix in {".bin", ".pt", ".pkl"} or path.name[0] == "."]


def test_a_finished_run_is_not_repeated(
    uninterrupted: tuple[Path, list], start: Callable[..., Iterator[Event]]
) -> None:
    folder, events = uninterrupted
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert list(start(folder)) == [event for event in events if isinstance(event, RoundReport)]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("killed_after", ["the start", "sampling", "the last step of round 1", "a step of round 2"])
def test_a_run_resumed_after_sigkill_equals_an_uninterrupted_one(
    uninterrupted: tuple[Path, list],
    start: Callable[..., Iterator[Event]],
    tmp_path: Path,
    killed_after: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, events = uninterrupted
    place = {
        "the start": 0,
        "sampling": 1,
        "the last step of round 1": max(i for i, e in enumerate(events) if isinstance(e, Step) and e.round == 1) + 1,
        "a step of round 2": min(i for i, e in enumerate(events) if isinstance(e, Step) and e.round == 2) + 2,
    }[killed_after]
    folder = tmp_path / "run"
    child = os.fork()
    if child == 0:  # a process of its own, killed the hard way
        list(itertools.islice(start(folder), max(place, 1)))
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    if killed_after == "a step of round 2":  # what the reference says of it lies on disk, and is not asked again

        def never(*_: object, **__: object) -> None:
            raise AssertionError("the reference was scored again")

        said = [place / "round-2" / "reference.safetensors" for place in (folder, whole)]
        assert said[0].read_bytes() == said[1].read_bytes()
        monkeypatch.setattr("clickscape.preference.reference.pair_log_probs", never)
    again = list(start(folder))
    assert [event for event in again if isinstance(event, RoundReport)] == [
        event for event in events if isinstance(event, RoundReport)
    ]
    assert same(weights(folder), weights(whole))
    if killed_after == "a step of round 2":  # the second one, of which there is a checkpoint
        assert [event.number for event in again if isinstance(event, Step)][:2] == [3, 4]
    assert not list(folder.rglob("checkpoint"))
    for number in (1, 2):
        assert read_pairs(folder / f"round-{number}" / "pairs.jsonl") == read_pairs(
            whole / f"round-{number}" / "pairs.jsonl"
        )


def test_a_kill_while_sampling_repeats_no_finished_pass(
    start: Callable[..., Iterator[Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "PRODUCTS_PER_PASS", 3)  # three passes of the eight products
    config = SMALL.model_copy(update={"rounds": 1})
    whole = list(start(tmp_path / "whole", config))
    assert [event.done for event in whole if isinstance(event, Sampled)] == [3, 6, 8]
    folder = tmp_path / "run"
    child = os.fork()
    if child == 0:
        list(itertools.islice(start(folder, config), 1))
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not (folder / "round-1" / "candidates.jsonl").exists()
    again = list(start(folder, config))
    assert again == whole[1:]
    candidates = (tmp_path / "whole" / "round-1" / "candidates.jsonl").read_bytes()
    assert (folder / "round-1" / "candidates.jsonl").read_bytes() == candidates
    assert not (folder / "round-1" / "passes").exists()


def test_a_damaged_checkpoint_is_refused_and_names_its_remedy(
    start: Callable[..., Iterator[Event]], tmp_path: Path
) -> None:
    list(itertools.islice(start(tmp_path), 1 + 2))
    checkpoint = tmp_path / "round-1" / "checkpoint" / "part-1-of-1.safetensors"
    assert checkpoint.exists()
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    with pytest.raises(PreferenceError, match=r"part-1-of-1.safetensors: damaged .*Delete the folder checkpoint"):
        list(start(tmp_path))
    checkpoint.unlink()
    with pytest.raises(PreferenceError, match=r"checkpoint: damaged \(parts are missing\)"):
        list(start(tmp_path))
    checkpoint.parent.rmdir()
    assert isinstance(list(start(tmp_path))[-1], RoundReport)


def test_over_its_kl_budget_a_run_ends_in_the_middle_of_a_round(
    start: Callable[..., Iterator[Event]], uninterrupted: tuple[Path, list], tmp_path: Path
) -> None:
    """It ends at the first check over the budget: half of the largest KL that the same run without one measures."""
    measured = SMALL.model_copy(update={"kl_budget": 1e6, "kl_every": 1})
    unlimited = [event for event in start(tmp_path / "measured", measured) if isinstance(event, Step)]
    assert [step.loss for step in unlimited] == [one.loss for one in uninterrupted[1] if isinstance(one, Step)]
    budget = max(step.kl for step in unlimited if step.number < step.steps) / 2
    first = next(place for place, step in enumerate(unlimited) if step.kl > budget)
    config = measured.model_copy(update={"kl_budget": budget})
    events = list(start(tmp_path / "run", config))
    steps = [event for event in events if isinstance(event, Step)]
    *_, report = events
    assert isinstance(report, RoundReport)
    assert [(step.loss, step.kl) for step in steps] == [(step.loss, step.kl) for step in unlimited[: first + 1]]
    assert (report.round, report.steps, report.kl_after) == (steps[-1].round, steps[-1].number, steps[-1].kl)
    assert steps[-1].number < steps[-1].steps
    assert report.stopped == (
        f"KL {report.kl_after:.2f} ± {report.kl_after_error:.2f} nats after step {report.steps}, over "
        f"kl_budget = {budget:g}"
    )
    assert not (tmp_path / "run" / f"round-{report.round + 1}").exists()
    assert list(start(tmp_path / "run", config))[-1] == report
    # and killed before its report, it ends at the same step with the same words
    list(itertools.islice(start(tmp_path / "cut", config), len(events) - 1))
    again = list(start(tmp_path / "cut", config))
    assert again[-1] == report
    assert same(weights(tmp_path / "cut", report.round), weights(tmp_path / "run", report.round))


def test_kl_is_measured_every_so_many_steps(start: Callable[..., Iterator[Event]], tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"kl_budget": 1e6, "kl_every": 4, "rounds": 1})
    steps = [event for event in start(tmp_path, config) if isinstance(event, Step)]
    assert [step.kl is not None for step in steps] == [step.number % 4 == 0 or step is steps[-1] for step in steps]


def test_within_its_kl_budget_a_run_goes_on_and_reports_its_kl(
    start: Callable[..., Iterator[Event]], tmp_path: Path
) -> None:
    config = SMALL.model_copy(update={"kl_budget": 1e6, "lora_rank": 2, "learning_rate": 1e-2, "rounds": 1})
    *steps, report = [event for event in start(tmp_path, config) if not isinstance(event, Sampled)]
    assert report.stopped is None
    assert report.kl_after == steps[-1].kl
    assert -1e6 < report.kl_after < 1e6  # a mean of sampled log ratios: below zero with some seeds
    assert report.kl_after_error > 0


def test_an_adapter_that_is_stopped_early_is_a_plain_checkpoint_too(
    start: Callable[..., Iterator[Event]], tmp_path: Path
) -> None:
    config = SMALL.model_copy(update={"kl_budget": 1e-3, "kl_every": 2, "lora_rank": 2, "learning_rate": 1e-2})
    *_, report = start(tmp_path, config)
    assert report.round == 1
    assert vlm_model.load(tmp_path / "round-1" / "model").parameters > 0


def test_a_folder_of_another_run_is_refused(
    uninterrupted: tuple[Path, list], start: Callable[..., Iterator[Event]], shelf: list[Product], build: Callable
) -> None:
    folder, _ = uninterrupted
    with pytest.raises(PreferenceError, match=r"another kind .*beta"):
        next(start(folder, SMALL.model_copy(update={"beta": 0.2})))
    with pytest.raises(PreferenceError, match="products"):
        next(start(folder, SMALL, shelf[:-1]))
    with pytest.raises(PreferenceError, match="model"):
        next(optimize(Writer(build(9)), AdPipeline(load("studio"), Brightness()), shelf, folder=folder, config=SMALL))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"settings.json: .*object.* Delete"),
        ("{", r"settings.json: Invalid JSON.* Delete"),
        (None, "no optimization here"),
    ],
)
def test_a_damaged_folder_says_so(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "settings.json").write_text(text)
    with pytest.raises(PreferenceError, match=message):
        open_policy(tmp_path)


def test_a_catalog_without_another_caption_is_refused_before_anything_is_written(
    start: Callable[..., Iterator[Event]], shelf: list[Product], tmp_path: Path
) -> None:
    one_department = [product for product in shelf if product.department == shelf[0].department]
    with pytest.raises(PreferenceError, match="another department"):
        next(start(tmp_path / "run", SMALL, one_department))
    assert not (tmp_path / "run").exists()
    plain = SMALL.model_copy(update={"objective": "preference_only"})
    assert isinstance(next(start(tmp_path / "run", plain, one_department)), Sampled)


def test_a_model_that_samples_one_description_only_cannot_be_optimized(
    start: Callable[..., Iterator[Event]], tmp_path: Path
) -> None:
    with pytest.raises(PreferenceError, match=r"no preference pairs.*min_margin"):
        list(start(tmp_path / "run", SMALL.model_copy(update={"temperature": 1e-6})))


def test_adapters_resume_too_and_end_in_a_plain_checkpoint(
    start: Callable[..., Iterator[Event]], shelf: list[Product], tmp_path: Path
) -> None:
    config = SMALL.model_copy(update={"lora_rank": 2, "learning_rate": 1e-2, "products_per_round": 4})
    events = list(start(tmp_path / "whole", config))
    list(itertools.islice(start(tmp_path / "cut", config), len(events) - 2))
    assert list(start(tmp_path / "cut", config))[-1] == events[-1]
    assert not (tmp_path / "whole" / "round-1" / "model").exists()
    adapted, plain = open_policy(tmp_path / "whole").vlm, vlm_model.load(tmp_path / "whole" / "round-2" / "model")
    assert same(dict(adapted.model.state_dict()), dict(open_policy(tmp_path / "cut").vlm.model.state_dict()))
    save_policy(tmp_path / "whole", tmp_path / "made")
    assert same(dict(vlm_model.load(tmp_path / "made").model.state_dict()), dict(plain.model.state_dict()))
    pictures, by_id = cutout_images(32), {product.product_id: product for product in shelf}
    pairs = read_pairs(tmp_path / "whole" / "round-2" / "pairs.jsonl")
    training_pairs = build_training_pairs(pairs, products=by_id, pictures=pictures, vlm=plain)
    torch.testing.assert_close(
        pair_log_probs(plain, training_pairs, product_centric=True).chosen,
        pair_log_probs(adapted, training_pairs, product_centric=True).chosen,
        rtol=1e-4,
        atol=1e-3,
    )


def test_optimizing_for_bright_pictures_makes_pictures_brighter(
    start: Callable[..., Iterator[Event]], taught: Taught, shelf: list[Product], tmp_path: Path
) -> None:
    """The whole loop with nothing left out; on products that it never saw, too.

    Another machine rounds the last bits otherwise, one sampled token flips, and from there on it is another run: as if
    by another seed. The bounds hold for any: over 14 seeds, brightness rose by 2.1 to 3.3, KL ended at 2.4 to 17.4 nats
    (the mean of eight heavy-tailed log ratios, so its own standard error is no yardstick), and 44 to 97 % still parsed.
    """
    held_out = shelf[1::3]  # one of each department
    train = [product for product in shelf if product not in held_out]
    config = SMALL.model_copy(update={"rounds": 3, "candidates": 4, "learning_rate": 3e-3, "epochs": 4})
    reports = [event for event in start(tmp_path / "run", config, train) if isinstance(event, RoundReport)]
    assert reports[-1].kl > 1
    flat = [one for each in read_candidates(tmp_path / "run" / "round-1" / "candidates.jsonl") for one in each]
    assert 0 < reports[0].searched == sum(one.searched for one in flat) <= len(train), "a quarter of four, at most"
    assert reports[0].reward == pytest.approx(np.mean([one.score for one in flat if not one.searched]))
    renderer = load("studio")

    def brightness(writer: Writer) -> tuple[float, float]:
        texts = writer.describe_all(held_out, n=8, seed=1, max_new_tokens=40)
        judged = score_candidates(
            held_out, texts, pipeline=AdPipeline(renderer, Brightness()), render_size=64, rng=np.random.default_rng(2)
        )
        flat = [candidate for own in judged for candidate in own]
        return np.mean([one.score for one in flat]), np.mean([one.parsed for one in flat])

    (before, parsed), (after, still) = brightness(Writer(taught())), brightness(open_policy(tmp_path / "run"))
    assert after > before + 1
    assert still > parsed / 5
    assert json.loads((tmp_path / "run" / "round-3" / "report.json").read_text())["reward"] > reports[0].reward
