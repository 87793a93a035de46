"""An ``.npz`` that grows by one frame at a time, so that a long recording needs no more memory than a short one."""

from __future__ import annotations

import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.files import written_whole

_COPY_BYTES = 1 << 22


class ArrayFile:
    """Context manager. ``append(name, frame)`` adds one frame to the array ``name`` of shape (T, *frame.shape).

    The file appears under its name only when the block ends without an exception; until then the frames lie in
    temporary files beside it. ``numpy.load(path, allow_pickle=False)`` reads it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._spools: dict[str, IO[bytes]] = {}
        self._kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._counts: dict[str, int] = {}
        self._singles: dict[str, NDArray[Any]] = {}

    def __enter__(self) -> ArrayFile:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                self._write()

    def append(self, name: str, frame: NDArray[Any]) -> None:
        """Add one frame.

        Raises:
            ValueError: its shape or dtype is not that of the frames before it.
        """
        if name not in self._spools:
            self._kinds[name] = (frame.dtype, frame.shape)
            spool = self._stack.enter_context(tempfile.TemporaryFile(dir=self._path.parent))  # noqa: SIM115
            self._spools[name] = spool
        if self._kinds[name] != (frame.dtype, frame.shape):
            raise ValueError(f"array {name!r}: {frame.dtype}{frame.shape} after {self._kinds[name]}")
        self._spools[name].write(np.ascontiguousarray(frame).data)
        self._counts[name] = self._counts.get(name, 0) + 1

    def add(self, name: str, value: Any) -> None:
        """Add one whole array or string."""
        self._singles[name] = np.asarray(value)

    def drop(self, name: str) -> None:
        """Leave an array out after all."""
        self._spools.pop(name, None)

    def _write(self) -> None:
        with (
            written_whole(self._path) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            for name, spool in self._spools.items():
                dtype, shape = self._kinds[name]
                header = {
                    "descr": np.lib.format.dtype_to_descr(dtype),
                    "fortran_order": False,
                    "shape": (self._counts[name], *shape),
                }
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_2_0(member, header)
                    spool.seek(0)
                    while block := spool.read(_COPY_BYTES):
                        member.write(block)
            for name, value in self._singles.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, value, allow_pickle=False)
