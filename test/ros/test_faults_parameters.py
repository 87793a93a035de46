"""Any value for any parameter while the node works: taken, or refused in words; no exception, no dead node."""

from __future__ import annotations

import math

import numpy as np
from rclpy.parameter import Parameter

from dkt_ros.node_parameters import DECLARED
from test.ros.harness import table
from test.ros.readers import read_image

NAN, INF = float("nan"), float("inf")
VALUES = [
    *(True, 0, -1, 2**62, -0.0, 1e-300, 1e300, -1e300, NAN, INF),
    *("", "auto", "x" * 5000, "\x00", "é/ /../"),
    *([1, 2, 3], [NAN] * 3, [INF, 0.0, 0.0], [0.0] * 7, [1.0] * 100, [True], ["a"], []),
]


def test_any_value_of_any_parameter(world):
    robot, under_test = world(robot={"outputs": ("depth/image",)})
    node, refused, taken = under_test.node, 0, 0

    def set_one(name: str, value) -> None:
        nonlocal refused, taken
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert result.successful or result.reason, (name, value)
        taken, refused = taken + result.successful, refused + (not result.successful)
        held = node.get_parameter_or(name).value
        assert not isinstance(held, float) or math.isfinite(held), (name, value)

    def set_all() -> None:
        for each in DECLARED:
            before = node.get_parameter_or(each.name).value
            for value in VALUES:
                set_one(each.name, value)
            if before is not None and before != node.get_parameter_or(each.name).value:
                set_one(each.name, before)

    under_test._spinning.call(set_all)
    assert refused > 10 * taken > 100
    for index in range(5):
        robot.send_moment(100 * index)
    np.testing.assert_allclose(read_image(robot.expect("depth/image", 400)), table(), rtol=0.01)
