"""The real node with the scene's own engine: ``python -m test.scripted_node --ros-args ...``; for test_demo."""

from dkt_ros.node import main

from .scenes import ScriptedEngine

if __name__ == "__main__":
    main(engine_loader=lambda *arguments, **named: ScriptedEngine(normals=True))
