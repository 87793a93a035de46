"""DVD's windows: where the published demo and benchmark cut a recording, and how they join what comes back.

The numbers are the reference's own, see test/fixtures/README.md.
"""

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkt_ros.engines.dvd_windows import (
    RULES,
    Joiner,
    alignment,
    padded,
    rule_named,
    windows,
    working_size,
)

FIXTURES = Path(__file__).parents[1] / "fixtures" / "dvd"
TABLES = json.loads((FIXTURES / "geometry_tables.json").read_text())
STITCHED = sorted(path.stem.removeprefix("stitch_") for path in FIXTURES.glob("stitch_*.npz"))


def stitched(name):
    """Rule and arrays of a stitching fixture, its windows without their padding in time."""
    with np.load(FIXTURES / f"stitch_{name}.npz") as stored:
        data = dict(stored)
    data["windows"] = [data[f"window_{k}"][0][: end - start] for k, (start, end) in enumerate(data["index"])]
    return RULES[name.split("_")[0]], data


def keeps(index):
    """How many frames each window shares with the next."""
    return [int(end - after[0]) for (_, end), after in pairwise(index)] + [0]


def join_all(rule, parts, index, scale_only=False):
    joiner = Joiner(rule, scale_only)
    return [joiner.join(part, keep) for part, keep in zip(parts, keeps(index), strict=True)]


def whole_recording(rule, parts, index, scale_only):
    """The joining rule written plainly, with the whole output in memory."""
    out = np.zeros((index[-1][1], *parts[0].shape[1:]), np.float64)
    done = 0
    for part, (start, end) in zip(parts, index, strict=True):
        part, shared = part.astype(np.float64), done - start
        if start:
            a, b = out[start:done].ravel(), part[:shared].ravel()
            if scale_only and shared:
                s, t = (a @ b) / (b @ b + 1e-6), 0.0
            elif shared and min(a.var(), b.var()) > 1e-6:
                s, t = np.polyfit(b, a, 1)
            else:
                s, t = 1.0, 0.0
            part = (s if rule.scale_range is None else np.clip(s, *rule.scale_range)) * part + t
            part[part < 0] = 0
        for i in range(end - start):
            alpha = 1.0 if i >= shared else 0.0 if shared == 1 else i / (shared - 1)
            out[start + i] = (1 - alpha) * out[start + i] + alpha * part[i]
        done = end
    return out


@pytest.mark.parametrize("name", ["demo", "eval"])
def test_windows_lie_where_the_reference_puts_them(name):
    assert len(TABLES["windows"]) == 306
    for row in TABLES["windows"]:
        found = windows(row["T"], row["window"], row["overlap"], RULES[name].snaps)
        assert found == [tuple(pair) for pair in row[name]], row


def test_padding_in_time():
    assert [[count, padded(count)] for count in range(1, 100)] == TABLES["time_pad"]


def test_working_size_with_its_rounding():
    for height, width, target_height, target_width, *expected in TABLES["resize"]:
        assert list(working_size(height, width, (target_height, target_width))) == expected
    assert working_size(318, 424) == (496, 640), "one pixel too many in double, and so a step of 16"
    assert working_size(640, 480) == (864, 640), "portrait covers the target too"


@pytest.mark.parametrize(("length", "overlap"), [(9, 9), (9, 12), (1, 1), (0, 0), (9, -1)])
def test_a_window_must_be_longer_than_its_overlap(length, overlap):
    with pytest.raises(ValueError, match=f"overlap {overlap}, window {length}: .*longer.*45 and 9"):
        windows(20, length, overlap, True)


def test_nothing_has_no_windows():
    with pytest.raises(ValueError, match="0 frames"):
        windows(0, 9, 3, True)


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match=r"stitching 'best'.*demo, eval"):
        rule_named("best")


def test_there_are_fixtures():
    assert len(STITCHED) == 11


