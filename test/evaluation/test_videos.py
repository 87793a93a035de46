"""Pictures that wait on disk come back as they were, one at a time."""

import numpy as np
import pytest

from dkt_ros.evaluation.videos import Made, Picked, Spool


def test_what_goes_in_comes_out_in_any_order() -> None:
    pictures = np.random.default_rng(0).random((4, 6, 8, 3)).astype(np.float32)
    spool = Spool()
    for picture in pictures:
        spool.append(picture)
    assert spool.shape == (4, 6, 8, 3) and len(spool) == 4 and not spool.empty
    for index in (2, 0, 3, 1):
        np.testing.assert_array_equal(spool[index], pictures[index])
    picked = Picked(spool, [3, 1])
    assert picked.shape == (2, 6, 8, 3)
    np.testing.assert_array_equal(np.stack([picked[0], picked[1]]), pictures[[3, 1]])


def test_what_is_made_is_made_anew_and_ends_where_it_ends() -> None:
    asked = []
    made = Made((2, 3), lambda index: asked.append(index) or np.full(3, index))
    assert made.shape == (2, 3) and len(made) == 2 and asked == []
    assert [picture.tolist() for picture in made] == [[0, 0, 0], [1, 1, 1]] and made[1][0] == 1
    assert asked == [0, 1, 1]
    with pytest.raises(IndexError, match="picture 2 of 2"):
        made[2]


def test_none_is_nan_and_rows_may_differ_in_length() -> None:
    spool = Spool()
    spool.append(None)
    assert spool.empty
    spool.append(np.arange(3, dtype=np.float32))
    spool.append(np.zeros(0, np.float32))
    assert np.isnan(spool[0]).all() and spool[0].shape == (3,)
    assert spool[1].tolist() == [0, 1, 2] and spool[2].shape == (0,)


def test_one_type_and_only_what_is_there() -> None:
    spool = Spool()
    spool.append(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="float64 among float32"):
        spool.append(np.zeros(3))
    with pytest.raises(IndexError):
        spool[1]
