"""The paper's left/right list: what is read from a row, what is refused, and what is said of a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.factory import clickscape

from clickscape.errors import LogError
from clickscape.reward import pairwise_list

GOOD = {"image": "pair.png", "left_ctr": 0.05, "right_ctr": 0.04, "target": "left"}
ASKED = "<image>\nWhich part will bring more click-through rate in this image for product 'Red Mug' ?"


def half(color: tuple[int, int, int], *, seed: int = 0, side: int = 64) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 20, (side, side, 3))
    return np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of two halves (red left, blue right) and of one."""
    red, blue = half((220, 40, 40)), half((40, 60, 220))
    Image.fromarray(np.concatenate([red, blue], axis=1)).save(tmp_path / "pair.png")
    Image.fromarray(red).save(tmp_path / "red.png")
    Image.fromarray(blue).save(tmp_path / "blue.png")
    return tmp_path


def listed(folder: Path, *rows: object) -> Path:
    (folder / "pairs.json").write_text(json.dumps(list(rows)))
    return folder / "pairs.json"


def test_rows_of_the_papers_code_are_read(folder: Path) -> None:
    rows = pairwise_list.read(
        listed(
            folder,
            {**GOOD, "id": "77_0", "question": ASKED},
            {"id": "77_1", "image": ["blue.png", "red.png"], "left_ctr": 0.03, "right_ctr": 0.04},
            {"id": "x", "image": "pair.png", "target": "right", "new_caption": "Blue Hat",
             "conversations": [{"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": "Right"}]},
            {"item_id": 5, "image": "pair.png", "target": "right"},
        )
    )  # fmt: skip
    assert [row.product.product_id for row in rows] == ["77", "77", "x", "5"]
    assert [row.product.title for row in rows] == ["Red Mug", "product", "Blue Hat", "product"]
    assert [row.better for row in rows] == ["left", "right", "right", "right"]
    assert [row.question for row in rows] == [ASKED.removeprefix("<image>\n"), None, "Which?", None]
    for row, (left, right) in zip(rows, [("red", "blue"), ("blue", "red"), ("red", "blue")], strict=False):
        for view, color in zip(row.views(), (left, right), strict=True):
            assert np.array_equal(view, np.asarray(Image.open(folder / f"{color}.png")))


