"""How a node kept up: several replays as one."""

from __future__ import annotations

from dkt_ros.node_timing import in_words, same_clips, together


def test_several_replays_count_as_one() -> None:
    numbers = {"rate_in_hz": 10.0, "age_median_s": 0.0, "age_p95_s": 0.0, "age_max_s": 0.0, "waiting": 1}
    numbers |= {"clip_length": 9, "overlap": 5}
    first = numbers | {"sent": 21, "answered": 4, "rate_out_hz": 2.0, "drops": {"overload": 16}, "incomplete_clips": 0}
    second = numbers | {"sent": 1, "answered": 1, "rate_in_hz": 0.0, "rate_out_hz": 0.5, "drops": {}}
    first |= {"age_s": [0.1, 0.2, 0.3, 0.4], "age_frame": [0, 2, 4, 6]}
    second |= {"age_s": [2.0], "age_frame": [0], "incomplete_clips": 1, "waiting": 0}
    whole = together([first, second])
    assert whole == {
        **{"sent": 22, "answered": 5, "rate_in_hz": 10.0, "rate_out_hz": 1.25, "drops": {"overload": 16}},
        **{"age_median_s": 0.3, "age_p95_s": 2.0, "age_max_s": 2.0, "waiting": 1, "incomplete_clips": 1},
        **{"age_s": [0.1, 0.2, 0.3, 0.4, 2.0], "age_frame": [0, 2, 4, 6, 21], "clip_length": 9, "overlap": 5},
    }
    said = in_words(whole)
    assert "5 of 22 frames answered at 1.2 Hz" in said and "16 overload; clips that went incomplete: 1;" in said
    assert not same_clips(first) and not same_clips(second)
    assert together([]) == {}
