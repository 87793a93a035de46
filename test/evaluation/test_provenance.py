"""Errors apart by where the depth comes from; what has no depth is counted, not averaged."""

import numpy as np
import pytest

from dkt_ros.evaluation.provenance import ByProvenance


def test_each_provenance_by_itself() -> None:
    truth = np.ones((1, 8), np.float32)
    depth = np.float32([[1.01, 1.1, np.nan, 1.02, 1.2, np.nan, 1.02, 9.0]])
    provenance = np.uint8([[1, 2, 0, 1, 2, 0, 1, 2]])
    glass = np.array([[False] * 3 + [True] * 4 + [False]])
    valid = np.array([[True] * 7 + [False]])
    split = ByProvenance()
    split.add(depth, provenance, truth, valid, glass)
    s = split.scores()
    assert s["measured"]["mae_m"] == pytest.approx(0.05 / 3, rel=1e-4) and s["inferred"]["mae_m"] == pytest.approx(0.15)
    assert s["glass measured"]["rel"] == pytest.approx(0.02, rel=1e-4)
    assert s["glass inferred"]["rel"] == pytest.approx(0.2)
    assert [s[name]["share"] for name in ("measured", "inferred", "none")] == [3 / 7, 2 / 7, 2 / 7]
    assert [s[f"glass {name}"]["share"] for name in ("measured", "inferred", "none")] == [0.5, 0.25, 0.25]
    assert s["none"]["reference_pixels"] == 2 and s["none"]["pixels"] == 0 and s["none"]["rel"] is None


def test_without_pixels_there_is_a_flag_and_no_share() -> None:
    nothing = ByProvenance().scores()
    assert all(leaf["flag"] and leaf["rel"] is None and leaf["share"] is None for leaf in nothing.values())
