"""``--shard I/N``: which seeds of a job one of N equal jobs renders, for the job arrays of a cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """The ``index``-th of ``count`` shares, counted from 1. Together the shares are everything, none overlaps."""

    index: int = 1
    count: int = 1

    def of(self, seeds: range) -> range:
        """Every ``count``-th seed, so that all shares are equally long, to within one, wherever a job stands."""
        return seeds[self.index - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str) -> Shard:
    """``"3/16"`` is the third of sixteen.

    Raises:
        ValueError: it is no such pair of numbers.
    """
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise ValueError(f"{text!r} is not I/N, for example 3/16") from None
    if not 1 <= index <= count:
        raise ValueError(f"{text}: shards count from 1 to N (for Slurm: --array=1-{max(count, 1)})")
    return Shard(index, count)
