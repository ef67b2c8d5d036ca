"""A chat template is a program of somebody else: it is rendered with limits, and one that is no use is one line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from clickscape.errors import ModelError
from clickscape.vlm.chat_template import around_question
from clickscape.vlm.model import CHAT_TEMPLATE

LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
BAD = {
    "a loop too long": ("{% for i in range(10**9) %}{{ i }}{% endfor %}", "OverflowError"),
    "loops in loops": (LOOP + CHAT_TEMPLATE, "does not end"),
    "a loop for one text": ("{% if 'instruction' in (messages | string) %}" + LOOP + "{% endif %}", "does not end"),
    "a long string": ("{% set x = 'a' * 10**10 %}" + CHAT_TEMPLATE, "MemoryError"),
    "a folded constant": ("{{ 'a' * 10**10 }}", "MemoryError"),
    "a large power": ("{{ 10 ** (10 ** 10) }}", "does not end|MemoryError|ValueError"),
    "padding": ("{{ 'a' | center(10 ** 10) }}", "MemoryError"),
    "a long text": ("{{ 'a' * 200000 }}" + CHAT_TEMPLATE, "more than 100,000 letters"),
    "doubling": (
        "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
        "does not end|MemoryError",  # whichever limit a machine meets first
    ),
    "recursion": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
    "an escape": ("{{ messages.__class__.__mro__ }}", "SecurityError"),
    "no Jinja": ("{% for %}", "TemplateSyntaxError"),
    "its own refusal": ("{{ raise_exception('only text') }}", "only text"),
    "text alone": ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "pictures: it is for text alone"),
    "no pictures": ("{% for m in messages %}{{ m.content[-1].text }}{% endfor %}", "pictures: it is for text alone"),
    "no question": ("{% for p in messages[0].content %}{{ p.type }}{% endfor %}", "the text of a question once"),
    "nothing": ("", "there is none"),
}

LONG = ("loops in loops", "a loop for one text", "a large power", "doubling")
"""These use up their two seconds of the processor."""


def processor(template: object, *, of_tokenizer: object = None) -> SimpleNamespace:
    """What the two places of a template look like."""
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = SimpleNamespace(chat_template=of_tokenizer, special_tokens_map=tokens)
    return SimpleNamespace(chat_template=template, tokenizer=tokenizer)


@pytest.mark.parametrize("case", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in BAD])
def test_a_template_that_cannot_be_used_is_one_line(case: str) -> None:
    template, reason = BAD[case]
    with pytest.raises(ModelError, match=rf"chat template of the checkpoint cannot be used: .*({reason})") as caught:
        around_question(processor(template), images=1)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_template_may_lie_with_the_processor_or_the_tokenizer_or_be_one_of_several() -> None:
    around = ("<s>USER: <image>\n", "\nASSISTANT:\n")
    assert around_question(processor(CHAT_TEMPLATE), images=1) == around
    assert around_question(processor(None, of_tokenizer=CHAT_TEMPLATE), images=1) == around
    assert around_question(processor({"default": CHAT_TEMPLATE, "tool_use": "x"}), images=1) == around
    assert around_question(processor(CHAT_TEMPLATE), images=2) == ("<s>USER: <image>\n<image>\n", "\nASSISTANT:\n")


def test_what_transformers_templates_use_is_there() -> None:
    used = (
        "{%- set today = strftime_now('%Y') %}{% for m in messages %}{% generation %}{{ m['role'] | tojson }}"
        "{% for p in m['content'] %}{% if p['type'] == 'image' %}{% continue %}{% endif %}{{ p['text'] }}{% endfor %}"
        "{{ (m['content'] | length) * '.' }}{% endgeneration %}{% endfor %}{{ today | length }}{{ tools }}"
    )
    before, after = around_question(processor(used), images=1)
    assert (before, after) == ('"user"', "..4None")


def test_a_template_sees_no_secret_and_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that renders it gets neither the environment nor the right to write."""
    script = Path(around_question.__code__.co_filename).with_name("_render_template.py").read_text(encoding="utf-8")
    assert '"FSIZE": 0' in script
    monkeypatch.setenv("CLICKSCAPE_API_KEY", "hush-77")
    (tmp_path / "sitecustomize.py").write_text(
        f"import os\nopen({str(tmp_path / 'seen')!r}, 'w').write(repr(dict(os.environ)))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    around_question(processor(CHAT_TEMPLATE + "{# another #}"), images=1)
    seen = (tmp_path / "seen").read_text()
    assert "PYTHONPATH" in seen
    assert "hush-77" not in seen
