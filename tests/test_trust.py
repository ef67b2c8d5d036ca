"""What a checkpoint may not do: run its own code, or hand over a pickle; every call that opens one says so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import clickscape

SOURCE = Path(clickscape.__file__).parent
TORCH_OWN = {"Embedding.from_pretrained"}
"""Calls of that name that open no file."""

WITH_WEIGHTS = ("Model", "AutoModelForImageTextToText", "Checker", "kind")
"""How the names of classes end that read weights, not settings alone."""


def opening_calls() -> Iterator[tuple[str, str, dict[str, object]]]:
    """Every call in the package that opens a checkpoint: its place, what is called, its constant arguments."""
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in ("from_pretrained", "from_single_file", "download", "load_lora_weights"):
                called = ".".join(ast.unparse(node.func).split(".")[-2:])
                values = {one.arg: one.value.value for one in node.keywords if isinstance(one.value, ast.Constant)}
                if called not in TORCH_OWN:
                    yield f"{file.relative_to(SOURCE)}:{node.lineno}", called, values


CALLS = tuple(opening_calls())


def test_the_package_opens_checkpoints_at_all() -> None:
    assert {"AutoModel.from_pretrained", "kind.from_pretrained", "LoraConfig.from_pretrained"} <= {c[1] for c in CALLS}


@pytest.mark.parametrize(("place", "called", "given"), CALLS, ids=[f"{place} {called}" for place, called, _ in CALLS])
def test_every_opening_call_refuses_code_and_pickles(place: str, called: str, given: dict[str, object]) -> None:
    """`Auto` classes and pipelines run a repository's code where they are let; weights may come as pickles."""
    owner, verb = called.split(".")
    whole_pipeline = owner == "kind" and verb != "from_single_file" and "output_loading_info" not in given
    if owner.startswith("Auto") or whole_pipeline:
        assert given.get("trust_remote_code") is False, place
    weights = verb == "from_pretrained" and owner.endswith(WITH_WEIGHTS)
    if verb in ("download", "load_lora_weights") or weights:
        assert given.get("use_safetensors") is True, place
    assert given.get("local_files_only", True) is True, place


@pytest.mark.slow
def test_no_pickle_is_loaded() -> None:
    """A checkpoint's pickle is refused; errors of our own processes are copied within one expression."""
    loaders = {"torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load"}
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and "pickle.dumps(" not in ast.unparse(node):
                assert ast.unparse(node.func) not in loaders, f"{file.relative_to(SOURCE)}:{node.lineno}"
