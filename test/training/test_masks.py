"""Partial depth: the table's shares, what each pattern does, and which values keep their trust."""

import dataclasses
from collections import Counter

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from dkt_ros.training import masks, partial_faults, partial_objects, partial_shapes
from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.masks import PATTERNS, draw_partial, draw_pattern, partial_of

T, H, W = 5, 48, 80
FAR, NEAR, GLASS = 1.5, 0.6, 0.9  # further apart than the depth of a piece may vary


def scene(frames=T):
    """A wall at FAR, an opaque box at NEAR, and a glass at GLASS that moves 3 px to the right in every frame."""
    depth = np.full((frames, H, W), FAR, np.float32)
    depth[:, 30:44, 50:66] = NEAR
    behind = depth.copy()
    instance = np.zeros(depth.shape, np.uint8)
    instance[:, 30:44, 50:66] = 1
    for t in range(frames):
        depth[t, 10:28, 8 + 3 * t : 24 + 3 * t] = GLASS
        instance[t, 10:28, 8 + 3 * t : 24 + 3 * t] = 2
    rng = np.random.default_rng(0)
    wall = rng.integers(0, 255, (H // 4, W // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    rgb = np.repeat(wall[None], frames, axis=0)
    print_on_glass = cv2.resize(rng.integers(0, 255, (5, 5, 3), np.uint8), (16, 18), interpolation=cv2.INTER_CUBIC)
    for t in range(frames):
        rgb[t, 10:28, 8 + 3 * t : 24 + 3 * t] = print_on_glass
    return TrainingClip(
        rgb,
        depth,
        "toy",
        sensor_depth=behind.copy(),
        stereo_depth=np.where(np.arange(W) % 7 == 0, np.nan, behind).astype(np.float32),
        background_depth=behind,
        transparent=instance == 2,
        instance=instance,
    )


def bare(clip):
    """Only colours and depth, as most published sets have."""
    return TrainingClip(clip.rgb, clip.depth, "bare")


def near(values, truth, share=0.06):
    with np.errstate(invalid="ignore"):
        return np.abs(values / truth - 1) < share


def expected(counts, shares, draws):
    """Every count within four standard deviations of its share."""
    for name, share in shares.items():
        assert abs(counts[name] - share * draws) <= 4 * np.sqrt(draws * share * (1 - share)) + 1e-9, (name, counts)


def test_the_patterns_come_as_often_as_the_table_says():
    assert sum(PATTERNS.values()) == pytest.approx(1) and sum(partial_objects.FILLINGS.values()) == pytest.approx(1)
    rng, clip = np.random.default_rng(0), scene()
    expected(Counter(draw_pattern(rng, clip) for _ in range(2000)), PATTERNS, 2000)


def test_another_pattern_stands_in_for_what_a_clip_cannot_have():
    rng, draws = np.random.default_rng(0), 2000
    one, several = scene(1), bare(scene())
    picture = Counter(draw_pattern(rng, one) for _ in range(draws))
    expected(picture, {**PATTERNS, "shapes": 0.20, "temporal": 0.0}, draws)
    plain = Counter(draw_pattern(rng, several) for _ in range(draws))
    expected(plain, {**PATTERNS, "objects": 0.65, "stereo": 0.0}, draws)


def test_objects_are_wrong_in_the_table_s_ways_and_only_one_of_them_loses_its_trust():
    """Each draw is recognised by its values alone."""
    clip, found, draws = scene(), Counter(), 300
    glass = clip.transparent
    for seed in range(draws):
        seen, distrusted = partial_objects.fill_objects(np.random.default_rng(seed), clip, [glass])
        np.testing.assert_array_equal(seen[~glass], clip.depth[~glass])
        inside, lost = seen[glass], np.isnan(seen[glass]).mean()
        if lost == 1:
            kind = "missing"
        elif lost > 0:
            kind = "partly right"
            assert 0.35 < lost < 0.85 and (inside[np.isfinite(inside)] == np.float32(GLASS)).all()
        elif (inside == clip.background_depth[glass]).all():
            kind = "distrusted" if distrusted[glass].all() else "see-through"
        else:
            kind = "blended"
            assert inside.std() > 0.02 and (inside > 0.8 * GLASS).all() and (inside < 1.2 * FAR).all()
        found[kind] += 1
        assert distrusted.any() == (kind == "distrusted") and not distrusted[~glass].any()
    expected(found, partial_objects.FILLINGS, draws)


@pytest.mark.parametrize(
    "clip", [scene(), bare(scene()), scene(1), bare(scene(1))], ids=["all", "bare", "one", "one bare"]
)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_trust_is_nothing_exactly_where_nothing_is_known(clip, pattern, monkeypatch):
    """Besides values that are known to be wrong, which only "objects" has."""
    if (pattern == "temporal" and len(clip) == 1) or (pattern == "stereo" and clip.stereo_depth is None):
        pytest.skip("draw_pattern never gives it")
    chances = {**partial_objects.FILLINGS, "distrusted": 0.0, "missing": 0.5}
    monkeypatch.setattr(partial_objects, "FILLINGS", chances)
    for seed in range(8):
        before = clip.depth.copy()
        seen, trust = partial_of(np.random.default_rng(seed), clip, pattern)
        assert seen.shape == trust.shape == clip.depth.shape and seen.dtype == trust.dtype == np.float32
        np.testing.assert_array_equal(trust, np.isfinite(seen))
        assert (seen[np.isfinite(seen)] > 0).all()
        np.testing.assert_array_equal(clip.depth, before)


def test_see_through_values_keep_their_trust_and_distrusted_ones_are_there_but_lose_it(monkeypatch):
    clip = scene()
    inside = np.stack([np.pad(m[2:-2, 2:-2], 2) for m in clip.transparent & np.roll(clip.transparent, (2, 2), (1, 2))])
    for filling, believed in (("see-through", 1.0), ("distrusted", 0.0)):
        monkeypatch.setattr(partial_objects, "FILLINGS", {filling: 1.0})
        monkeypatch.setattr(partial_faults, "SPECKLE", (0.0, 0.0))
        for seed in range(10):
            seen, trust = partial_of(np.random.default_rng(seed), clip, "objects")
            there = inside & np.isfinite(seen)
            assert there.sum() > 0.6 * inside.sum() and near(seen, FAR)[there].mean() > 0.95
            assert (trust[there] == believed).mean() > 0.95


def test_a_hole_follows_its_object_and_grows_by_at_most_12_px_of_848():
    clip = scene()
    for seed in range(30):
        (hole,) = partial_objects.find_objects(np.random.default_rng(seed), clip)
        assert (hole >= clip.transparent).all()
        for t in range(T):
            rows, columns = np.nonzero(hole[t])
            assert 9 <= rows.min() <= 10 and 7 + 3 * t <= columns.min() <= 8 + 3 * t and columns.max() <= 24 + 3 * t


def test_one_to_all_numbered_objects_are_taken():
    clip = dataclasses.replace(scene(), transparent=None)
    counts = Counter(len(partial_objects.find_objects(np.random.default_rng(seed), clip)) for seed in range(200))
    expected(counts, {1: 0.5, 2: 0.5}, 200)
    unnumbered = dataclasses.replace(scene(), instance=None)
    assert len(partial_objects.find_objects(np.random.default_rng(0), unnumbered)) == 1


def test_without_marks_pieces_of_one_depth_are_taken_and_followed(monkeypatch):
    monkeypatch.setattr(partial_objects, "GROWTH", 0.0)
    clip, on_glass, kept = bare(scene()), 0, 0
    for seed in range(60):
        for piece in partial_objects.find_objects(np.random.default_rng(seed), clip):
            assert 0 < piece[0].mean() < 0.4
            if (clip.depth[0][piece[0]] == np.float32(GLASS)).mean() > 0.8:
                seen = [piece[t] & (clip.depth[t] == np.float32(GLASS)) for t in range(T)]
                assert all((mask == whole).all() for mask, whole in zip(seen, piece, strict=True) if mask.any())
                on_glass += 1
                kept += seen[-1].sum() > 0.6 * seen[0].sum()
    assert on_glass > 5 and kept > 0.9 * on_glass


def test_behind_an_object_without_a_known_background_lies_what_surrounds_it():
    clip = bare(scene())
    behind = partial_objects.background(np.random.default_rng(0), clip, [scene().transparent])
    hidden = scene().transparent
    np.testing.assert_array_equal(behind[~hidden], clip.depth[~hidden])
    assert near(behind[hidden], FAR, 0.15).mean() > 0.95


def test_shapes_take_a_tenth_to_nine_tenths_and_half_of_them_stand_still():
    still, areas = 0, []
    for seed in range(100):
        lost = partial_shapes.shapes(np.random.default_rng(seed), (3, H, W))
        still += bool((lost == lost[0]).all())
        areas.append(lost.mean())
    expected({"still": still}, {"still": 0.5}, 100)
    assert min(areas) >= 0.1 and max(areas) < 0.97 and min(areas) < 0.2 and max(areas) > 0.8


def test_sparse_sensors_know_little_and_corners_are_corners():
    clip = scene()
    for kind, least, most in (("points", 0.0005, 0.022), ("lines", 0.02, 0.75), ("corners", 0.003, 0.03)):
        partial_shapes_kind = lambda seed, kind=kind: partial_shapes.sparse(_only(seed, kind), clip)  # noqa: E731
        shares = [partial_shapes_kind(seed).mean() for seed in range(20)]
        assert least <= min(shares) <= max(shares) <= most, (kind, shares)
    lines = partial_shapes.sparse(_only(3, "lines"), clip)
    assert (lines.sum(axis=1) <= partial_shapes.LINES[1]).all()
    blank = dataclasses.replace(clip, rgb=np.zeros_like(clip.rgb))
    assert partial_shapes.sparse(_only(0, "corners"), blank).any()


class _only:
    """A generator whose first choice is decided."""

    def __init__(self, seed, word):
        self._rng, self._word = np.random.default_rng(seed), word

    def __getattr__(self, name):
        return getattr(self._rng, name)

    def choice(self, *given, **more):
        word, self._word = self._word, None
        return self._rng.choice(*given, **more) if word is None else word


def test_half_and_range_take_whole_sides_of_the_scene():
    for seed in range(20):
        lost = partial_shapes.half(np.random.default_rng(seed), (2, H, W))
        assert lost.mean() == 0.5 and (lost.all(axis=(0, 1)).sum() == W / 2 or lost.all(axis=(0, 2)).sum() == H / 2)
    ramp = np.broadcast_to(np.linspace(1, 2, W, dtype=np.float32), (2, H, W))
    shares, ends = [], set()
    for seed in range(40):
        lost = partial_shapes.beyond(np.random.default_rng(seed), ramp)
        shares.append(lost.mean())
        ends.add("near" if lost[0, 0, 0] else "far")
        assert lost[0, 0, 0] != lost[0, 0, -1]
    assert min(shares) > 0.17 and max(shares) < 0.63 and ends == {"near", "far"}


def test_temporal_patterns_leave_whole_frames_without_a_sensor(monkeypatch):
    clip = scene(9)
    for kind in ("first", "every", "dropped"):
        seen_counts = set()
        for seed in range(15):
            seen, _ = masks._temporal(np.random.default_rng(seed), clip, kind)
            known = np.isfinite(seen).mean(axis=(1, 2))
            assert ((known == 0) | (known > 0.6)).all() and known.any()
            which = np.flatnonzero(known)
            seen_counts.add(len(which))
            if kind == "first":
                assert which[-1] == len(which) - 1 < 8
            if kind == "every":
                assert which[0] == 0 and len(set(np.diff(which))) <= 1 and np.diff(which).min() >= 2
        assert len(seen_counts) > 2 or kind == "every"


def test_the_last_answer_is_dense_and_nearly_right_and_what_follows_lacks_the_objects():
    clip, overlaps = scene(9), set()
    for seed in range(20):
        seen, trust = masks._temporal(np.random.default_rng(seed), clip, "previous")
        dense = np.isfinite(seen).all(axis=(1, 2))
        overlap = int(dense.sum())
        overlaps.add(overlap)
        assert dense[:overlap].all() and (trust[:overlap] == 1).all()
        assert near(seen[:overlap], clip.depth[:overlap], 0.12).mean() > 0.9
        inner = clip.transparent[overlap:] & np.isfinite(seen[overlap:])
        assert inner.mean() < 0.02
    assert overlaps == {1, 2, 3}


def test_faults_on_a_wall_are_noise_and_steps_of_disparity():
    wall = np.full((3, 60, 424), 2.0, np.float32)
    for seed in range(12):
        product = np.random.default_rng(seed).uniform(*partial_faults.DISPARITY) * 2.0  # the first thing drawn
        disparity = product / partial_faults.add_faults(np.random.default_rng(seed), wall).astype(np.float64)
        assert np.isfinite(disparity).all()
        values = np.unique(np.round(disparity, 4))
        steps = np.diff(values)
        assert 1 / 33 < steps.min() < 1 / 7.9 and np.allclose(
            steps, steps.min() * np.round(steps / steps.min()), atol=1e-3
        )
        spread = (disparity - product / 2.0).std()
        assert 0.5 * partial_faults.NOISE[0] < spread < 1.7 * partial_faults.NOISE[1], seed


def test_shadows_are_as_wide_as_disparity_jumps_and_edges_lose_one_to_six_pixels(monkeypatch):
    step = np.full((1, 40, 848), 2.0, np.float32)
    step[:, :, 300:500] = 1.0
    monkeypatch.setattr(partial_faults, "EDGE", (0.0, 0.4))
    monkeypatch.setattr(partial_faults, "NOISE", (0.001, 0.001))
    sides = set()
    for seed in range(8):
        product = np.random.default_rng(seed).uniform(*partial_faults.DISPARITY) * 2.0
        lost = np.isnan(partial_faults.add_faults(np.random.default_rng(seed), step))[0, 20]
        shadow = np.flatnonzero(lost)
        assert abs(len(shadow) - product * (1 / 1.0 - 1 / 2.0)) <= 2.5
        sides.add("left" if shadow.max() < 400 else "right")
    assert sides == {"left", "right"}
    widths = {int(partial_faults.beside_jumps(step, width)[0, 20].sum()) for width in range(7)}
    assert min(widths) == 0 and max(widths) == 2 * 6 and len(widths) == 7


def test_late_faults_scale_flicker_speckle_and_shift_within_their_limits():
    depth = np.tile(np.linspace(1, 2, 424, dtype=np.float32), (4, 50, 1))
    depth += np.linspace(0, 0.2, 50, dtype=np.float32)[:, None]
    for seed in range(20):
        seen, trust = partial_faults.add_late_faults(np.random.default_rng(seed), depth, np.ones_like(depth))
        speckle = np.isnan(seen[:, 3:-3, 3:-3]).mean()
        assert speckle <= 0.032
        assert np.array_equal(trust == 0, np.broadcast_to((trust == 0)[0], trust.shape))
        assert (trust == 0).mean() < 0.08, "at most 1.5 px on each side of 424"
        ratio = np.nanmedian(seen / depth, axis=(1, 2))
        assert (np.abs(ratio - 1) < 0.035).all() and ratio.std() > 1e-4


def test_draws_are_repeatable_and_differ():
    clip = scene()
    one, same, other = (draw_partial(np.random.default_rng(seed), clip)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("filling", partial_objects.FILLINGS)
def test_a_scene_of_mostly_unknown_depth_may_have_no_object_at_all(filling, monkeypatch):
    """A piece about a point without depth is empty."""
    monkeypatch.setattr(partial_objects, "FILLINGS", {filling: 1.0})
    clip = scene(2)
    depth = np.where(np.arange(W) < 3, clip.depth, np.nan).astype(np.float32)
    sky = TrainingClip(clip.rgb, depth, "sky")
    empty = 0
    for seed in range(8):
        empty += not np.any(partial_objects.find_objects(np.random.default_rng(seed), sky))
        seen, trust = partial_of(np.random.default_rng(seed), sky, "objects")
        np.testing.assert_array_equal(trust > 0, np.isfinite(seen) & (trust > 0))
    assert empty > 3
