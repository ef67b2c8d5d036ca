"""What does not fit is refused in one line that names the tensor, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from clickscape import reward, vlm
from clickscape.errors import ModelError
from clickscape.stages.checkpoints import convert
from clickscape.stages.progress import run
from clickscape.vlm.convert import caig
from clickscape.vlm.convert.shards import load_tensors, read_headers


def refused(made, out: Path) -> str:
    """The one line with which a conversion ends; nothing may be left of it."""
    with pytest.raises(ModelError) as error:
        run(convert(made.folder, vision_tower=made.tower, out=out))
    assert sorted(path.name for path in out.parent.iterdir()) == ["original", "tower"]
    assert "\n" not in str(error.value)
    return str(error.value)


UP = "model.layers.1.mlp.up_proj.weight"
BROKEN: dict[str, tuple[Callable[[dict], object], tuple[str, ...]]] = {
    "missing": (lambda state: state.pop(UP), (UP, "(48, 32)", "no tensor")),
    "no newline": (lambda state: state.pop("model.image_newline"), ("'model.image_newline'", "(32,)")),
    "no tower": (
        lambda state: state.pop("model.vision_tower.vision_tower.vision_model.encoder.layers.2.mlp.fc1.bias"),
        ("model.vision_tower.vision_tower.vision_model.encoder.layers.2.mlp.fc1.bias", "(40,)"),
    ),
    "foreign": (
        lambda state: state.update({"model.layers.0.mlp.lora_A.weight": torch.zeros(4, 32)}),
        ("'model.layers.0.mlp.lora_A.weight' (4, 32)", "no place"),
    ),
    "another shape": (
        lambda state: state.update({UP: torch.zeros(48, 16)}),
        (UP, "(48, 16)", "expected (48, 32)"),
    ),
    "another head": (
        lambda state: state.update({"score.weight": torch.zeros(1, 32)}),
        ("'score.weight'", "(1, 32)", "expected (2, 32)"),
    ),
    "no embeddings": (lambda state: state.pop("model.embed_tokens.weight"), ("'model.embed_tokens.weight'",)),
    "too few words": (
        lambda state: state.update({"model.embed_tokens.weight": torch.zeros(9, 32)}),
        ("'model.embed_tokens.weight'", "only 9 rows"),
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_tensor_that_does_not_fit_is_named(original, tmp_path: Path, case: str) -> None:
    made = original(reward=True)
    state = dict(made.state)
    damage, words = BROKEN[case]
    damage(state)
    made.save(state)
    line = refused(made, tmp_path / "out")
    assert all(word in line for word in words), line


SETTINGS = {
    "image_aspect_ratio": ("square", "expected 'anyres' or 'pad'"),
    "mm_patch_merge_type": ("flat", "expected 'spatial_unpad'"),  # of tiles, which are merged
    "mm_projector_type": ("linear", "expected 'mlp2x_gelu'"),
    "mm_use_im_start_end": (True, "expected False"),
    "image_grid_pinpoints": ("[(1, 2", "expected a list of [width, height]"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_another_layout_is_recognized_by_its_settings(original, tmp_path: Path, name: str) -> None:
    made = original(reward=False)
    value, words = SETTINGS[name]
    (made.folder / "config.json").write_text(json.dumps({**made.settings, name: value}))
    line = refused(made, tmp_path / "out")
    assert name in line
    assert words in line


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"num_hidden_layers": 10**7}, "num_hidden_layers is 10000000"),
        ({"intermediate_size": 2**24, "hidden_size": 2**24}, "more weights than its files hold"),
    ],
)
def test_settings_that_ask_for_too_much_are_refused_before_a_model_is_made(
    original, tmp_path: Path, changed: dict[str, int], words: str
) -> None:
    made = original(reward=False)
    (made.folder / "config.json").write_text(json.dumps({**made.settings, **changed}))
    assert words in refused(made, tmp_path / "out")


@pytest.mark.parametrize("place", ["folder", "tower"])
def test_a_pickle_is_refused_unopened_with_the_page_that_says_what_to_do(original, tmp_path: Path, place: str) -> None:
    made = original(reward=True, tower=place == "folder")
    where = getattr(made, place)
    (where / "model.safetensors").unlink()
    (where / "pytorch_model.bin").write_bytes(b"never read")
    line = refused(made, tmp_path / "out")
    assert line.startswith(f"{where}/pytorch_model.bin: a pickle can run any program when it is opened, so it is not.")
    assert line.endswith("docs/howto/paper.md shows how.")


def test_the_documented_lines_turn_pickles_into_the_same_tensors(original, tmp_path: Path, monkeypatch) -> None:
    """The lines of docs/howto/paper.md, run on two pickles that the original code could have written."""
    made = original(reward=True)
    (made.folder / "model.safetensors").unlink()
    names = sorted(made.state)
    for number in range(2):
        own = {name: made.state[name] for name in names[number::2]}
        torch.save(own, made.folder / f"pytorch_model-0000{number + 1}-of-00002.bin")
    page = (Path(__file__).parents[3] / "docs/howto/paper.md").read_text(encoding="utf-8")
    lines = page.partition("```python\n")[2].partition("```")[0]
    assert "weights_only=True" in lines
    exec(compile(lines.replace("downloaded/prompt", str(made.folder)), "paper.md", "exec"), {})
    held = read_headers(made.folder)
    loaded = dict(load_tensors(held, names))
    assert all(torch.equal(loaded[name], made.state[name]) for name in names)


def test_damaged_files_are_named(original, tmp_path: Path) -> None:
    made = original(reward=True)
    file = made.folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-2000])
    assert refused(made, tmp_path / "out").startswith(f"{file}: damaged")
    file.unlink()
    assert "no weights here" in refused(made, tmp_path / "out")
    (made.folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    assert "model.safetensors: damaged" in refused(made, tmp_path / "out")
    made.save(made.state, shards=2)
    (made.folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors: missing" in refused(made, tmp_path / "out")
    index = made.folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../tower/model.safetensors"}}))
    assert "outside of its folder" in refused(made, tmp_path / "out")
    (made.tower / "preprocessor_config.json").unlink()
    made.save(made.state)
    assert "preprocessor_config.json: missing" in refused(made, tmp_path / "out")


def test_a_sentencepiece_tokenizer_without_its_library_names_the_install(original, tmp_path: Path, monkeypatch) -> None:
    made = original(reward=True)
    (made.folder / "tokenizer.json").unlink()
    (made.folder / "tokenizer.model").write_bytes(b"pieces")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'clickscape[convert]'" in refused(made, tmp_path / "out")


def test_only_a_checkpoint_is_replaced(original, tmp_path: Path) -> None:
    made = original(reward=False)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear")
    for wrong in (tmp_path / "notes", made.folder, made.tower):
        before = {path: path.stat().st_mtime_ns for path in wrong.iterdir()}
        with pytest.raises(ModelError, match="--out"):
            run(convert(made.folder, vision_tower=made.tower, out=wrong))
        assert before == {path: path.stat().st_mtime_ns for path in wrong.iterdir()}
    for _ in range(2):
        done = run(convert(made.folder, vision_tower=made.tower, out=tmp_path / "out"))
    assert done.kind == "prompt"
    assert vlm.load(tmp_path / "out").vlm.core.config.model_type == "llava_next"


@pytest.mark.parametrize("shards", [1, 3])
def test_every_number_of_files_gives_the_same_checkpoint(original, tmp_path: Path, shards: int) -> None:
    made = original(reward=True)
    run(convert(made.folder, vision_tower=made.tower, out=tmp_path / "one"))
    made.save(made.state, shards=shards)
    run(convert(made.folder, vision_tower=made.tower, out=tmp_path / "many"))
    first, second = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.suffix == ".json"}
        for folder in (tmp_path / "one", tmp_path / "many")
    )
    assert first == second
    for name, tensor in _tensors(tmp_path / "one").items():
        assert torch.equal(tensor, _tensors(tmp_path / "many")[name])


def test_precision_is_kept_and_little_is_in_memory(original, tmp_path: Path, monkeypatch) -> None:
    made = original(reward=False)
    half = {
        name: value.to(torch.bfloat16) if value.is_floating_point() else value for name, value in made.state.items()
    }
    made.save(half)
    saved: list[int] = []
    save = caig.save_file

    def watched(tensors, *arguments, **named) -> None:
        saved.append(sum(tensor.nbytes for tensor in tensors.values()))
        save(tensors, *arguments, **named)

    monkeypatch.setattr(caig, "save_file", watched)
    planned = caig.plan(made.folder, vision_tower=made.tower)
    out = tmp_path / "out"
    out.mkdir()
    moved = list(caig.write(planned, out, shard=30_000))
    largest = max(half[name].nbytes for name in planned.names) + 2 * 32
    assert len(saved) > 3
    assert max(saved) <= max(30_000, largest), "one shard at a time"
    assert [step.number for step in moved] == list(range(1, moved[0].total + 1))
    assert sorted(path.name for path in out.glob("*.safetensors"))[0] == f"model-00001-of-{len(saved):05d}.safetensors"
    assert {tensor.dtype for tensor in _tensors(out).values()} == {torch.bfloat16}
    opened = vlm.load(out).vlm.core
    assert torch.equal(opened.lm_head.weight[: len(made.tokenizer)], half["lm_head.weight"].float())


def test_a_kill_at_any_moment_leaves_the_old_checkpoint_or_the_new_one(original, tmp_path: Path) -> None:
    made = original(reward=True)
    out = tmp_path / "out"
    child = os.fork()
    if child == 0:
        for step in convert(made.folder, vision_tower=made.tower, out=out):
            if step.done == 40:
                os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not out.exists()
    assert list(tmp_path.glob(".tmp-out-*")), "the kill came while it wrote"
    run(convert(made.folder, vision_tower=made.tower, out=out))
    assert reward.load(out).reads_sides
    assert not list(tmp_path.glob(".tmp-*")), "what the killed one left is gone"


def test_a_converted_folder_that_was_damaged_says_so(reward_original, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(convert(reward_original.folder, vision_tower=reward_original.tower, out=out))
    settings = json.loads((out / "reward.json").read_text())
    for change, words in (
        ({"version": 9}, "version 9"),
        ({"instruction": ""}, "instruction must be words"),
        ({"side": "big"}, "side a number"),
    ):
        (out / "reward.json").write_text(json.dumps({**settings, **change}))
        with pytest.raises(ModelError, match=words):
            reward.load(out)
    (out / "reward.json").write_text(json.dumps(settings))
    (out / "heads.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"heads\.safetensors: damaged"):
        reward.load(out)


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in folder.glob("model*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            found |= {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    return found


@pytest.mark.parametrize("wrong", ["one text", ["no place for the caption"], ["{} and {}"], [1]])
def test_instructions_that_are_none_are_refused_when_a_checkpoint_is_opened(original, tmp_path: Path, wrong) -> None:
    made = original(reward=False)
    run(convert(made.folder, vision_tower=made.tower, out=tmp_path / "hf"))
    file = tmp_path / "hf" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "instructions": wrong}))
    with pytest.raises(ModelError, match=r"`instructions` in config\.json must be texts with one {}"):
        vlm.load(tmp_path / "hf")
