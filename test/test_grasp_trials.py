"""Simulated grasping: hulls keep a glass hollow, good grasps hold, absurd ones do not, counting is right."""

import itertools

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from benchmarks.grasp_attempts import narrowest, owners
from benchmarks.grasp_hulls import inertia_of, pieces, volume_of
from benchmarks.grasp_scenes import Body, Part
from benchmarks.grasp_table import interval, markdown, paired, summary
from dkt_ros.frames import Intrinsics

RADIUS, HEIGHT, WALL = 0.03, 0.12, 0.003


def turned(line, columns=32):
    """(T, 3, 3) triangles of an outline (N, 2) of radius and height from axis to axis, counter-clockwise outside."""
    angle = np.arange(columns) * 2 * np.pi / columns
    rings = [np.stack([r * np.cos(angle), r * np.sin(angle), np.full(columns, z)], 1) for r, z in line]
    following = np.roll(np.arange(columns), -1)
    quads = [(low, low[following], high[following], high) for low, high in itertools.pairwise(rings)]
    triangles = [np.stack([a, b, c], 1) for a, b, c, _ in quads] + [np.stack([a, c, d], 1) for a, _, c, d in quads]
    corners = np.concatenate(triangles)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return corners[area > 1e-12]


def upward(radius, low, high):
    return [(radius, z) for z in np.linspace(low, high, 13)]


def solid(radius=RADIUS, height=HEIGHT):
    return turned([(0, 0), *upward(radius, 0, height), (0, height)])


def glass(radius=RADIUS, height=HEIGHT, wall=WALL):
    outside = [(0, 0), *upward(radius, 0, height)]
    return turned([*outside, *upward(radius - wall, wall, height)[::-1], (0, wall)])


def standing(number, corners, place=(0.0, 0.0), material="glass", family="tumbler"):
    pose = np.eye(4)
    pose[:3, 3] = *place, 0.0003
    return Body(number, family, pose, (Part("body", material, corners),))


def grasp(centre, approach, closing):
    pose = np.eye(4)
    pose[:3, :3] = np.stack([np.cross(closing, approach), closing, approach], 1)
    pose[:3, 3] = centre
    return pose


DOWN, AHEAD, ACROSS = (0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)


def inside_any(hulls, point):
    return any((hull.equations[:, :3] @ point + hull.equations[:, 3] <= 1e-9).all() for hull in hulls)


def test_pieces_of_a_glass_are_its_wall_and_not_its_inside():
    parts = [ConvexHull(points) for points in pieces(glass())]
    turns = np.radians(np.arange(0, 360, 7.3))
    for z in (0.02, 0.06, 0.11):
        wall = [((RADIUS - WALL / 2) * np.cos(a), (RADIUS - WALL / 2) * np.sin(a), z) for a in turns]
        assert np.mean([inside_any(parts, point) for point in wall]) == 1.0
        assert not inside_any(parts, (0.0, 0.0, z))
        assert not inside_any(parts, (0.022, 0.0, z))


def test_a_convex_thing_is_one_piece():
    assert len(pieces(solid())) == 1


def test_mass_centre_and_inertia_of_a_cylinder():
    mass, centre, inertia = inertia_of([(turned([(0, 0), (RADIUS, 0), (RADIUS, HEIGHT), (0, HEIGHT)], 256), 1000.0)])
    assert mass == pytest.approx(1000 * np.pi * RADIUS**2 * HEIGHT, rel=1e-3)
    np.testing.assert_allclose(centre, (0, 0, HEIGHT / 2), atol=1e-9)
    across = mass * (3 * RADIUS**2 + HEIGHT**2) / 12
    np.testing.assert_allclose(np.diag(inertia), (across, across, mass * RADIUS**2 / 2), rtol=1e-3)
    assert volume_of(solid()) > 0


def test_narrowest_part_of_a_thing():
    stem = turned([(0, 0), (0.05, 0), (0.05, 0.01), *upward(0.006, 0.012, 0.1), (0.05, 0.102), (0.05, 0.2), (0, 0.2)])
    assert narrowest(standing(1, stem)) == pytest.approx(0.012, abs=0.001)
    assert narrowest(standing(1, solid(0.045))) == pytest.approx(0.09, abs=0.002)


def test_a_grasp_belongs_to_the_object_that_its_middle_falls_on():
    camera = Intrinsics(100.0, 100.0, 49.5, 29.5, 100, 60)
    instance = np.zeros((60, 100), np.uint8)
    instance[20:30, 10:20], instance[20:30, 60:70] = 1, 2
    places = [(-0.35, -0.05, 1.0), (0.15, -0.05, 1.0), (0.0, 0.2, 1.0), (-0.28, -0.05, 1.0), (0.1, 0.0, -1.0)]
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, :3, 3] = places
    assert owners(poses, instance, camera).tolist() == [1, 2, 0, 1, 0]
    assert owners(np.empty((0, 4, 4)), instance, camera).tolist() == []


