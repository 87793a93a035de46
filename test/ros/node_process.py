"""The node's own ``main`` with the engine of the tests; arguments as of ``python -m dkt_ros.node``.

The parameter ``weights`` says what is wrong with the engine: never_loads, never_answers, always_fails, cannot_load;
reset_raises: an error of ours in the callback of ~/reset.
"""

from __future__ import annotations

import sys
import threading

from dkt_ros.engines import EngineOptions
from dkt_ros.node import main
from dkt_ros.node_pipeline import Pipeline
from test.ros.engine import SensorEngine


def load(name: str, options: EngineOptions | None = None) -> SensorEngine:
    """The engine with the fault that was asked for."""
    fault = str(options.weights) if options and options.weights else ""
    engine = SensorEngine()
    if fault == "never_loads":
        threading.Event().wait()
    elif fault == "cannot_load":
        raise FileNotFoundError("weights are missing; run: git lfs pull")
    elif fault == "never_answers":
        engine.gate = threading.Event()
    elif fault == "always_fails":
        engine.always_fail = RuntimeError("the model is broken")
    elif fault == "reset_raises":
        forget = Pipeline.forget

        def failing(pipeline: Pipeline, reason: str) -> None:
            if reason == "reset":
                raise KeyError("an error of ours")
            forget(pipeline, reason)

        Pipeline.forget = failing  # type: ignore[method-assign]
    return engine


if __name__ == "__main__":
    main(sys.argv, engine_loader=load)
