"""Give a cut-off MCAP file a proper end, so that every whole record in it can be read.

Format: https://mcap.dev/spec. A recorder that is killed leaves a file without data end, summary and footer; a copy that
broke off ends in the middle of a record. Both are a header and whole records followed by something unusable.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, CHUNK, MESSAGE_INDEX, CHUNK_INDEX, STATISTICS, DATA_END = 0x01, 0x02, 0x06, 0x07, 0x08, 0x0B, 0x0F
KNOWN = range(0x01, 0x10)


class NotMcapError(Exception):
    """The file does not even begin as MCAP."""


def repair_mcap(source: Path, target: Path) -> int:
    """Copy the whole records of ``source`` to ``target`` and end it with an index of its chunks.

    Returns the number of bytes at the end of ``source`` that belong to no whole record.

    Raises:
        NotMcapError: the magic bytes or the header record are missing.
    """
    size = source.stat().st_size
    with source.open("rb") as old, target.open("wb") as new:
        if old.read(8) != MAGIC:
            raise NotMcapError("does not begin as an MCAP file")
        new.write(MAGIC)
        indices: list[bytes] = []
        kept = 8
        while len(head := old.read(9)) == 9:
            kind, length = struct.unpack("<BQ", head)
            if kept == 8 and kind != HEADER:
                raise NotMcapError("has no MCAP header record")
            if kind not in KNOWN or kind in (DATA_END, FOOTER) or old.tell() + length > size:
                break
            body = old.read(length)
            if kind == CHUNK:
                indices.append(_chunk_index(body, kept))
            elif kind == MESSAGE_INDEX and indices:
                indices[-1] = _with_messages(indices[-1], struct.unpack_from("<H", body)[0], kept, 9 + length)
            new.write(head + body)
            kept += 9 + length
        if kept == 8:
            raise NotMcapError("ends inside its header record")
        _finish(new, indices)
    return size - kept


def _chunk_index(chunk: bytes, offset: int) -> bytes:
    """Body of the chunk index record for a chunk record that begins at ``offset``, without any message index yet."""
    start, end, uncompressed, _crc, name_length = struct.unpack_from("<QQQII", chunk)
    name = chunk[32 : 32 + name_length]
    (compressed,) = struct.unpack_from("<Q", chunk, 32 + name_length)
    head = struct.pack("<QQQQ", start, end, offset, 9 + len(chunk))
    tail = struct.pack("<QI", 0, name_length) + name + struct.pack("<QQ", compressed, uncompressed)
    return head + struct.pack("<I", 0) + tail


def _with_messages(index: bytes, channel: int, offset: int, length: int) -> bytes:
    """The chunk index with one more message index record in its map and its length."""
    (map_length,) = struct.unpack_from("<I", index, 32)
    end = 36 + map_length
    (indices_length,) = struct.unpack_from("<Q", index, end)
    entries = index[36:end] + struct.pack("<HQ", channel, offset)
    head = index[:32] + struct.pack("<I", len(entries)) + entries
    return head + struct.pack("<Q", indices_length + length) + index[end + 8 :]


def _finish(file: BinaryIO, indices: list[bytes]) -> None:
    """Data end, the chunk indices as the summary, footer and magic."""
    _record(file, DATA_END, struct.pack("<I", 0))
    summary = file.tell() if indices else 0
    if indices:
        # Counts of zero: readers that find no schema in the summary count for themselves.
        _record(file, STATISTICS, struct.pack("<QHIIIIQQI", 0, 0, 0, 0, 0, len(indices), 0, 0, 0))
    for index in indices:
        _record(file, CHUNK_INDEX, index)
    _record(file, FOOTER, struct.pack("<QQI", summary, 0, 0))
    file.write(MAGIC)


def _record(file: BinaryIO, kind: int, body: bytes) -> None:
    file.write(struct.pack("<BQ", kind, len(body)) + body)
