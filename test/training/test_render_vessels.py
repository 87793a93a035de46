"""How a vessel is meshed: wall, liquid, handle, spout, relief, section and label have the sizes asked for."""

from __future__ import annotations

import numpy as np
import pytest

from dkt_ros.training.render.assets_body import body
from dkt_ros.training.render.assets_families import VESSELS
from dkt_ros.training.render.assets_filling import label, liquid
from dkt_ros.training.render.assets_mesh import Mesh
from dkt_ros.training.render.assets_vessel import Handle, Relief, Section, Vessel, hollow


def straight(wall: float = 0.003, **more: object) -> Vessel:
    """A cylinder of radius 40 mm and height 100 mm with a 5 mm floor."""
    outer, inner = hollow(np.array([[0, 0], [0.039, 0], [0.04, 0.001], [0.04, 0.1]]), wall, 0.005, fillet=0.002)
    return Vessel("tumbler", outer, inner, wall, **more)  # type: ignore[arg-type]


def ring(mesh: Mesh, low: float, high: float) -> np.ndarray:
    """(N, 2) angle and radius of the vertices between two heights."""
    at = mesh.vertices[(mesh.vertices[:, 2] > low) & (mesh.vertices[:, 2] < high)]
    return np.stack([np.arctan2(at[:, 1], at[:, 0]), np.hypot(at[:, 0], at[:, 1])], -1)


def test_a_vessel_is_hollow_with_the_wall_and_floor_asked_for() -> None:
    mesh = body(straight())
    solid, cavity = np.pi * 0.04**2 * 0.1, np.pi * 0.037**2 * 0.095
    assert mesh.volume == pytest.approx(solid - cavity, rel=0.03)
    radii = np.unique(ring(mesh, 0.03, 0.07)[:, 1].round(6))
    np.testing.assert_allclose(radii, [0.037, 0.04], atol=2e-5)


@pytest.mark.parametrize("family", sorted(VESSELS))
def test_no_wall_is_thinner_than_drawn_nor_crossed_by_the_cavity(family: str) -> None:
    for seed in range(15):
        vessel = VESSELS[family](np.random.default_rng([8, seed]))
        outer = vessel.outer[np.argmax(vessel.outer[:, 0] > 1e-3) :]
        gaps = np.linalg.norm(vessel.inner[:, None] - outer[None], axis=-1)
        assert gaps.min() > 0.6 * vessel.wall, "a chord across a concave corner may take some"
        inside = np.interp(vessel.inner[3:, 1], outer[:, 1], outer[:, 0])
        assert (vessel.inner[3:, 0] < inside).all()


def test_a_wall_thicker_than_the_thing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"wall of 30.0 mm leaves no cavity"):
        hollow(np.array([[0, 0], [0.02, 0], [0.02, 0.1]]), 0.03, 0.005)


def test_liquid_reaches_into_the_wall_but_not_through_it_and_up_to_its_level() -> None:
    vessel = straight()
    poured = liquid(vessel, 0.5)
    assert poured.vertices[:, 2].max() == pytest.approx(0.005 + 0.5 * 0.095, abs=1e-3)
    assert poured.volume == pytest.approx(np.pi * 0.038**2 * 0.5 * 0.096, rel=0.03)
    radius = ring(poured, 0.02, 0.04)[:, 1]
    assert radius.min() > 0.0372 and radius.max() < 0.0398
    assert 0.0001 < poured.vertices[:, 2].min() < 0.005


@pytest.mark.parametrize("family", sorted(VESSELS))
def test_liquid_stays_within_the_outer_wall(family: str) -> None:
    for seed in range(8):
        vessel = VESSELS[family](np.random.default_rng([9, seed]))
        poured = liquid(vessel, 0.66)
        assert poured.flaw() == ""
        outer = vessel.outer[np.argmax(vessel.outer[:, 0] > 1e-3) :]
        allowed = np.interp(poured.vertices[:, 2], outer[:, 1], outer[:, 0])
        assert (np.hypot(poured.vertices[:, 0], poured.vertices[:, 1]) < allowed).all()
        assert poured.vertices[:, 2].min() > 0


