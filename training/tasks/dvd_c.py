"""Completion of sensor depth by DVD: see ``dvd.py``, and ``wan_samples.Completion`` for how it is taught."""

from __future__ import annotations

from dkt_ros.training.tasks import Setup
from dkt_ros.training.tasks.dvd import Dvd


def build(setup: Setup) -> Dvd:
    """See ``build_task``."""
    return Dvd(setup, completes=True)
