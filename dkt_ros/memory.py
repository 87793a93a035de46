"""Keeps freed memory in the process."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def keep_freed_memory(largest: int = 32 << 20, kept: int = 1 << 30, shared: bool = False) -> bool:
    """Let the allocator reuse the memory of pictures instead of returning it to the system after every step.

    A picture's temporaries are a few megabytes each. By default glibc maps them anew every time and the kernel clears
    each page (``python -m benchmarks.node --default-malloc`` shows what that costs). Call once, when a program starts.

    Args:
        largest: blocks up to this many bytes come from the heap; glibc takes at most 32 MiB.
        kept: bytes of free heap that are kept; memory use stays at its highest point, and no higher.
        shared: True lets all threads use one heap. The heaps that glibc gives to threads are returned whatever ``kept``
            says, so workers that make pictures need this; it must come before they start.

    Returns:
        Whether the C library took the settings; False on systems without glibc, where nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    taken = [mallopt(_MMAP_THRESHOLD, largest), mallopt(_TRIM_THRESHOLD, kept)]
    if shared:
        taken.append(mallopt(_ARENA_MAX, 1))
    return all(taken)
