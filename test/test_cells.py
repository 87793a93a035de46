"""A picture on a coarse grid and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkt_ros.cells import cell_means, cell_size, from_cells


@pytest.mark.parametrize(("width", "expected"), [(160, 1), (320, 2), (640, 4), (832, 5), (1280, 8), (80, 1), (8, 1)])
def test_cells_are_whole_pixels_and_about_as_many_as_asked_for(width, expected):
    assert cell_size((480, width), 160) == expected


def test_cells_are_no_higher_than_the_picture():
    assert cell_size((1, 640), 160) == 1


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 5), st.booleans())
def test_going_to_cells_and_back_keeps_shape_and_constant(height, width, size, smooth):
    size = min(size, height, width)
    values = np.full((height, width), 3.5, np.float32)
    back = from_cells(cell_means(values, size), values.shape, size, smooth=smooth)
    assert back.shape == values.shape
    np.testing.assert_array_equal(back, values)


def test_a_cell_is_the_mean_of_its_pixels_and_what_is_left_over_belongs_to_the_last():
    values = np.arange(35, dtype=np.float32).reshape(5, 7)
    cells = cell_means(values, 2)
    assert cells.shape == (2, 3) and cells[0, 0] == np.mean([0, 1, 7, 8])
    back = from_cells(cells, values.shape, 2, smooth=False)
    np.testing.assert_array_equal(back[4], back[3])
    np.testing.assert_array_equal(back[:, 6], back[:, 5])


def test_one_unknown_pixel_makes_its_cell_unknown():
    values = np.ones((8, 8), np.float32)
    values[5, 2] = np.nan
    unknown = np.isnan(cell_means(values, 4))
    assert unknown[1, 0] and unknown.sum() == 1


def test_smooth_is_linear_between_the_middles_of_cells():
    ramp = np.tile(np.arange(40, dtype=np.float32), (8, 1))
    back = from_cells(cell_means(ramp, 4), ramp.shape, 4, smooth=True)
    np.testing.assert_allclose(back[:, 2:-2], ramp[:, 2:-2], atol=1e-5)


@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_means_and_shares_are_those_of_the_cells(size, height, width, seed):
    values = np.random.default_rng(seed).random((max(height, size), max(width, size))).astype(np.float32)
    rows, columns = values.shape[0] // size, values.shape[1] // size
    blocks = values[: rows * size, : columns * size].reshape(rows, size, columns, size)
    np.testing.assert_allclose(cell_means(values, size), blocks.mean((1, 3)), rtol=1e-5)
    np.testing.assert_allclose(cell_means(values > 0.5, size), (blocks > 0.5).mean((1, 3)), rtol=1e-6)


def test_shares_of_cells_higher_than_a_byte_counts():
    mask = np.ones((600, 700), bool)
    np.testing.assert_allclose(cell_means(mask, 300), 1, rtol=1e-6)
