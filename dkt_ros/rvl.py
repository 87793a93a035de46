"""Decoder of RVL, the depth compression that image_transport's compressedDepth offers beside PNG.

A. D. Wilson, "Fast Lossless Depth Image Compression", ISS 2017. A stream of nibbles, eight to a little-endian 32-bit
word with the first in its highest bits. Every number is coded with three bits per nibble, lowest first; bit 3 says that
more follow. The numbers are: how many zeros, how many others, the others as zigzag differences to the one before (over
gaps too, from 0 at the start), and so on until the picture is full.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Nibbles of the longest number: 32 bits.
_LONGEST = 11


def decompress(data: NDArray[np.uint8], pixels: int) -> NDArray[np.uint16]:
    """(pixels,) uint16 of an RVL stream; what follows the last pixel is ignored.

    Time and memory are bounded by ``pixels``, whatever the stream says; the only loop in Python is over its runs.

    Raises:
        ValueError: the stream ends too early, or it holds no RVL.
    """
    # No picture takes more than 6 nibbles (17 bits) per pixel and a few for its runs.
    words = data[: 3 * pixels + 16]
    words = words[: len(words) // 4 * 4].view("<u4").astype(">u4").view(np.uint8)
    nibbles = np.stack([words >> 4, words & 15], axis=1).reshape(-1)
    numbers = _numbers(nibbles)
    starts = _runs(numbers, pixels)
    lengths = numbers[starts[:, None] + np.arange(2)].reshape(-1)
    is_change = np.ones(int(starts[-1] + 2 + lengths[-1]), bool)
    is_change[starts], is_change[starts + 1] = False, False
    change = numbers[: len(is_change)][is_change].view(np.int32)
    change = (change >> 1) ^ -(change & 1)
    result = np.zeros(pixels, np.uint16)
    known = np.repeat(np.tile([False, True], len(starts)), lengths)
    result[known] = np.cumsum(change.astype(np.uint16), dtype=np.uint16)  # wraps, as the encoder's 16 bits do
    return result


def _numbers(nibbles: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Every whole number of the stream."""
    ends = np.flatnonzero(nibbles < 8)
    if not len(ends):
        raise ValueError("it ends within its first number")
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1] + 1
    length = ends - starts + 1
    if length.max() > _LONGEST:
        raise ValueError(f"a number of {length.max()} nibbles, more than 32 bits")
    bits = nibbles & 7
    numbers = bits[starts].astype(np.uint32)
    place, longer = 1, np.flatnonzero(length > 1)
    while len(longer):  # fewer each time: most numbers have one nibble or two
        numbers[longer] |= bits[starts[longer] + place].astype(np.uint32) << np.uint32(3 * place)
        place += 1
        longer = longer[length[longer] > place]
    return numbers


def _runs(numbers: NDArray[np.uint32], pixels: int) -> NDArray[np.int64]:
    """Where in the stream the runs begin that make up the picture."""
    count = len(numbers)
    # The run after one at i begins behind its two lengths and its values.
    following = memoryview(np.minimum(np.arange(2, count + 1) + numbers[1:], count))
    starts, at, last = [], 0, count - 1
    while at < last:
        starts.append(at)
        at = following[at]
    runs = np.array(starts, np.int64)
    filled = np.cumsum(numbers[runs].astype(np.int64) + numbers[runs + 1]) if len(runs) else np.zeros(0, np.int64)
    needed = int(np.searchsorted(filled, pixels)) + 1
    if needed > len(runs):
        raise ValueError(f"it ends after {int(filled[-1]) if len(runs) else 0} of {pixels} pixels")
    runs = runs[:needed]
    if filled[needed - 1] != pixels or runs[-1] + 2 + int(numbers[runs[-1] + 1]) > count:
        raise ValueError(f"its runs do not fill {pixels} pixels")
    return runs
