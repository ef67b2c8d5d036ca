"""The process in which a chat template is rendered: its time and memory are limited, and it writes no file.

Reads one JSON object from standard input (template, conversations, variables) and prints a JSON list, one text per
conversation. It imports nothing of clickscape, so that it starts in a tenth of a second. Its environment of Jinja is
that of transformers: sandboxed, blocks trimmed, with raise_exception, strftime_now, tojson and {% generation %}.
"""

import json
import resource
import sys
from datetime import datetime
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS, BYTES, LONGEST = 2, 1 << 30, 100_000
"""Of the processor, of memory, and letters of a text: a chat template writes a few hundred of them."""


class _Generation(Extension):
    """`{% generation %}` marks what a model is trained on; here it is the text inside."""

    tags = {"generation"}  # noqa: RUF012  (Jinja's way)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _raise(message: object) -> None:
    raise TemplateError(str(message))


def _to_json(value: object, ensure_ascii: bool = False, **form: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **form)


def main() -> None:
    """Limit this process, render, print."""
    asked = json.load(sys.stdin)
    limits = {"CPU": SECONDS, "AS": BYTES, "FSIZE": 0, "CORE": 0}
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        template = environment.from_string(asked["template"])
        texts = [template.render(messages=one, **asked["variables"]) for one in asked["conversations"]]
    except Exception as error:  # whatever a template makes Jinja and Python say
        sys.exit(f"{type(error).__name__}: {error}")
    if max(map(len, texts)) > LONGEST:
        sys.exit(f"it writes more than {LONGEST:,} letters")
    sys.stdout.write(json.dumps(texts))


if __name__ == "__main__":
    main()
