from __future__ import annotations

from collections import Counter

import numpy as np
from scripts.warm_ups import draw_text

from clickscape.vlm import tasks
from clickscape.vlm.generate import BLANK


def _questions(corpus, count=600):
    bank = tasks.picture_bank(corpus)
    return bank, [tasks.draw(corpus, bank, np.random.default_rng([1, number]), answers=3) for number in range(count)]


def test_all_four_tasks_are_drawn_in_their_shares(corpus):
    _, questions = _questions(corpus)
    shares = Counter(question.task for question in questions)
    for task, share in tasks.MIX.items():
        assert abs(shares[task] / len(questions) - share) < 0.07
    assert sum(tasks.MIX.values()) == 1


def test_a_question_shows_the_picture_that_it_names(corpus):
    bank, questions = _questions(corpus)
    for question in questions:
        if question.picture is None:
            assert question.sample.images == ()
        else:
            assert np.array_equal(question.sample.images[0], bank[question.picture])


def test_captions_describe_whole_ads_and_bare_products(corpus):
    _, questions = _questions(corpus)
    captions = [question for question in questions if question.task == "caption"]
    ads = [question for question in captions if question.picture < len(corpus.ads)]
    assert 0.6 < len(ads) / len(captions) < 0.95
    for question in ads:
        assert question.answers == (f"{corpus.ad_slots[question.picture]['color']} wall",) * 3


def test_rewriting_is_text_only_and_its_answer_holds_the_rough_words(corpus):
    _, questions = _questions(corpus)
    for question in (question for question in questions if question.task == "rewrite"):
        assert question.picture is None
        rough = question.sample.instruction.split("\n")[1]
        assert len(question.answers) == 1
        assert rough == corpus.rough(question.answers[0], np.random.default_rng(0))


def test_invented_products_come_with_a_blank_picture_or_none(corpus):
    bank, questions = _questions(corpus)
    invented = [question for question in questions if "Yarrow" in question.sample.instruction]
    kinds = Counter(question.picture for question in invented if question.task == "describe")
    assert set(kinds) == {None, len(bank) - 1}
    assert (bank[-1] == BLANK).all()


def test_prompts_sometimes_lack_category_or_attributes(corpus):
    _, questions = _questions(corpus)
    texts = [question.sample.instruction for question in questions if question.task == "describe"]
    without_category = sum("Category:" not in text for text in texts) / len(texts)
    without_attributes = sum("Attributes:" not in text for text in texts) / len(texts)
    assert 0.05 < without_category < 0.25
    assert 0.05 < without_attributes < 0.35  # one product of the corpus has none


def test_the_text_only_warm_up_shows_no_picture(corpus):
    questions = [draw_text(corpus, np.random.default_rng([2, number]), answers=2) for number in range(200)]
    assert all(question.picture is None and not question.sample.images for question in questions)
    assert {question.task for question in questions} == {"describe", "rewrite"}


def test_plain_wording_comes_only_when_asked_for(corpus):
    questions = [draw_text(corpus, np.random.default_rng([3, number]), answers=2, plain=True) for number in range(100)]
    for question in questions:
        assert (question.answers == ("studio", "studio")) == (question.task == "describe")
