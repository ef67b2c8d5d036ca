"""Matting models as real ONNX files, built here so that the answer to every picture is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from clickscape.catalog.cutout import cut_out, examine
from clickscape.catalog.matting import RECIPES, Recipe, alpha, recipe_of
from clickscape.errors import ImageError, ModelError

PLAIN = RECIPES["plain"]
Side = int | str


def model(
    path: Path,
    *,
    shape: tuple[Side, ...] = (1, 3, 64, 64),
    nodes: list[onnx.NodeProto] | None = None,
    outputs: tuple[str, ...] = ("y",),
    constants: dict[str, NDArray[np.generic]] | None = None,
    element: int = TensorProto.FLOAT,
) -> Path:
    """A model file; by default its answer is the mean of red, green and blue."""
    axis = 1 if len(shape) > 1 and shape[1] == 3 else 3
    nodes = nodes or [helper.make_node("ReduceMean", ["x"], ["y"], axes=[axis], keepdims=1)]
    graph = helper.make_graph(
        nodes,
        "matting",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """Gray from black at the left to white at the right."""
    gray = np.linspace(0, 255, width).astype(np.uint8)
    return np.repeat(np.repeat(gray[None, :, None], height, 0), 3, 2)


def truth(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return picture.mean(2, dtype=np.float32) / 255


@pytest.mark.parametrize(
    "shape",
    [(1, 3, 64, 64), (1, 64, 64, 3), (1, 3, 48, 96), (1, 3, "height", "width"), ("n", "h", "w", 3), (1, 3, 64, "w")],
)
@pytest.mark.parametrize("size", [(64, 64), (40, 120), (200, 50)])
def test_layouts_and_sizes_give_the_alpha_back_in_place(
    tmp_path: Path, shape: tuple[Side, ...], size: tuple[int, int]
) -> None:
    picture = ramp(*size)
    got = alpha(picture, model(tmp_path / "a.onnx", shape=shape), recipe=Recipe(64, PLAIN.mean, PLAIN.deviation))
    assert got.shape == size
    # the picture was scaled into the model's window and back: only steps finer than its pixels may blur
    assert np.abs(got - truth(picture)).max() < 1.5 / min(24, size[1]) + 0.03
    assert np.abs(got - truth(picture)).mean() < 0.02


def test_the_picture_keeps_its_proportions_and_padding_stays_out_of_the_alpha(tmp_path: Path) -> None:
    # the answer is 1 in the rows below the window, where only padding is, and 0 in it
    below = np.zeros((1, 1, 64, 64), np.float32)
    below[:, :, 32:] = 1
    zero = np.zeros(1, np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["m", "zero"], ["z"]),
        helper.make_node("Add", ["z", "below"], ["y"]),
    ]
    path = model(tmp_path / "a.onnx", nodes=nodes, constants={"below": below, "zero": zero})
    assert alpha(ramp(50, 100), path, recipe=PLAIN).max() == 0  # 100 × 50 fills the upper 64 × 32
    assert alpha(ramp(100, 100), path, recipe=PLAIN)[60:].min() == 1


def test_an_answer_smaller_than_the_input_is_scaled_up(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["m"], ["y"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    picture = ramp(80, 160)
    got = alpha(picture, model(tmp_path / "a.onnx", shape=(1, 3, 128, 128), nodes=nodes), recipe=PLAIN)
    assert np.abs(got - truth(picture)).mean() < 0.02


def test_normalization_is_the_recipes(tmp_path: Path) -> None:
    # identity on red: the answer is (value / 255 − mean) / deviation
    nodes = [helper.make_node("Slice", ["x", "from", "to", "axis"], ["y"])]
    ends = {"from": np.array([0]), "to": np.array([1]), "axis": np.array([1])}
    path = model(tmp_path / "a.onnx", nodes=nodes, constants=ends)
    picture = np.full((64, 64, 3), (204, 10, 20), np.uint8)
    recipe = Recipe(64, mean=(0.5, 0, 0), deviation=(0.4, 1, 1), logits=False)
    assert alpha(picture, path, recipe=recipe) == pytest.approx((0.8 - 0.5) / 0.4)


@pytest.mark.parametrize(("logits", "expected"), [(None, 1 / (1 + np.exp(-2.0))), (False, 1.0)])
def test_logits_are_recognized_by_their_values_unless_the_recipe_says(
    tmp_path: Path, logits: bool | None, expected: float
) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["m", "two"], ["y"]),
    ]
    path = model(tmp_path / "a.onnx", nodes=nodes, constants={"two": np.float32([2])})
    recipe = Recipe(64, PLAIN.mean, PLAIN.deviation, logits=logits)
    assert alpha(np.full((64, 64, 3), 255, np.uint8), path, recipe=recipe) == pytest.approx(expected)


def test_one_of_several_outputs_and_every_rank_that_is_one_map(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["first"], axes=[1], keepdims=1),
        helper.make_node("ReduceMax", ["x"], ["second"], axes=[1], keepdims=0),
    ]
    path = model(tmp_path / "a.onnx", nodes=nodes, outputs=("first", "second"))
    picture = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    assert alpha(picture, path, recipe=PLAIN) == pytest.approx(1 / 3)
    last = Recipe(64, PLAIN.mean, PLAIN.deviation, output=-1)
    assert alpha(picture, path, recipe=last) == pytest.approx(1)
    with pytest.raises(ModelError, match="names output 2; this model has 2"):
        alpha(picture, path, recipe=Recipe(64, PLAIN.mean, PLAIN.deviation, output=2))


def test_a_model_with_byte_input_gets_bytes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=[3], keepdims=1),
        helper.make_node("Div", ["m", "white"], ["y"]),
    ]
    path = model(
        tmp_path / "a.onnx",
        shape=(1, 64, 64, 3),
        nodes=nodes,
        constants={"white": np.float32([255])},
        element=TensorProto.UINT8,
    )
    assert alpha(np.full((64, 64, 3), 51, np.uint8), path, recipe=RECIPES["isnet"]) == pytest.approx(0.2)


def test_recipes_come_from_the_file_beside_then_from_the_name(tmp_path: Path) -> None:
    assert recipe_of(tmp_path / "ISNet-general-use.onnx") == RECIPES["isnet"]
    assert recipe_of(tmp_path / "u2_netp.onnx") == RECIPES["u2net"]
    (tmp_path / "u2net.json").write_text(json.dumps({"side": 256, "mean": [0, 0, 0]}))
    assert recipe_of(tmp_path / "u2net.onnx") == Recipe(256, mean=(0, 0, 0))
    with pytest.raises(ModelError, match=r"mine\.onnx: how this model wants its pictures is unknown.*mine\.json"):
        recipe_of(tmp_path / "mine.onnx")
    for wrong in ('{"sides": 3}', "[1]", "{", '{"side": 9}', '{"mean": [1]}'):
        (tmp_path / "mine.json").write_text(wrong)
        with pytest.raises(ModelError, match=r"mine\.json: not a recipe .* Its keys are side, mean"):
            recipe_of(tmp_path / "mine.onnx")


def _refused(path: Path, picture: NDArray[np.uint8] | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        alpha(ramp(64, 64) if picture is None else picture, path, recipe=PLAIN)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_files_that_are_not_a_matting_model_are_refused(tmp_path: Path) -> None:
    assert "no such matting model" in _refused(tmp_path / "gone.onnx")
    (tmp_path / "text.onnx").write_text("<html>404</html>")
    assert "not an ONNX model that can be run" in _refused(tmp_path / "text.onnx")
    for shape in [(1, 3, 64), (1, 4, 64, 64), (8, 3, 64, 64)]:
        nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)]
        assert "expected an input of one color picture" in _refused(
            model(tmp_path / "rank.onnx", shape=shape, nodes=nodes)
        )
    assert "at most 4096 pixels" in _refused(model(tmp_path / "huge.onnx", shape=(1, 3, 64, 5000)))
    double = model(tmp_path / "double.onnx", element=TensorProto.DOUBLE)
    assert "expected an input of tensor(float)" in _refused(double)
    same = [helper.make_node("Identity", ["x"], ["y"])]
    assert "expected an alpha of shape" in _refused(model(tmp_path / "color.onnx", nodes=same))
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Div", ["m", "zero"], ["y"]),
    ]
    path = model(tmp_path / "nan.onnx", nodes=nodes, constants={"zero": np.float32([0])})
    assert "no numbers" in _refused(path)


def test_weights_outside_of_the_models_folder_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(np.float32([7]).tobytes())
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(np.float32([1]).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    picture = ramp(64, 64)
    for number, (location, allowed) in enumerate(
        [("weights.bin", True), ("../secret.bin", False), (str(tmp_path / "secret.bin"), False), ("link.bin", False)]
    ):
        weight = numpy_helper.from_array(np.float32([7]), "w")
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", location
        nodes = [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["m", "w"], ["y"]),
        ]
        path = model(folder / f"{number}.onnx", nodes=nodes)
        made = onnx.load(path, load_external_data=False)
        made.graph.initializer.append(weight)
        path.write_bytes(made.SerializeToString())
        if allowed:
            assert np.abs(alpha(picture, path, recipe=PLAIN) - truth(picture)).mean() < 0.02
        else:
            assert "weights inside its folder" in _refused(path)


def test_operators_of_other_libraries_are_not_looked_for(tmp_path: Path) -> None:
    nodes = [helper.make_node("Steal", ["x"], ["y"], domain="evil.ops")]
    assert "not an ONNX model that can be run" in _refused(model(tmp_path / "a.onnx", nodes=nodes))


def test_a_cut_out_by_a_model_takes_its_alpha_and_takes_the_background_out(tmp_path: Path) -> None:
    y, x = np.mgrid[:96, :96]
    cover = np.clip(30.5 - np.hypot(x - 48, y - 48), 0, 1).astype(np.float32)[..., None]
    # darkness is the product: 1 − mean; black on a light busy ground
    ground = 255.0 - np.random.default_rng(0).integers(0, 2, (96, 96, 1))
    picture = np.rint(ground * (1 - cover) + 0 * cover).repeat(3, 2).astype(np.uint8)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["one", "m"], ["y"]),
    ]
    path = model(tmp_path / "plain.onnx", shape=(1, 3, 96, 96), nodes=nodes, constants={"one": np.float32([1])})
    found = examine(picture, matting=path)
    assert found.way == "matting"
    assert found.confidence is None
    assert not found.doubtful
    # alpha within 0.05 of clear or solid is taken for just that
    assert np.abs(found.pixels[..., 3] / 255 - cover[..., 0]).max() < 0.055
    edge = (cover[..., 0] > 0.2) & (cover[..., 0] < 0.8)
    assert picture[edge].mean() > 90
    assert found.pixels[edge, :3].max() < 16  # the product is black there too
    drawn = np.dstack([picture, np.where(cover[..., 0] > 0, 255, 0).astype(np.uint8)])
    assert cut_out(drawn, matting=tmp_path / "not even there.onnx") is drawn  # real alpha needs no model


def test_a_model_that_finds_nothing_is_an_error_about_the_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"the matting model plain\.onnx finds no product"):
        examine(np.zeros((64, 64, 3), np.uint8), matting=model(tmp_path / "plain.onnx"))
