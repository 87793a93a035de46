"""The node's own ``main`` with the engine of the tests; arguments as of ``python -m dkt_ros.node``."""

from __future__ import annotations

import sys

from dkt_ros.node import main
from test.ros.engine import SensorEngine

if __name__ == "__main__":
    main(sys.argv, engine_loader=lambda name, options=None: SensorEngine())