@pytest.fixture(scope="module")
def arena():
    pytest.importorskip("mujoco", reason="simulated grasping needs mujoco: pip install -e '.[grasp]'")
    from benchmarks.grasp_sim import Arena

    box = turned([(0, 0), (0.04, 0), *upward(0.04, 0.001, 0.05), (0, 0.05)], 4)
    others = [standing(2, solid(0.02, 0.1), (0.15, 0.05), "metal"), standing(3, box, (-0.15, 0.0), "ordinary")]
    wide = standing(4, solid(0.05, 0.1), (0.0, 0.25), "ordinary")
    return Arena([standing(1, glass()), *others, wide], [])


GOOD = {
    "a glass from above": (1, (0, 0, 0.1), DOWN, AHEAD, 0.08),
    "a glass from the side": (1, (0, 0, 0.06), AHEAD, ACROSS, 0.076),
    "a glass a little off": (1, (0, 0.008, 0.1), DOWN, AHEAD, 0.085),
    "a glass by its rim": (1, (0, RADIUS - WALL / 2, 0.11), DOWN, AHEAD, 0.03),
    "a metal cylinder": (2, (0.15, 0.05, 0.08), DOWN, ACROSS, 0.06),
    "a box across its faces": (3, (-0.15, 0, 0.035), DOWN, (np.sqrt(0.5), np.sqrt(0.5), 0.0), 0.075),
}
BAD = {
    "beside": (1, (0, 0.1, 0.1), DOWN, AHEAD, 0.08, "closed on air"),
    "above": (1, (0, 0, 0.2), DOWN, AHEAD, 0.08, "closed on air"),
    "another one": (2, (0, 0, 0.1), DOWN, AHEAD, 0.08, "another object"),
    "wider than the jaw": (4, (0, 0.25, 0.08), DOWN, AHEAD, 0.085, None),
    "a finger on the rim": (1, (0, 0, 0.1), DOWN, AHEAD, 0.04, None),
    "through the table": (1, (0, 0, -0.1), DOWN, AHEAD, 0.08, None),
    "starts in the neighbour": (1, (0.15, 0.05, -0.05), DOWN, AHEAD, 0.03, "blocked"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_grasp_holds(arena, name):
    number, centre, approach, closing, width = GOOD[name]
    outcome = arena.execute(number, grasp(centre, approach, closing), width)
    assert outcome.held and outcome.reason == "held", outcome
    assert outcome.rise == pytest.approx(0.15, abs=0.01)


@pytest.mark.parametrize("name", BAD)
def test_an_absurd_grasp_does_not(arena, name):
    number, centre, approach, closing, width, reason = BAD[name]
    outcome = arena.execute(number, grasp(centre, approach, closing), width)
    assert not outcome.held, outcome
    if reason is not None:
        assert outcome.reason == reason, outcome


def test_what_is_too_heavy_for_the_friction_slips():
    pytest.importorskip("mujoco", reason="simulated grasping needs mujoco: pip install -e '.[grasp]'")
    from benchmarks.grasp_sim import FORCE_N, MATERIALS, Arena

    density, friction = MATERIALS["metal"]
    heavy = solid(0.035, 0.6)
    assert volume_of(heavy) * density * 9.81 > 2 * friction * FORCE_N  # Coulomb: more than the two pads can carry
    outcome = Arena([standing(1, heavy, material="metal")], []).execute(1, grasp((0, 0, 0.3), AHEAD, ACROSS), 0.08)
    assert not outcome.held
    assert outcome.reason == "slipped"


def test_the_same_grasp_ends_the_same_to_the_last_digit(arena):
    wanted = 1, grasp((0, 0.005, 0.1), DOWN, AHEAD), 0.08
    first = arena.execute(*wanted)
    arena.execute(3, grasp((-0.15, 0, 0.035), DOWN, ACROSS), 0.085)
    assert arena.execute(*wanted) == first


def test_everything_stands_still_before(arena):
    assert max(arena.settled(number) for number in (1, 2, 3, 4)) < 0.001


def trial(seed, source, group, held, reason=""):
    return {"seed": seed, "object": 1, "source": source, "group": group, "held": held, "reason": reason}


def test_interval_is_wilsons():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263
    assert interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert interval(0, 0) == (0.0, 1.0)


def test_table_counts_cells_and_pairs():
    trials = [trial(seed, "ours", "transparent", seed < 3, "slipped") for seed in range(4)]
    trials += [trial(seed, "raw sensor", "transparent", seed == 3, "no grasp proposed") for seed in range(4)]
    report = summary([{"trials": trials, "left out": {"hardly seen": 2}}, {"trials": [], "left out": {}}])
    assert (report["cells"]["ours"]["transparent"]["held"], report["cells"]["ours"]["all"]["trials"]) == (3, 4)
    assert report["cells"]["raw sensor"]["transparent"]["reasons"] == {"no grasp proposed": 3}
    assert report["scenes with trials"] == 1
    assert paired(trials, "ours", "raw sensor") == {"only": [3, 1], "p": pytest.approx(0.625)}
    text = markdown(report)
    assert "| ours | 0.75 (" in text
    assert "no trials" in text  # no mirror-like object here