def test_a_handle_makes_one_surface_with_a_hole_through_it() -> None:
    plain, with_handle = body(straight()), body(straight(handle=Handle(0.08, 0.03, 0.03, 0.007, 0.005)))
    assert with_handle.flaw() == "" and with_handle.volume > plain.volume

    def holes(mesh: Mesh) -> int:
        edges = (mesh.faces >= 0).sum() // 2
        return int(1 - (len(mesh.vertices) - edges + len(mesh.faces)) // 2)

    assert holes(plain) == 0 and holes(with_handle) == 1
    reach = with_handle.vertices[:, 0].max() - 0.04
    assert 0.027 < reach < 0.04
    assert np.abs(with_handle.vertices[with_handle.vertices[:, 0] > 0.05, 1]).max() == pytest.approx(0.007, rel=0.05)


def test_a_spout_is_drawn_outward_on_the_side_away_from_the_handle() -> None:
    mesh = body(straight(spout=0.02))
    assert mesh.flaw() == ""
    assert mesh.vertices[:, 0].min() == pytest.approx(-0.06, abs=0.002)
    assert mesh.vertices[:, 0].max() == pytest.approx(0.04, abs=0.001)


@pytest.mark.parametrize("pattern", ["flutes", "swirl", "rings", "diamonds", "hammered"])
def test_relief_is_raised_on_the_outside_only_and_never_thins_the_wall(pattern: str) -> None:
    mesh, depth = body(straight(), Relief(pattern, 20, 0.0015, seed=3)), 0.0015
    assert mesh.flaw() == ""
    radius = ring(mesh, 0.03, 0.07)[:, 1]
    outside = radius[radius > 0.0385]
    assert 0.03999 < outside.min() < 0.0402 and 0.0412 < outside.max() < 0.0401 + depth
    np.testing.assert_allclose(radius[radius < 0.0385], 0.037, atol=2e-5)
    assert ring(mesh, 0.095, 0.0999)[:, 1].max() < 0.04001, "smooth at the lip"


def test_flutes_have_the_count_asked_for() -> None:
    mesh = body(straight(), Relief("flutes", 12, 0.001))
    radius = np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 1])
    level = mesh.vertices[np.argmin(np.abs(mesh.vertices[:, 2] - 0.05) + (radius < 0.0385)), 2]
    at = (mesh.vertices[:, 2] == level) & (radius > 0.0385)
    order = np.argsort(np.arctan2(mesh.vertices[at, 1], mesh.vertices[at, 0]))
    spectrum = np.abs(np.fft.rfft(radius[at][order]))
    assert at.sum() == 72 and np.argmax(spectrum[1:]) + 1 == 12


def test_a_section_makes_sides_and_becomes_round_again() -> None:
    square = body(straight(section=Section(4, 1.0, until=0.06)))
    low, high = ring(square, 0.02, 0.03)[:, 1], ring(square, 0.07, 0.08)[:, 1]
    assert low.max() == pytest.approx(0.04, abs=1e-4) and low.min() == pytest.approx(0.037 * 0.5**0.5, abs=1e-4)
    np.testing.assert_allclose(np.unique(high.round(4)), [0.037, 0.04])


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_label_lies_on_the_wall(share: float) -> None:
    sheet = label(straight(), 0.02, 0.07, share)
    assert sheet.flaw() == ""
    radius = np.hypot(sheet.vertices[:, 0], sheet.vertices[:, 1])
    assert radius.min() > 0.04 and radius.max() < 0.0404
    angle = np.unwrap(np.sort(np.arctan2(sheet.vertices[:, 1], sheet.vertices[:, 0])))
    assert np.ptp(angle) > 1.7 * np.pi * share - 0.2
