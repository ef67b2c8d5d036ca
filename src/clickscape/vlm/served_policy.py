"""A policy as a server writes with it: vLLM or SGLang, on the same base, with the policy's adapter loaded for a round.

It is asked exactly what the policy is trained on (its own instruction, picture and template, without other words), at
the probabilities that the policy has, and what it writes stays as it was sampled. An adapter goes by a name that says
which weights it holds, so one that is there already is the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from clickscape.errors import ModelError
from clickscape.files import fingerprint
from clickscape.types import Product
from clickscape.vlm.endpoint import Endpoint, RefusedError, RetryPolicy
from clickscape.vlm.generate import one_description
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import writing_instruction
from clickscape.vlm.server import KEY_VARIABLE, LONGEST_LINE, ServerWriter, served_models, user_message

PATIENCE = RetryPolicy(seconds=300.0, threads=32)
"""A server batches what is asked at once; loading an adapter takes seconds."""

_START = (
    "Start vLLM with --enable-lora --max-lora-rank RANK and the environment variable "
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or SGLang with --enable-lora, where it can read this path."
)


class ServedPolicy(ServerWriter):
    """Writes for products as `Writer` does, through a server; `vlm` is the same policy here."""

    # The base's generation_config.json would change these; they are no part of the policy.
    _sampling: Mapping[str, Any] = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}

    def __init__(self, vlm: VisionLanguageModel, address: str, *, model: str, patience: RetryPolicy = PATIENCE) -> None:
        super().__init__(address, model=model, patience=patience)
        self.vlm = vlm

    def _messages(
        self, product: Product, pictures: Callable[[Product], np.ndarray] | None, brand_instructions: str
    ) -> list[dict[str, Any]]:
        assert pictures is not None  # those that the policy is trained on
        asked = writing_instruction(product, taught=self.vlm.instructions, brand_instructions=brand_instructions)
        return [user_message(asked, [pictures(product)])]

    def _lines(self, answer: Mapping[str, Any]) -> list[str]:
        """The line of every choice, an empty one too: it is what the policy wrote."""
        return [one_description(text)[:LONGEST_LINE] for text in self._contents(answer)]


@contextmanager
def loaded(adapter: Path, *, address: str, base: str = "", patience: RetryPolicy = PATIENCE) -> Iterator[str]:
    """Load an adapter's folder (PEFT's format) for the length of a block; yields the model to ask for.

    base: name of the model on that server (empty: the first one that it serves). ModelError for a server that cannot
    load it.
    """
    endpoint = Endpoint(address, key_variable=KEY_VARIABLE, patience=patience)
    name = f"clickscape-{fingerprint(adapter)[:16]}"
    base = base or next(iter(served_models(endpoint)), "")
    body = {"lora_name": name, "lora_path": str(adapter.resolve())}
    root = _load(endpoint, body)
    yield f"{base}:{name}" if root else name  # as SGLang, or as vLLM calls it
    with suppress(ModelError):  # what was asked for is here, and the server keeps as many as it likes
        endpoint.tell("/unload_lora_adapter", {"lora_name": name}, root=root)


def _load(endpoint: Endpoint, body: Mapping[str, str], *, root: bool = False) -> bool:
    """Load an adapter; returns whether the server takes that at its root, as SGLang does, and not below its API."""
    try:
        endpoint.tell("/load_lora_adapter", body, root=root)
    except RefusedError as error:
        if error.status in {404, 405} and not root:
            return _load(endpoint, body, root=True)
        if error.status != 400 or "already" not in str(error):  # else it was loaded before a kill
            raise ModelError(f"{str(error).rstrip('.')}: the policy's adapter {body['lora_path']} cannot be loaded. "
                             f"{_START}") from None  # fmt: skip
    return root
