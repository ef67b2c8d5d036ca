"""Prompts: the product as one line of text, and many wordings of the four instruction tasks.

Titles come from feeds that nobody has checked: control characters, invisible ones and the brackets of special tokens
are removed before they reach the tokenizer, the names of speakers and of the product's fields lose their colon, and
everything is bounded in length. So a title may say what it likes; it stays one line of a title.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from clickscape.config.brand import Rules
from clickscape.types import Product

TaskName = Literal["caption", "rewrite", "describe", "describe_from_image"]

INSTRUCTIONS: Mapping[TaskName, tuple[str, ...]] = {
    "caption": (
        "Describe this picture.",
        "What does the picture show?",
        "Say what you see.",
        "Write a caption for this image.",
        "Caption the picture in a few phrases.",
        "List what is in this image.",
        "What is here, and where does it stand?",
        "Name everything that you can see in the picture.",
        "Give a short account of the image.",
        "Put this picture into words.",
    ),
    "rewrite": (
        "Rewrite these words as a background description.",
        "Turn the rough prompt into a background description.",
        "Make a clean description of this draft.",
        "Put these keywords into good order.",
        "Polish this background prompt.",
        "Edit the draft into phrases for the renderer.",
        "Write the background that these notes mean.",
        "Tidy up this prompt.",
        "Rephrase the following as a scene.",
    ),
    "describe": (
        "Describe a background for this product.",
        "Write a background description for the product.",
        "Which scene suits this product?",
        "Suggest an advertising background.",
        "Set the stage for this product photo.",
        "Propose a scene in which the product looks its best.",
        "What should stand around and behind this product?",
        "Compose a background for the advertisement.",
        "Invent a setting for this item.",
        "Where should this product be photographed?",
    ),
    "describe_from_image": (
        "Describe a background for the product in the picture.",
        "Look at the product and write a background for it.",
        "Which scene suits what you see?",
        "Suggest a background for the pictured product.",
        "Where should the thing in the image be photographed?",
        "Set the stage for the item shown.",
        "Propose an advertising scene for what the image shows.",
        "Compose a background for the object in this image.",
        "Invent a setting for the pictured item.",
    ),
}
"""Wordings by task; `instruction` takes one of them by number."""

MAX_TITLE, MAX_WORD, MAX_TEXT = 160, 60, 420
MAX_LEVELS, MAX_ATTRIBUTES = 3, 6

_UNWANTED = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    r"\ud800-\uf8ff\U000e0000-\U0010ffff<>|＜＞｜﹤﹥\s]+"
)
_BRACKETED = re.compile(r"\[+(/?[A-Z][A-Z_ ]*)\]+")  # [INST] and its like
# `sanitize` takes the colon from feeds' own "title:"
_PRODUCT = re.compile(r'(?<=\bTitle: )[^\n]*?(?="?$)', re.MULTILINE)
_SPEAKER = re.compile(r"\b(title|category|attributes|user|assistant|system|human|gpt)(?:\s*[:：])+", re.IGNORECASE)


def product_text(product: Product) -> str:
    """Return the product as one line: Title: Mesh Runner. Category: Sports > Shoes. Attributes: color red, size M."""
    parts = [f"Title: {sanitize(product.title, limit=MAX_TITLE)}."]
    levels = [sanitize(level, limit=MAX_WORD) for level in product.category[:MAX_LEVELS]]
    if any(levels):
        parts.append(f"Category: {' > '.join(level for level in levels if level)}.")
    attributes = [
        f"{sanitize(key, limit=MAX_WORD)} {sanitize(value, limit=MAX_WORD)}"
        for key, value in list(product.attributes.items())[:MAX_ATTRIBUTES]
    ]
    if attributes:
        parts.append(f"Attributes: {', '.join(attributes)}.")
    return shortened(" ".join(parts), MAX_TEXT)


def instruction(
    task: TaskName, subject: Product | str | None = None, *, variant: int, brand_instructions: str = ""
) -> str:
    """Return the prompt of a task: one of its instructions (``variant`` modulo their number), then product or draft.

    ``brand_instructions`` are sentences of `brand_instructions` for a model that can follow them.
    """
    wordings = INSTRUCTIONS[task]
    words = " ".join(part for part in (wordings[variant % len(wordings)], brand_instructions) if part)
    if subject is None:
        return words
    text = product_text(subject) if isinstance(subject, Product) else sanitize(subject, limit=MAX_TEXT)
    return f"{words}\n{text}" if text else words


def writing_instruction(
    product: Product, *, taught: Sequence[str] = (), worded_as: Product | None = None, brand_instructions: str = ""
) -> str:
    """Return what a writer is asked for a product: the first instruction of "describe", or one that it was taught.

    taught: wordings with {} for the product's caption, of which every product has its own, by its id. worded_as: the
    product whose wording is used, where the caption alone shall differ.
    """
    if not taught:
        return instruction("describe", product, variant=0, brand_instructions=brand_instructions)
    number = zlib.crc32((worded_as or product).product_id.encode()) % len(taught)
    caption = sanitize(product.title, limit=MAX_TITLE).replace('"', "")  # as the paper's code does
    return " ".join(part for part in (taught[number].replace("{}", caption), brand_instructions) if part)


def brand_instructions(rules: Rules) -> str:
    """Return a brand's rules as sentences for a model that follows instructions; empty when there are none."""
    named = (
        ("Use the words", rules.use),
        ("Avoid", (*rules.avoid, *rules.competitors)),
        ("Colors", rules.palette),
        ("Season", (rules.season,) if rules.season else ()),
        ("Language", () if rules.language == "en" else (rules.language,)),
    )
    sentences = [
        f"{name}: {', '.join(sanitize(word, limit=MAX_WORD) for word in words)}." for name, words in named if words
    ]
    return " ".join(sentences)


def sanitize(text: str, *, limit: int) -> str:
    """Return one line without control characters, brackets of special tokens and prefixes such as "user:"."""
    line = _BRACKETED.sub(r" \1 ", _UNWANTED.sub(" ", text))  # apart, so that no rest becomes another token
    return shortened(" ".join(_SPEAKER.sub(r"\1", line).split()), limit)


def shortened(text: str, limit: int) -> str:
    """The text, or its first ``limit`` characters at most: whole words, and letters with the marks that they carry."""
    if len(text) <= limit:
        return text
    while limit and unicodedata.category(text[limit]).startswith("M"):
        limit -= 1
    space = text.rfind(" ", 0, limit + 1)
    return text[: space if space > limit // 2 else limit].rstrip()  # scripts without spaces break anywhere


def fit_product(question: str, *, fits: Callable[[str], bool]) -> str:
    """The question with the product's line (`product_text`) shortened just so far that it ``fits``.

    As it is where it fits, or names no product.  Of many scripts every letter takes two or three tokens.
    """
    found = _PRODUCT.search(question)
    if found is None or fits(question):
        return question
    before, line, after = question[: found.start()], found[0], question[found.end() :]
    lengths = range(1, len(line))
    first = bisect.bisect(lengths, False, key=lambda length: not fits(before + shortened(line, length) + after))
    return before + shortened(line, first) + after
