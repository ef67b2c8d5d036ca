"""What a checkpoint's chat template puts around a question, rendered in a process of its own.

A template is a program: a loop may never end, and one multiplication can ask for all memory. So it never runs here. It
is rendered once around a mark, and every question takes the mark's place; it never sees a product's text.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from clickscape.errors import ModelError, printable

MOST_IMAGES = 2
"""Pictures of one question, at most."""

_MARK = "\u2063instruction\u2063"
_PASSED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")  # no secrets
_SECONDS = 60.0  # of the clock, for a machine that is busy; the process limits its own


def around_question(processor: Any, *, images: int, words_first: bool = False) -> tuple[str, str]:
    """Return what the chat template writes before and after an instruction with so many pictures, at most two.

    words_first: the pictures stand behind the instruction, unless the template itself puts them before it. ModelError
    for a processor without a template, one that fails or does not end, and one for text alone.
    """
    template = _template_of(processor)
    named = getattr(processor.tokenizer, "special_tokens_map", {})
    variables = {name: value for name, value in sorted(named.items()) if isinstance(value, str)}
    texts = _rendered(template, json.dumps({**variables, "add_generation_prompt": True}), words_first)
    text = texts[images]
    if "{'type'" in text or (images and text in texts[:images]):  # it writes a list as it stands, or leaves it out
        raise _unusable("it does not show pictures: it is for text alone")
    if text.count(_MARK) != 1:
        raise _unusable("it does not show the text of a question once")
    before, _, after = text.partition(_MARK)
    return before, after


def _template_of(processor: Any) -> str:
    """The processor's own template, or its tokenizer's; of several, the default one."""
    for owner in (processor, processor.tokenizer):
        found = getattr(owner, "chat_template", None)
        found = found.get("default") if isinstance(found, dict) else found
        if isinstance(found, str) and found.strip():
            return found
    raise _unusable("there is none")


@lru_cache(maxsize=64)
def _rendered(template: str, variables: str, words_first: bool) -> tuple[str, ...]:
    """The texts of a question with no picture, with one, and so on."""
    words = [{"type": "text", "text": _MARK}]
    asked = {
        "template": template,
        "variables": {**json.loads(variables), "tools": None, "documents": None},
        "conversations": [
            [{"role": "user", "content": [*words, *pictures] if words_first else [*pictures, *words]}]
            for pictures in ([{"type": "image"}] * count for count in range(MOST_IMAGES + 1))
        ],
    }
    command = [sys.executable, "-P", str(Path(__file__).with_name("_render_template.py"))]
    environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asked).encode(),
            capture_output=True,
            env=environment,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _unusable("it does not end") from None
    if done.returncode < 0:
        raise _unusable("it does not end")
    if done.returncode:
        said = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"])[-1]
        raise _unusable(printable(said[:200]))
    return tuple(json.loads(done.stdout))


def _unusable(reason: str) -> ModelError:
    return ModelError(f"the chat template of the checkpoint cannot be used: {reason}. Put the chat_template.jinja of "
                      "its model card into the folder.")  # fmt: skip
