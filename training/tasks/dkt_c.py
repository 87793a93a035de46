"""Completion of sensor depth by DKT: see ``dkt.py``, and ``wan_samples.Completion`` for how it is taught."""

from __future__ import annotations

from dkt_ros.training.tasks import Setup
from dkt_ros.training.tasks.dkt import Dkt


def build(setup: Setup) -> Dkt:
    """See ``build_task``."""
    return Dkt(setup, completes=True)
