from __future__ import annotations

from clickscape.simulator.evaluation import TrueAd
from clickscape.stages.compare import _best


def test_best_of_n_never_keeps_an_ad_that_did_not_parse_while_another_did() -> None:
    ads = [
        TrueAd("p", text, 0, "{}", parsed, reward, 1.0, True)
        for text, parsed, reward in [("a", True, 0.1), ("b", False, 9.0), ("c", True, 0.5)]
    ]
    assert _best(ads).description == "c"
    assert _best([ads[1]]).description == "b"
