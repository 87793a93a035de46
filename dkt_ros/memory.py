"""Keeps freed memory in the process."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory(largest: int = 32 << 20, kept: int = 1 << 30) -> bool:
    """Let the allocator reuse the memory of pictures instead of returning it to the system after every step.

    A picture's temporaries are a few megabytes each. By default glibc maps them anew every time and the kernel clears
    each page (``python -m benchmarks.node --default-malloc`` shows what that costs). Call once, when a program starts.

    Args:
        largest: blocks up to this many bytes come from the heap; glibc takes at most 32 MiB.
        kept: bytes of free heap that are kept; memory use stays at its highest point, and no higher.

    Returns:
        Whether the C library took the settings; False on systems without glibc, where nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, largest)) and bool(mallopt(_TRIM_THRESHOLD, kept))
