"""Stages `reward`, `optimize`, `pretrain` and `score` on a small shop: saved, reused, resumed and refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.factory import Done, clickscape, copy_of

from clickscape import model_card, render, vlm
from clickscape import reward as reward_room
from clickscape.catalog.images import open_image
from clickscape.config import ClicksConfig, PretrainConfig
from clickscape.errors import PreferenceError, WorkspaceError
from clickscape.files import fingerprint
from clickscape.generation.sample import Candidate
from clickscape.json_files import read_json_lines
from clickscape.preference import outcome as policies
from clickscape.preference.rounds import open_policy
from clickscape.render.scene import SLOTS, slots_of
from clickscape.report.records import load as report_record
from clickscape.reward.data import divide_for_judge
from clickscape.reward.data import split as divide
from clickscape.stages import split, truth
from clickscape.stages.clicks import clicks
from clickscape.stages.optimize import optimize
from clickscape.stages.pretrain import pretrain
from clickscape.stages.progress import Progress, run
from clickscape.stages.report import report
from clickscape.stages.reward import reward, reward_data
from clickscape.stages.score import score, score_lines
from clickscape.types import Product
from clickscape.vlm import model as vlm_model
from clickscape.vlm.creative_corpus import CreativeCorpus
from clickscape.workspace import Manifest, Workspace

from .conftest import OBJECTS, SMALL_OPTIMIZE, SMALL_REWARD

pytestmark = pytest.mark.slow  # one preparation of seconds serves the whole module


def test_the_reward_report_holds_accuracy_noise_ceiling_and_baselines(shop: Workspace) -> None:
    manifest = run(reward(shop, SMALL_REWARD))
    result = manifest.result
    assert result["pairs"] > 0
    assert 0 <= result["accuracy"]["low"] <= result["accuracy"]["value"] <= result["accuracy"]["high"] <= 1
    assert result["ceiling"]["value"] >= 0.5  # 18 pairs: 0.5 to 0.72 over seeds
    assert {"scene only", "caption only", "product shuffled"} <= set(result["baselines"])
    assert any("noise ceiling" in line for line in result["summary"])


def _outline(shop: Workspace, product_id: str) -> bytes:
    """The silhouette of a product's picture, which all colors of one object share, whatever they are called."""
    return (open_image(shop.cutout_path(product_id))[..., 3] > 127).tobytes()