BAD = {
    "no object": (3, "expected an object"),
    "no image": ({**GOOD, "image": None}, "expected one path"),
    "three images": ({**GOOD, "image": ["red.png"] * 3}, "expected one path"),
    "missing image": ({**GOOD, "image": "gone.png"}, "--image-dir"),
    "outside": ({**GOOD, "image": "../secret.png"}, "leaves"),
    "absolute": ({**GOOD, "image": "/etc/secret.png"}, "--image-dir"),
    "one half": ({**GOOD, "image": "red.png"}, "64 × 64, expected two squares side by side"),
    "no answer": ({"image": "pair.png"}, "neither target nor"),
    "a tie": ({**GOOD, "right_ctr": 0.05, "target": None}, "no side is better"),
    "contradiction": ({**GOOD, "target": "right"}, "target is 'right', but the CTRs are 0.05"),
    "another word": ({**GOOD, "target": "up"}, "'up', expected 'left' or 'right'"),
    "no number": ({**GOOD, "left_ctr": "5 %"}, "expected two numbers from 0 to 1"),
    "one number": ({"image": "pair.png", "left_ctr": 0.1, "target": "left"}, "expected two numbers"),
    "a percentage": ({**GOOD, "left_ctr": 5.0}, "expected two numbers from 0 to 1"),
    "a giant number": ({**GOOD, "left_ctr": 10**400}, "expected two numbers from 0 to 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_names_file_and_row(folder: Path, case: str) -> None:
    row, words = BAD[case]
    path = listed(folder, GOOD, row)
    with pytest.raises(LogError) as error:
        pairwise_list.read(path)
    assert str(error.value).startswith(f"{path}, row 2: ")
    assert words in str(error.value)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(("text", "words"), [("{", "broken JSON"), ("[]", "not empty"), ("{}", "expected a JSON list")])
def test_a_file_that_is_no_list_is_refused(folder: Path, text: str, words: str) -> None:
    (folder / "pairs.json").write_text(text)
    with pytest.raises(LogError, match=words):
        pairwise_list.read(folder / "pairs.json")
    with pytest.raises(LogError, match="no such list"):
        pairwise_list.read(folder / "nothing.json")


def test_pair_accuracy_is_the_one_worked_out_by_hand(folder: Path) -> None:
    sides = ["left", "left", "right", "right", "left", "right"]
    rows = pairwise_list.read(
        listed(folder, *({"id": f"{n // 2}_{n}", "image": "pair.png", "target": side} for n, side in enumerate(sides)))
    )
    #                 as shown          turned (log-odds of the same left ad)
    odds = np.array([[2, 2], [1, -3], [1, -2], [-1, -1], [-4, 1], [0, 0]], dtype=float)
    judged = pairwise_list.evaluate(rows, odds, orders=True, rng=np.random.default_rng(0))
    assert (judged.rows, judged.products, judged.left_targets) == (6, 3, 0.5)
    assert judged.accuracy.value == pytest.approx((1 + 0 + 1 + 1 + 0 + 0.5) / 6)
    assert judged.as_shown is not None
    assert judged.as_shown.value == pytest.approx((1 + 1 + 0 + 1 + 0 + 0.5) / 6)
    assert judged.takes_left is not None
    # as shown: left is taken in rows 1, 2, 3; turned, the other ad is on the left: it is taken in rows 2, 3, 4
    assert judged.takes_left.value == pytest.approx((3.5 + 3.5) / 12)
    # products 0, 1, 2 are right in 1, 2, 0.5 of 2 rows: no resample is below the worst product or above the best
    assert 0.25 <= judged.accuracy.low < judged.accuracy.value < judged.accuracy.high <= 1.0
    alone = pairwise_list.evaluate(rows, odds, orders=False, rng=np.random.default_rng(0))
    assert (alone.as_shown, alone.takes_left) == (None, None)


@pytest.mark.slow
def test_the_command_line_converts_and_evaluates(reward_original, tmp_path: Path, folder: Path) -> None:
    made = reward_original
    converted = ("convert", "--from", "caig", made.folder, "--vision-tower", made.tower, "--out", tmp_path / "model")
    code, out, err = clickscape(*converted)
    assert code == 0, err
    assert "caig reward model, " in out
    assert f"next: clickscape reward evaluate pairs.json --model {tmp_path / 'model'}" in out

    rows = [
        {"id": f"{n // 2}_{n}", "image": "pair.png", "target": "left" if n % 2 else "right", "question": f"Which {n}?"}
        for n in range(4)
    ]
    path = listed(folder, *rows)
    code, out, err = clickscape("reward", "evaluate", path, "--model", tmp_path / "model")
    assert code == 0, err
    model = leftright_model(tmp_path / "model")
    views = pairwise_list.read(path)[0].views()
    logits = model.outputs([f"Which {n}?" for n in range(4)], [views] * 4)[0][0]
    says_left = logits[:, 0] >= logits[:, 1]
    shown = float(np.mean(says_left == np.array([False, True, False, True])))
    lines = out.splitlines()
    assert lines[0] == "4 pairs of 2 products; the list says left for 50.0%"
    assert lines[1].startswith("pair accuracy, both orders")
    assert lines[2].startswith(f"pair accuracy, as shown            {shown:.3f} [")
    assert lines[3].startswith("takes the left (0.5: unbiased)")

    code, out, err = clickscape("reward", "evaluate", listed(folder, *rows, {"image": "gone.png"}), "--model", tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith(f"clickscape: {path}, row 5: ")
    code, out, err = clickscape("reward", "evaluate", listed(folder, *rows), "--model", tmp_path)
    assert (code, out) == (2, "")
    assert "no reward model here" in err


def leftright_model(folder: Path):
    from clickscape import reward

    return reward.load(folder)


@pytest.mark.slow
def test_models_of_this_package_are_evaluated_as_well(tmp_path: Path, folder: Path) -> None:
    from clickscape.config import RewardConfig
    from clickscape.reward import training
    from clickscape.reward.data import RewardData
    from clickscape.types import CreativePair, Product

    rows = [{"id": f"{n}", "image": ["red.png", "blue.png"], "target": "left", "caption": "Mug"} for n in range(3)]
    path = listed(folder, *rows)
    views = [view for row in pairwise_list.read(path)[:2] for view in row.views()]
    data = RewardData(
        products={name: Product(name, "Mug") for name in "ab"}, creative_ids=["1", "2", "3", "4"], product_of=[*"aabb"],
        images=views, pairs=[CreativePair("a", "1", "2", 0.9, 0.5, 1.0), CreativePair("b", "3", "4", 0.9, 0.5, 1.0)],
    )  # fmt: skip
    for form, lines in (("effects", 2), ("two_branch", 4)):
        config = RewardConfig(form=form, epochs=1)
        training.run(training.train(data, config=config, source="tiny", slots={})).save(tmp_path / form)
        code, out, err = clickscape("reward", "evaluate", path, "--model", tmp_path / form, "--image-dir", folder)
        assert code == 0, err
        assert len(out.splitlines()) == lines
        model = leftright_model(tmp_path / form)
        prefers = model.compare(pairwise_list.read(path)[0].product, *pairwise_list.read(path)[0].views())
        accuracy = 1.0 if prefers > 0.5 else 0.0
        assert f"{accuracy:.3f} [{accuracy:.3f}, {accuracy:.3f}]" in out.splitlines()[1]


def test_reward_still_trains_where_a_workspace_is_named(tmp_path: Path) -> None:
    for arguments in (("reward", "shop"), ("reward", "--form", "two_branch", "shop"), ("reward", "train", "shop")):
        code, _, err = clickscape(*arguments)
        assert code == 2
        assert err.startswith("clickscape: shop is not a workspace")
    for arguments in (("reward",), ("reward", "evaluate"), ("generate", "--bogus")):
        code, _, err = clickscape(*arguments)
        assert code == 2
        assert err.count("\n") == 1
        assert err.startswith("clickscape: ")
