"""Pictures of a video one at a time, so that memory does not grow with the recording: in memory, read, or on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Frame


class Pictures(Protocol):
    """T pictures of one shape: an array (T, H, W, ...), or anything that gives them by number from 0."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, H, W, ...)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[Any]: ...


class Spool:
    """Arrays that wait in a temporary file (in ``TMPDIR``; gone with this object) until they are asked for.

    ``None`` takes no room and comes back as NaN in the shape and type of the first array. One thread appends; any may
    read what is in.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (it ends with this object)
        self._places: list[tuple[int, tuple[int, ...]] | None] = []
        self._end = 0
        self._first: tuple[tuple[int, ...], np.dtype[Any]] | None = None

    def append(self, array: NDArray[Any] | None) -> None:
        """The next one; of the type of the first.

        Raises:
            ValueError: it is of another type.
            OSError: the disk is full.
        """
        if array is None:
            self._places.append(None)
            return
        self._first = self._first or (array.shape, array.dtype)
        if array.dtype != self._first[1]:
            raise ValueError(f"{array.dtype} among {self._first[1]}: one spool holds one type")
        data, end = _bytes_of(np.ascontiguousarray(array)), self._end
        while data:
            written = os.pwrite(self._file.fileno(), data, end)
            data, end = data[written:], end + written
        self._places.append((self._end, array.shape))
        self._end = end

    @property
    def empty(self) -> bool:
        """Whether no array came."""
        return self._first is None

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, *shape of the first)."""
        return (len(self._places), *(self._first[0] if self._first else ()))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        place = self._places[index]
        if self._first is None:
            raise IndexError("nothing but None was put in")
        if place is None:
            return np.full(self._first[0], np.nan, self._first[1])
        found: NDArray[Any] = np.empty(place[1], self._first[1])
        view, offset = _bytes_of(found), place[0]
        while view:
            count = os.preadv(self._file.fileno(), [view], offset)
            if not count:
                raise OSError("a temporary file ended early: was it cut off, or the disk full?")
            view, offset = view[count:], offset + count
        return found


class Picked:
    """Some of a video's pictures, in another order."""

    def __init__(self, pictures: Pictures, index: Sequence[int]) -> None:
        self._pictures, self._index = pictures, index

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, H, W, ...)."""
        return (len(self._index), *self._pictures.shape[1:])

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        return self._pictures[self._index[index]]


class Patched:
    """Other pictures, but for some pixels of each.

    Args:
        base: (T, H, W) the other pictures.
        places: of every picture, the numbers of its own pixels, (n,).
        values: of every picture, what is there, (n,).
    """

    def __init__(self, base: Pictures, places: Spool, values: Spool) -> None:
        self.base, self.places, self.values = base, places, values

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, H, W)."""
        return self.base.shape

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        picture = np.array(self.base[index])
        picture.reshape(-1)[self.places[index]] = self.values[index]
        return picture


class Made:
    """Pictures that are worked out each time they are asked for.

    Args:
        shape: (T, H, W, ...).
        make: the picture of a number from 0.
    """

    def __init__(self, shape: tuple[int, ...], make: Callable[[int], NDArray[Any]]) -> None:
        self.shape, self._make = tuple(shape), make

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        return self._make(index)


class MadeFrames(Sequence[Frame]):
    """Frames that are read or worked out each time they are asked for; a slice is made of the same.

    Args:
        length: how many.
        make: the frame of a number from 0.
    """

    def __init__(self, length: int, make: Callable[[int], Frame]) -> None:
        self._length, self._make = length, make

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> MadeFrames: ...
    def __getitem__(self, index: int | slice) -> Frame | MadeFrames:
        places = range(self._length)
        if isinstance(index, slice):
            chosen = places[index]
            return MadeFrames(len(chosen), lambda number: self._make(chosen[number]))
        return self._make(places[index])


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8).data)