@pytest.mark.parametrize("name", STITCHED)
def test_joined_windows_are_the_references(name):
    rule, data = stitched(name)
    index = windows(int(data["T"]), int(data["window"]), int(data["overlap"]), rule.snaps)
    assert index == [tuple(pair) for pair in data["index"]]
    joined = join_all(rule, data["windows"], index, bool(data["scale_only"]))
    out = np.concatenate([part.frames for part in joined])
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, data["out"][0], rtol=0, atol=5e-6)
    # The script prints nothing for windows that share no frame.
    used = [(part.scale, part.shift) for part, keep in zip(joined[1:], keeps(index), strict=False) if keep]
    np.testing.assert_allclose(np.reshape(used, (-1, 2)), data["used_scale_shift"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", STITCHED)
def test_scale_and_shift_before_the_limits(name):
    rule, data = stitched(name)
    if data["scale_only"]:
        assert data["raw_scale_shift"].size == 0, "the script prints none"
        return
    found, index = [], data["index"]
    for k in range(1, len(index)):
        shared = int(index[k - 1][1] - index[k][0])
        if shared:
            before = np.concatenate([p.frames for p in join_all(rule, data["windows"][:k], index[:k])])
            found.append(alignment(data["windows"][k][:shared], before[-shared:]) or (1.0, 0.0))
    np.testing.assert_allclose(np.reshape(found, (-1, 2)), data["raw_scale_shift"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in STITCHED if name.startswith("eval")])
def test_windows_agree_over_their_overlap_as_the_reference_says(name):
    rule, data = stitched(name)
    index, errors = data["index"], []
    for k in range(1, len(index)):
        shared = int(index[k - 1][1] - index[k][0])
        before = np.concatenate([p.frames for p in join_all(rule, data["windows"][:k], index[:k])])[-shared:]
        scale, shift = alignment(data["windows"][k][:shared], before)
        errors.append(np.abs(np.maximum(data["windows"][k][:shared] * scale + shift, 0) - before).mean())
    np.testing.assert_allclose(errors, data["overlap_mae"], rtol=0, atol=5e-6)
    assert np.mean(errors) == pytest.approx(float(data["overlap_mae_mean"]), abs=5e-6)


@given(
    count=st.integers(1, 40), length=st.integers(1, 12), share=st.integers(0, 11), name=st.sampled_from(sorted(RULES)),
    scale_only=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_the_stream_equals_the_whole_recording(count, length, share, name, scale_only, seed):
    rule, overlap = RULES[name], min(share, length - 1)
    index = windows(count, length, overlap, rule.snaps)
    rng = np.random.default_rng(seed)
    video = rng.random((count, 3, 4, 3))
    parts = [(video[a:b] * rng.uniform(0.5, 2) + rng.uniform(-0.3, 0.3)).astype(np.float32) for a, b in index]
    joined = join_all(rule, parts, index, scale_only)
    out = np.concatenate([part.frames for part in joined])
    np.testing.assert_allclose(out, whole_recording(rule, parts, index, scale_only), rtol=2e-5, atol=2e-5)


def test_memory_does_not_grow_with_the_recording():
    def peak(count):
        index, joiner = windows(count, 9, 3, True), Joiner(RULES["demo"])
        window = np.random.default_rng(1).random((9, 32, 32, 3)).astype(np.float32)
        tracemalloc.start()
        for keep in keeps(index):
            joiner.join(window, keep)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(600) < 1.2 * peak(60)


def test_a_flat_window_keeps_its_values():
    """The published normal equations in float32 give a scale of 5.3 here."""
    rng = np.random.default_rng(2)
    old = rng.random((3, 40, 40, 3)).astype(np.float32)
    flat = (0.5 + 1e-4 * rng.standard_normal(old.shape)).astype(np.float32)
    assert alignment(flat, old) is None
    joiner = Joiner(RULES["eval"])
    joiner.join(old, 2)
    joined = joiner.join(flat, 0)
    assert (joined.scale, joined.shift, joined.aligned) == (1.0, 0.0, False)


def test_a_flat_window_does_not_flatten_what_follows():
    rng = np.random.default_rng(3)
    joiner, flat = Joiner(RULES["eval"]), np.full((3, 20, 20, 3), 0.4, np.float32)
    joiner.join(flat, 2)
    lively = rng.random(flat.shape).astype(np.float32)
    joined = joiner.join(lively, 0)
    assert not joined.aligned
    np.testing.assert_array_equal(joined.frames[2], lively[2])


def test_a_window_without_numbers_spoils_none_of_those_after_it():
    rng = np.random.default_rng(7)
    joiner, windows = Joiner(RULES["demo"]), rng.random((3, 6, 8, 8, 3)).astype(np.float32)
    windows[1] = np.nan
    joined = [joiner.join(window, keep) for window, keep in zip(windows, (2, 2, 0), strict=True)]
    assert [each.aligned for each in joined] == [False, False, False]
    np.testing.assert_array_equal(joined[2].frames[2:], windows[2][2:])


def test_low_contrast_is_aligned_exactly():
    """Small windows on a large offset: float32 normal equations are off by some 1e-3."""
    rng = np.random.default_rng(4)
    new = (0.7 + 0.004 * rng.standard_normal((9, 60, 80, 3))).astype(np.float32)
    scale, shift = alignment(new, (new.astype(np.float64) * 1.2 - 0.3).astype(np.float32))
    assert scale == pytest.approx(1.2, abs=2e-6) and shift == pytest.approx(-0.3, abs=2e-6)


def test_only_later_windows_are_cut_at_zero():
    rng = np.random.default_rng(5)
    first = (rng.random((4, 8, 8, 3)) - 0.5).astype(np.float32)
    joiner = Joiner(RULES["demo"])
    np.testing.assert_array_equal(joiner.join(first, 2).frames, first[:2])
    later = joiner.join(first[[2, 3, 0, 1]], 0).frames
    assert later[0].min() < 0, "the first shared frame is the first window's"
    assert later[1:].min() == 0


def test_the_window_itself_is_left_alone():
    rng = np.random.default_rng(6)
    window = rng.random((5, 4, 4, 3)).astype(np.float32)
    joiner, before = Joiner(RULES["demo"]), window.copy()
    joiner.join(window, 2)
    joiner.join(window, 0)
    np.testing.assert_array_equal(window, before)


@pytest.mark.parametrize(("shape", "keep"), [((3, 8, 8, 3), 0), ((9, 8, 9, 3), 0), ((5, 8, 8, 3), 5)])
def test_a_window_that_does_not_fit_is_refused(shape, keep):
    joiner = Joiner(RULES["demo"])
    joiner.join(np.zeros((9, 8, 8, 3), np.float32), 3)
    with pytest.raises(ValueError, match=r"after .* kept frames.*longer than both"):
        joiner.join(np.zeros(shape, np.float32), keep)