def test_who_learns_and_who_is_tested_share_no_object_by_its_picture(shop: Workspace) -> None:
    """Reward model, judge, validation and held-out products: neither ids nor groups are asked, but the pixels."""
    products = shop.products()
    origin = {product.product_id: _outline(shop, product.product_id) for product in products}
    assert len(set(origin.values())) == len(OBJECTS)
    held = split.read(shop, products)
    judge = held.reserved_groups(products, share=0.4)
    parts = divide_for_judge(reward_data(shop, held), held_out=held.held_out, judge=judge)
    fitted, validated = divide(parts.learning, share=0.3, rng=np.random.default_rng(0))
    assert validated is not None
    seen = [
        {origin[pair.product_id] for pair in one.pairs} for one in (fitted, validated, parts.judging, parts.testing)
    ]
    assert all(seen)
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_another_log_in_the_place_of_the_simulated_one_is_judged_without_its_truth(
    shop: Workspace, tmp_path: Path
) -> None:
    """Told by content: the same clicks again have their truth back."""
    other = copy_of(shop, tmp_path / "shop")
    assert run(reward(other, SMALL_REWARD)).result["ceiling_source"] == "the true CTRs on the same pairs"
    assert report_record(report(other).with_name("report.json")).simulated
    log = min(other.events_folder.glob("*.parquet"))
    drawn = log.read_bytes()
    table = pq.read_table(log)
    pq.write_table(table.slice(0, table.num_rows * 3 // 4), log)
    assert truth.read(other) is not None, "what was counted is still the simulated log"
    run(clicks(other, ClicksConfig()))
    assert truth.read(other) is None
    assert not report_record(report(other).with_name("report.json")).simulated, "with a reward model of before"
    result = run(reward(other, SMALL_REWARD)).result
    assert result["true_accuracy"] is None
    assert result["ceiling_source"] == "the posterior of the clicks"
    assert result["calibration_source"] == "noise removed"
    assert result["calibration"]["low"] <= result["calibration"]["value"] <= result["calibration"]["high"]
    assert truth.OTHER_LOG in result["summary"]
    log.write_bytes(drawn)
    run(clicks(other, ClicksConfig()))
    assert truth.read(other) == truth.read(shop)


def test_a_reward_model_is_judged_by_true_ctrs_that_somebody_else_knows(shop: Workspace, tmp_path: Path) -> None:
    """The simulated truth as a table of CTRs, for a copy that knows of no simulation: the same figures."""
    known = truth.read(shop)
    assert known is not None
    other = copy_of(shop, tmp_path / "shop", "*-simulate", "*-reward")
    assert truth.read(other) is None
    file = tmp_path / "truth.csv"
    file.write_text("ctr,creative_id\n" + "".join(f"{np.exp(value)},{name}\n" for name, value in known.items()))
    found = run(reward(other, SMALL_REWARD, true_ctrs=file)).result
    expected = run(reward(shop, SMALL_REWARD)).result
    assert found["ceiling_source"] == expected["ceiling_source"]
    for name in ("true_accuracy", "ceiling", "calibration", "regret"):
        assert found[name] == pytest.approx(expected[name]), name
    page = report_record(report(other).with_name("report.json"))
    assert page.accuracy is not None
    assert page.accuracy.ceiling_source == expected["ceiling_source"]
    assert page.accuracy.true_order is None, "the clicks are nobody's simulation"
    for text, message in {
        "creative_id,ctr\nghost,0.1\n": "no true CTR of creative",
        "creative_id,ctr\na,0\n": "the CTR of creative 'a' is 0.0, expected a number above 0",
        "creative_id,ctr\na,much\n": "no table of creative_id and ctr",
        "creative_id\na\n": "no table of creative_id and ctr",
        "creative_id,ctr\na,1\na,2\n": "creative 'a' appears twice",
    }.items():
        file.write_text(text)
        with pytest.raises(WorkspaceError, match=message):
            run(reward(other, SMALL_REWARD, true_ctrs=file))


def test_another_split_trains_the_reward_model_anew(shop: Workspace, tmp_path: Path) -> None:
    """A model of the split before has learned from what is now held out, though pairs and creatives are the same."""
    other = copy_of(shop, tmp_path / "shop")
    products = other.products()
    before = split.read(other, products)
    first = run(reward(other, SMALL_REWARD))
    learned = sorted(set(before.groups.values()) - before.held_out)
    split.write(other, replace(before, held_out=frozenset(learned[:2])))
    second = run(reward(other, SMALL_REWARD))
    assert second != first
    split.write(other, before)
    assert run(reward(other, SMALL_REWARD)).outputs == first.outputs, "and back again the same weights as at first"


def test_creatives_that_others_drew_are_a_table_that_anybody_writes(shop: Workspace, tmp_path: Path) -> None:
    """The columns that docs/howto/clicks.md names, and no more; scenes that nobody noted."""
    other = copy_of(shop, tmp_path / "shop", "*-simulate", "*-reward", "*-clicks")
    columns = {
        "creative_id": [], "product_id": [], "image": [], "description": [], "scene": [], "renderer": [],
        "model_id": [], "seed": [], "parent_id": [], "status": [], "created_at": [],
    }  # fmt: skip
    for one in other.creatives():
        row = {"creative_id": one.creative_id, "product_id": one.product_id, "description": "", "seed": 0,
               "image": f"creatives/images/{one.creative_id}.webp", "renderer": "camera", "model_id": "us",
               "status": "live"}  # fmt: skip
        for name, values in columns.items():
            values.append(row.get(name))
    pq.write_table(pa.table(columns), other.creatives_path)
    assert not any(one.is_simulated or one.scene for one in other.creatives())
    run(clicks(other, ClicksConfig()))
    result = run(reward(other, SMALL_REWARD)).result
    assert result["true_accuracy"] is None
    assert result["pairs"] > 0


def test_score_ranks_as_the_reward_model_does(shop: Workspace) -> None:
    own = [creative for creative in shop.creatives() if creative.product_id == "coffee_mug-navy"]
    ranked = score(shop, "coffee_mug-navy", [Path(creative.image) for creative in own])
    product = next(product for product in shop.products() if product.product_id == "coffee_mug-navy")
    images = [open_image(creative.image)[..., :3] for creative in own]
    values = reward_room.load(shop.models / "reward").score([product] * len(own), images)
    assert [str(path) for path, _ in ranked] == [own[index].image for index in np.argsort(-values)]
    with pytest.raises(WorkspaceError, match="no product 'ghost'"):
        score(shop, "ghost", [])


def _through(shop: Workspace, lines: list[bytes], monkeypatch: pytest.MonkeyPatch) -> tuple[Done, list[dict[str, Any]]]:
    """What `clickscape score --jsonl` answers to these lines."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines))))
    done = clickscape("score", shop.path, "--jsonl")
    return done, [json.loads(line) for line in done.out.splitlines()]


def test_json_lines_are_scored_in_their_order_and_a_bad_one_is_an_error_with_its_number(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [one.image for one in shop.creatives() if one.product_id == "coffee_mug-navy"]
    mug = next(product for product in shop.products() if product.product_id == "coffee_mug-navy")
    words = {"title": mug.title, "category": list(mug.category), "attributes": dict(mug.attributes)}
    good = json.dumps({"id": 7, "product_id": "coffee_mug-navy", "images": own}).encode()
    bad = [
        b"{",
        b'{"product_id": "ghost", "images": ["a.png"]}',
        b'{"images": ["a.png"]}',
        json.dumps({"product_id": "coffee_mug-navy", "images": ["gone.png"]}).encode(),
        b'"' + b"x" * (3 << 19) + b'"',
        b'{"product": {"title": " "}, "images": ["a.png"]}',
        b"\xff",
    ]
    described = json.dumps({"product": words, "images": own[::-1]}).encode()
    done, answers = _through(shop, [good, b"", *bad, described], monkeypatch)
    assert done.code == 2
    assert done.err == "clickscape: 7 of 9 lines were not scored. Their `error` on stdout says why.\n"
    assert [answer["line"] for answer in answers] == [1, *range(3, 11)]
    errors = [answer["error"] for answer in answers[1:-1]]
    for number, (error, told) in enumerate(
        zip(
            errors,
            ("JSON", "'ghost'", "product_id or product", "gone.png", "1,048,576 bytes", "no title", ""),
            strict=True,
        ),
        3,
    ):
        assert told in error
        assert error.startswith((f"line {number}", "gone.png"))
    ranked = score(shop, "coffee_mug-navy", [Path(image) for image in own])
    assert answers[0]["id"] == 7
    for answer in (answers[0], answers[-1]):
        assert [one["image"] for one in answer["ranking"]] == [str(path) for path, _ in ranked]
        assert [one["score"] for one in answer["ranking"]] == pytest.approx([one.score.value for _, one in ranked])
        assert all(one["low"] < one["score"] < one["high"] for one in answer["ranking"])


def test_no_lines_are_no_error_and_lines_and_images_together_are(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _through(shop, [], monkeypatch) == (Done(0, "", ""), [])
    for wrong in (["--jsonl", "--product", "a"], ["--product", "a"], []):
        done = clickscape("score", shop.path, *wrong)
        assert done.code == 2
        assert "give --product ID and images, or --jsonl" in done.err


def test_lines_are_read_one_at_a_time(shop: Workspace) -> None:
    """Memory does not grow with the input: the second line is asked for once the first is answered."""
    image = next(one.image for one in shop.creatives() if one.product_id == "coffee_mug-navy")
    line = json.dumps({"product_id": "coffee_mug-navy", "images": [image]}).encode() + b"\n"
    read, write = os.pipe()
    with os.fdopen(read, "rb") as lines, os.fdopen(write, "wb", buffering=0) as pipeline:
        answers = score_lines(shop, lines)
        for number in (1, 2):
            pipeline.write(line)
            assert next(answers)["line"] == number
        pipeline.close()
        assert next(answers, None) is None


@pytest.fixture(scope="module")
def optimized(shop: Workspace) -> Manifest:
    return run(optimize(shop, SMALL_OPTIMIZE, target=shop.models / "prompt"))


def test_what_was_trained_has_a_card_with_the_figures_and_intervals_that_were_measured(
    shop: Workspace, optimized: Manifest
) -> None:
    card = model_card.check(shop.models / "reward")
    assert (card.data.base_model, card.data.library_name) == ("clickscape-tiny", "clickscape")
    assert {"reward-model", "effects"} <= set(card.data.tags)
    found = {one.metric_type: one for one in card.data.eval_results}
    measured = shop.newest("reward")
    assert measured is not None
    accuracy = measured[1].result["accuracy"]
    assert found["accuracy"].metric_value == pytest.approx(accuracy["value"], abs=1e-6)
    interval = {name: accuracy[name] for name in ("low", "high", "level")}
    assert found["accuracy"].metric_args == pytest.approx(interval, abs=1e-6)
    assert found["accuracy"].dataset_name == "held-out products of the simulated world harmony"
    card = model_card.check(shop.models / "prompt")
    assert card.data.library_name == "transformers"
    changes = {one["name"]: one["difference"] for one in optimized.result["held_out"]}
    (parsed,) = (one for one in card.data.eval_results if one.metric_type == "parse_rate_change")
    assert parsed.metric_args["low"] == pytest.approx(changes["parsed"]["low"], abs=1e-6)
    assert str(shop.path) not in str(card)
    digest = fingerprint(shop.models / "reward")
    model_card.add_figures(shop.models / "reward", model_card.REWARD, (), data="", base=None)
    assert fingerprint(shop.models / "reward") == digest, "a card is no part of what a later run depends on"


def test_optimizing_leaves_the_vision_tower_as_it_was(shop: Workspace, optimized: Manifest) -> None:
    before, after = vlm.load("tiny").vlm, vlm.load(shop.models / "prompt").vlm
    changed = {
        name
        for (name, old), (_, new) in zip(before.core.named_parameters(), after.core.named_parameters(), strict=True)
        if not np.array_equal(old.detach().numpy(), new.detach().numpy())
    }
    assert changed
    assert not [name for name in changed if "vision" in name]
    assert [one["round"] for one in optimized.result["rounds"]] == [1, 2]


def test_candidates_are_scored_by_the_scene_that_was_rendered_not_by_what_the_tower_reads(
    shop: Workspace, optimized: Manifest
) -> None:
    assert optimized.outputs
    (file,) = shop.runs_folder.glob("*-optimize/rounds/round-1/candidates.jsonl")
    drawn = read_json_lines(file, Candidate, remedy="Optimize again.")[:8]
    by_id, renderer = {product.product_id: product for product in shop.products()}, render.load("studio")
    products = [by_id[one.product_id] for one in drawn]
    size = (SMALL_OPTIMIZE.render_size, SMALL_OPTIMIZE.render_size)
    ads = [
        renderer.render(product, one.text, size=size, seed=one.seed)
        for product, one in zip(products, drawn, strict=True)
    ]
    asked = products, [ad.image for ad in ads], [ad.slots for ad in ads]
    model = reward_room.load(shop.models / "reward")
    scores = [one.score for one in drawn]
    assert scores == pytest.approx(model.with_given_scenes().score(*asked), abs=1e-4)
    assert scores != pytest.approx(model.score(*asked), abs=1e-2)


def test_the_settings_say_which_model_an_optimization_starts_from(shop: Workspace, tmp_path: Path) -> None:
    """A copy of `tiny` that says the same in other numbers: its weights are what round 0 holds."""
    other = vlm.load("tiny").vlm
    with torch.no_grad():
        other.core.get_input_embeddings().weight.mul_(1.0001)
    vlm_model.save(other, tmp_path / "other")
    config = SMALL_OPTIMIZE.model_copy(update={"model": str(tmp_path / "other"), "rounds": 1})
    manifest = run(optimize(shop, config, target=shop.models / "elsewhere", name="elsewhere"))
    assert "writer" in manifest.inputs
    (folder,) = shop.runs_folder.glob("*-elsewhere/rounds")
    started = open_policy(folder, round_number=0).vlm
    for name, weight in other.model.state_dict().items():
        assert torch.equal(started.model.state_dict()[name], weight), name
    assert (shop.models / "elsewhere" / "model.safetensors").exists()


def test_a_model_that_got_worse_is_refused_and_left_in_its_run(
    shop: Workspace, new_shop: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate of 10 ends in nonsense; the shop is small, so two held-out groups have to do."""
    monkeypatch.setattr(policies, "LEAST_GROUPS", 1)
    other = new_shop()
    (other.models / "reward").symlink_to(shop.models / "reward")
    manifest = run(optimize(other, SMALL_OPTIMIZE.model_copy(update={"rounds": 1, "learning_rate": 10.0})))
    assert manifest.result["refused"]
    assert not (other.models / "prompt").exists()
    (saved,) = manifest.outputs
    assert (other.path / saved / "model.safetensors").exists()
    assert saved in manifest.result["summary"][-2]
    (sheet,) = other.runs_folder.glob("*-optimize/before-after.png")
    assert open_image(sheet).shape[0] == 2 * 320
    assert run(optimize(other, SMALL_OPTIMIZE.model_copy(update={"rounds": 1, "learning_rate": 10.0}))) == manifest


def test_a_finished_optimization_is_reused(shop: Workspace, optimized: Manifest) -> None:
    notes: list[Progress] = []
    again = run(optimize(shop, SMALL_OPTIMIZE, target=shop.models / "prompt"), on_progress=notes.append)
    assert again == optimized
    assert [progress.note for progress in notes] == ["reused"]


@pytest.mark.parametrize("ids", [["coffee_mug-navy"], ["coffee_mug-navy", "coffee_mug-crimson", "coffee_mug-original"]])
def test_no_other_caption_can_be_drawn_from_one_product_or_one_category(
    ids: list[str], shop: Workspace, new_shop: Callable[[], Workspace]
) -> None:
    other = new_shop()
    chosen: list[Product] = [product for product in other.products() if product.product_id in ids]
    other.write_products(chosen)
    (other.models / "reward").symlink_to(shop.models / "reward")
    with pytest.raises(PreferenceError):
        run(optimize(other, SMALL_OPTIMIZE))
    assert not (other.models / "prompt").exists()


def test_pretraining_on_own_creatives_learns_their_words(shop: Workspace, new_shop: Callable[[], Workspace]) -> None:
    products, asked = shop.products(), {"size": 96, "slots": SLOTS, "slots_of": slots_of}
    corpus = CreativeCorpus(split.read(shop, products).training(products), shop.creatives(), **asked)
    written = {creative.description for creative in shop.creatives()}
    rng = np.random.default_rng(0)
    assert all(corpus.describe(product, rng) in written for product in corpus.products)
    assert corpus.ads.shape[1:] == (96, 96, 3)
    with pytest.raises(WorkspaceError, match="no creative of a training product has a description"):
        CreativeCorpus(new_shop().products(), [], **asked)


def test_pretrain_writes_a_model_that_the_next_stages_use(shop: Workspace, new_shop: Callable[[], Workspace]) -> None:
    other = new_shop()
    shutil.copytree(shop.path / "creatives", other.path / "creatives", dirs_exist_ok=True)
    manifest = run(pretrain(other, PretrainConfig(joint_steps=3, batch_size=8)))
    assert manifest.result["loss"] > 0
    assert vlm.load(other.models / "pretrained").describe(other.products()[0], n=1, seed=0)
