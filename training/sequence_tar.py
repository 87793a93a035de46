"""The members of a sequence's tar: found by frame and kind, read into memory, never unpacked to paths.

A member is called ``SEQUENCE_FRAME.KIND``, for example ``000007_00000012.depth.png``; folders before the name do not
matter, nor does the order. Anything that is called otherwise is left alone.
"""

from __future__ import annotations

import io
import json
import re
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.files import written_whole

#: No picture of a video is larger: bytes of a member, pixels of a picture.
MAX_BYTES, MAX_PIXELS = 2**28, 2**26

#: What helps against a damaged sequence of ours.
RENDER_AGAIN = "delete it and render its seed again with dkt_ros.training.render"

_NAME = re.compile(r"(?P<sequence>[^./]+)_(?P<frame>\d{1,9})\.(?P<kind>[a-z]+\.(?:png|json))")
_PNG = b"\x89PNG\r\n\x1a\n"


class SequenceError(ValueError):
    """A file is not a sequence, or not a whole one; the message names the file and the remedy."""


@contextmanager
def open_sequence(path: Path | str, required: Iterable[str], optional: Iterable[str]) -> Iterator[SequenceTar]:
    """Open a tar and find its members.

    Args:
        path: an uncompressed tar.
        required: kinds that every frame must have.
        optional: kinds that either every frame or none has. Other kinds are left alone.

    Raises:
        FileNotFoundError: there is no such file.
        SequenceError: it is no tar, is cut, holds no or several sequences, or a frame lacks a member.
    """
    if Path(path).suffix == ".npz":
        raise SequenceError(f"{path}: sequences are tars now, and .npz of earlier versions is not read; {RENDER_AGAIN}")
    with open(path, "rb") as file:
        try:
            members = list(_members(file))
        except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
            raise _error(path, f"cut short or not an uncompressed tar ({error})") from error
        # tarfile takes a damaged header for the end. Where the archive really ends, a block of zeros stands.
        last = max((member.offset_data + -(-member.size // 512) * 512 for member in members), default=0)
        file.seek(last)
        if file.read(512) != bytes(512):
            raise _error(path, f"cut short or damaged at byte {last}")
        yield SequenceTar(Path(path), file, members, set(required), set(optional))


def first_record(path: Path | str, kind: str) -> Any:
    """What the first JSON member of that kind holds, None if there is none; nothing after it is looked at.

    Raises:
        FileNotFoundError: there is no such file.
        SequenceError: it is no tar, is cut before that member, or the member is no JSON.
    """
    with open(path, "rb") as file:
        try:
            for member in _members(file):
                if member.name.endswith(f".{kind}") and member.isreg() and member.size <= MAX_BYTES:
                    file.seek(member.offset_data)
                    return json.loads(file.read(member.size))
        except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
            raise _error(path, f"cut short, damaged or not an uncompressed tar ({error})") from error
    return None


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            if member.size < 0:  # tarfile would walk back and around for ever
                raise ValueError(f"{member.name} has {member.size} bytes")
            yield member


def _error(path: Path | str, what: str) -> SequenceError:
    return SequenceError(f"{path}: {what}; download it again, or {RENDER_AGAIN}")


class SequenceTar:
    """The members of one sequence's tar, see ``open_sequence``.

    Attributes:
        path: of the file.
        frames: numbers of the frames, ascending.
        kinds: what every frame has, for example "depth.png".
    """

    def __init__(
        self, path: Path, file: BinaryIO, members: list[tarfile.TarInfo], required: set[str], optional: set[str]
    ) -> None:
        self.path = path
        self._file = file
        self._members = self._found(members, required | optional)
        self.frames = sorted(self._members)
        self.kinds = self._complete(required)

    def error(self, what: str) -> SequenceError:
        """The exception that says ``what`` is wrong with this file and what to do about it."""
        return _error(self.path, what)

    def _found(self, members: list[tarfile.TarInfo], kinds: set[str]) -> dict[int, dict[str, tarfile.TarInfo]]:
        found: dict[int, dict[str, tarfile.TarInfo]] = {}
        sequences = set()
        for member in members:
            parts = _NAME.fullmatch(member.name.rpartition("/")[2])
            if parts is None or parts["kind"] not in kinds or not member.isreg() or member.issparse():
                continue
            if member.size > MAX_BYTES:
                raise self.error(f"{member.name} has {member.size} bytes, more than the {MAX_BYTES} of any picture")
            sequences.add(parts["sequence"])
            frame = found.setdefault(int(parts["frame"]), {})
            if len(sequences) > 1:
                raise self.error(f"holds several sequences ({', '.join(sorted(sequences))}), expected one per tar")
            if parts["kind"] in frame:
                raise self.error(f"{member.name} stands in it twice")
            frame[parts["kind"]] = member
        if not found:
            raise self.error("holds no frame of a sequence (nothing called like 000007_00000000.image.png)")
        return found

    def _complete(self, required: set[str]) -> frozenset[str]:
        kinds = required.union(*self._members.values())
        for number, members in sorted(self._members.items()):
            if missing := sorted(kinds - set(members)):
                raise self.error(f"frame {number} lacks {', '.join(missing)}")
        return frozenset(kinds)

    def read(self, frame: int, kind: str) -> bytes:
        """The bytes of a member."""
        member = self._members[frame][kind]
        self._file.seek(member.offset_data)
        return self._file.read(member.size)

    def name(self, frame: int, kind: str) -> str:
        """How a member is called in the archive."""
        return self._members[frame][kind].name

    def record(self, frame: int, kind: str) -> dict[str, Any]:
        """The JSON object in a member."""
        try:
            record = json.loads(self.read(frame, kind))
        except (ValueError, RecursionError) as error:
            raise self.error(f"{self.name(frame, kind)} is no JSON ({error})") from error
        if not isinstance(record, dict):
            raise self.error(f"{self.name(frame, kind)} holds a {type(record).__name__}, expected a JSON object")
        return record

    def picture(self, frame: int, kind: str, flags: int = cv2.IMREAD_UNCHANGED) -> NDArray[Any]:
        """The pixels of a PNG as OpenCV decodes them: (H, W) or (H, W, channels in BGR order), uint8 or uint16."""
        data = self.read(frame, kind)
        if problem := png_problem(data):
            raise self.error(f"{self.name(frame, kind)} {problem}")
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if pixels is None:
            raise self.error(f"{self.name(frame, kind)} cannot be decoded")
        return np.asarray(pixels)


def png_problem(data: bytes) -> str:
    """What is wrong with the bytes of a PNG, "" if nothing; decoders give what they can of a damaged one, silently."""
    at = len(_PNG)
    if not data.startswith(_PNG) or data[12:16] != b"IHDR" or len(data) < 33:
        return "is no PNG"
    width, height = struct.unpack_from(">II", data, 16)
    if not 0 < width * height <= MAX_PIXELS:
        return f"is of {width}x{height} pixels, expected 1 to {MAX_PIXELS}"
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data) or zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return f"is damaged at byte {at}"
        if kind == b"IEND":
            return ""
        at = end + 4
    return f"is cut short at byte {at}"


def png(pixels: NDArray[Any]) -> bytes:
    """(H, W) uint8 or uint16, or (H, W, 3) uint8 RGB, as a PNG."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    written, data = cv2.imencode(".png", pixels)
    if not written:
        raise ValueError(f"OpenCV cannot write a picture of {pixels.dtype}{pixels.shape} as PNG")
    return data.tobytes()


def as_json(record: dict[str, Any]) -> bytes:
    """``record`` as JSON that any reader takes.

    Raises:
        ValueError, TypeError: it holds NaN, infinity or something that JSON has no word for.
    """
    return json.dumps(record, allow_nan=False).encode()


def write_tar(path: Path | str, members: Iterable[tuple[str, bytes]]) -> None:
    """Write (name, content) pairs; the same pairs give the same bytes. ``path`` holds all or is as before."""
    with written_whole(path) as temporary, tarfile.open(temporary, "w:", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)  # time 0, user 0, mode 644
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
