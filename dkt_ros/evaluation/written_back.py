"""What a recording is put through, with its estimates written back as bags on the way."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.players import Player, Progress
from dkt_ros.frames import Estimate
from dkt_ros.result_bag import check_new, result_bag


class WrittenBack:
    """A ``Player`` that writes what another one gives, see ``result_bag``.

    Args:
        player: the other one.
        folder: the bag, or where there are several recordings, the folder of one bag for each, by its name.
        several: whether there are.

    Raises:
        BagError: the folder exists already.
    """

    def __init__(self, player: Player, folder: Path, several: bool) -> None:
        check_new(folder)
        self._player, self._folder, self._several = player, folder, several

    @property
    def starts(self) -> Collection[int]:
        """See ``Player``."""
        return self._player.starts

    @property
    def timing(self) -> dict[str, Any]:
        """See ``Player``."""
        return self._player.timing

    def about(self) -> dict[str, Any]:
        """See ``Player``."""
        return self._player.about()

    def play(self, recording: Recording, progress: Progress) -> Iterator[Estimate]:
        """See ``Player``; the bag is there once the last estimate was taken.

        Raises:
            BagError: the bag cannot be written.
        """
        folder = self._folder / recording.name if self._several else self._folder
        with result_bag(folder, recording.origin) as results:
            for estimate in self._player.play(recording, progress):
                results.add(estimate)
                yield estimate
