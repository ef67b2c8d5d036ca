"""A reward model as a reward function of TRL: what GRPOTrainer and its kin ask how good a description is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clickscape.render.renderer import Renderer, Rendering, render_all
from clickscape.types import Product

if TYPE_CHECKING:
    from clickscape.reward.protocol import RewardModel

RewardFunction = Callable[..., list[float]]
Completion = str | Sequence[Mapping[str, Any]]
"""What TRL hands on: a text, or the messages of a conversation."""


def trl_reward(
    reward: RewardModel,
    renderer: Renderer,
    products: Sequence[Product],
    *,
    size: int = 128,
    seed: int = 0,
    margin: float = 0.1,
) -> RewardFunction:
    """Return a function for `reward_funcs`: it draws every completion's first line around its product and scores it.

    Rewards are logits; only differences within one product mean something, which is what GRPO's advantages are. The
    rows of the trainer's `train_dataset` have a column `product_id`; the completions of a prompt share it. A
    description that the renderer does not parse gets `margin` less than its group's worst that was drawn as written
    (−`margin` where there is none), or a policy could win by saying nothing. size: pixels of the square image.
    Images are drawn by `seed` and the place in the batch: the same completions get the same rewards. ValueError for an
    unknown product, and for a dataset without the column.
    """
    known = {product.product_id: product for product in products}

    def clickscape_reward(
        completions: Sequence[Completion], product_id: Sequence[str] | None = None, **_: Any
    ) -> list[float]:
        if product_id is None:
            raise ValueError("the dataset has no column `product_id`; add one with the id of each prompt's product")
        if missing := sorted(set(product_id) - known.keys()):
            raise ValueError(f"no product {missing[0]!r} among those that the reward function was made with")
        asked = [known[name] for name in product_id]
        texts = [_first_line(completion) for completion in completions]
        drawn = render_all(renderer, asked, texts, size=(size, size), seeds=range(seed, seed + len(texts)))
        scores = reward.score(asked, [one.image for one in drawn], [one.slots for one in drawn])
        return _shaped([float(score) for score in scores], drawn, list(product_id), margin=margin)

    return clickscape_reward


def _first_line(completion: Completion) -> str:
    text = completion if isinstance(completion, str) else _spoken(completion[-1].get("content", ""))
    return text.strip().partition("\n")[0]


def _spoken(content: Any) -> str:
    """The text of a message, which is a string or a list of parts."""
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)


def _shaped(
    scores: Sequence[float], drawn: Sequence[Rendering], product_id: Sequence[str], *, margin: float
) -> list[float]:
    """The scores, those of descriptions that the renderer did not draw as written below the worst of their product."""
    worst: dict[str, float] = {}
    for score, one, name in zip(scores, drawn, product_id, strict=True):
        if one.parsed:
            worst[name] = min(score, worst.get(name, score))
    return [
        score if one.parsed else worst.get(name, 0.0) - margin
        for score, one, name in zip(scores, drawn, product_id, strict=True)
    ]
