"""A rendered scene and a parallel jaw in MuJoCo: ``Arena`` executes one grasp and says how it ended.

The jaw has the sizes of ``grasps.Gripper``, hangs on a mocap body by a weld (an arm that is stiff and follows), and
its two fingers are coupled. It comes along the approach, closes with ``FORCE_N``, lifts by ``LIFT_M`` and waits.
Objects are rigid, of their true shape and mass; the simulator alone decides what a touch does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.grasp_hulls import inertia_of, pieces
from benchmarks.grasp_scenes import Body
from dkt_ros.grasps import Gripper

Float64 = NDArray[np.float64]

FORCE_N = 40.0
#: From where the jaw comes, how far and how fast it lifts, how long it then waits.
RETREAT_M, LIFT_M, SPEED, HOLD_S = 0.12, 0.15, 0.2, 1.0
#: Held: so much of the lift is left at the end. Disturbed: moved by so much before the jaw closed. Air: narrower.
HELD, DISTURBED_M, AIR_M = 0.7, 0.03, 0.001
#: Density of walls in kg/m3 and Coulomb friction against rubber pads and the table.
MATERIALS: dict[str, tuple[float, float]] = {
    "glass": (2500, 0.5),
    "clear plastic": (1200, 0.45),
    "metal": (2700, 0.45),
    "ceramic": (2300, 0.5),
    "ordinary": (900, 0.6),
    "liquid": (1000, 0.0),
}
#: Bodies that the generator makes solid stand for hollow or filled things: density of water at most.
SOLID_FAMILIES, SOLID_DENSITY = ("block", "superquadric", "can"), 1000.0

#: Collisions: pieces of objects, fingers and clutter meet each other; the table meets the jaw and each object's hull.
_PIECE, _TABLE = 1, 2

_JAW = """
<mujoco>
  <option timestep="0.002" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <compiler autolimits="true"/>
  <visual><headlight ambient=".4 .4 .4" diffuse=".5 .5 .5"/><global offwidth="960" offheight="720"/></visual>
  <worldbody>
    <light pos="0 -1 2" dir="0 .4 -1"/>
    <geom name="table" type="plane" size="1.5 1.5 .1" rgba=".75 .7 .62 1" contype="{table}" conaffinity="0"/>
    <body name="wrist" mocap="true" pos="0 0 1.5"/>
    <body name="hand" pos="0 0 1.5" gravcomp="1">
      <freejoint/>
      <geom name="palm" type="box" size="{palm_x} {palm_y} {palm_z}" pos="0 0 {palm_at}" mass=".6" {look}/>
      <body name="left" gravcomp="1">
        <joint name="left" type="slide" axis="0 1 0" range="0 {half}" damping="20"/>
        <geom name="left" type="box" size="{x} {y} {z}" pos="0 {y} {at}" mass=".05" friction=".01 .003 .0001" {look}/>
      </body>
      <body name="right" gravcomp="1">
        <joint name="right" type="slide" axis="0 -1 0" range="0 {half}" damping="20"/>
        <geom name="right" type="box" size="{x} {y} {z}" pos="0 -{y} {at}" mass=".05" friction=".01 .003 .0001" {look}/>
      </body>
    </body>
  </worldbody>
  <equality>
    <weld body1="wrist" body2="hand" solref=".01 1" solimp=".95 .99 .001"/>
    <joint joint1="left" joint2="right" solref=".005 1"/>
  </equality>
  <actuator>
    <position name="left" joint="left" kp="20000" kv="200" ctrlrange="0 {half}" forcerange="-{force} {force}"/>
    <position name="right" joint="right" kp="20000" kv="200" ctrlrange="0 {half}" forcerange="-{force} {force}"/>
  </actuator>
</mujoco>
"""


@dataclass(frozen=True)
class Outcome:
    """How a grasp ended.

    Attributes:
        held: the object hangs in the jaw after the wait.
        reason: "held", or "blocked" (the jaw begins inside something), "pushed away" (the object moved before the jaw
            closed), "closed on air", "another object" (that hangs in the jaw), "slipped" (between the fingers, then
            not lifted).
        aperture: metres between the fingers when closed.
        rise: metres that the object's centre rose until the end.
    """

    held: bool
    reason: str
    aperture: float
    rise: float


class Arena:
    """Objects at rest on a table, and the jaw far above."""

    def __init__(self, bodies: list[Body], clutter: list[Float64], jaw: Gripper | None = None) -> None:
        import mujoco

        self._jaw = jaw or Gripper()
        self._mj = mujoco
        spec = mujoco.MjSpec.from_string(_xml(self._jaw))
        for body in bodies:
            _add_object(mujoco, spec, body)
        for index, points in enumerate(clutter):
            name = f"clutter {index}"
            _add_hull(mujoco, spec, spec.worldbody, name, points, _PIECE | 4, _PIECE, 0.6, [0.5, 0.5, 0.5, 1])
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self._of = {body.number: self.model.body(f"object {body.number}").id for body in bodies}
        self._hand = {self.model.body(name).id for name in ("hand", "left", "right")}
        self._fingers = [self.model.body(name).id for name in ("left", "right")]
        mujoco.mj_forward(self.model, self.data)
        rendered = {number: self._centre(number) for number in self._of}
        self._run(0.4)
        self._settled = {each: float(np.linalg.norm(self._centre(each) - rendered[each])) for each in self._of}
        self._rest = self.data.qpos.copy()

    def settled(self, number: int) -> float:
        """Metres that an object's centre moved from where it was rendered until everything rested."""
        return self._settled[number]

    def execute(self, number: int, pose: Float64, width: float, watch: Any = None) -> Outcome:
        """Grasp object ``number``.

        Args:
            pose: (4, 4) of the grasp in the world, axes as in ``dkt_ros.grasps``.
            width: metres between the fingers on the way, at most the jaw's.
            watch: called with a word at "before", "closed" and "end".
        """
        half = min(width, self._jaw.max_width) / 2
        start = pose.copy()
        start[:3, 3] -= RETREAT_M * pose[:3, 2]
        self._place(start, half)
        if self._jaw_touches():
            return Outcome(False, "blocked", width, 0.0)
        resting = {each: self._centre(each) for each in self._of}
        tell = watch or (lambda word: None)
        tell("before")
        self._move(start[:3, 3], pose[:3, 3])
        pushed = float(np.linalg.norm(self._centre(number) - resting[number]))
        self._run(half / 0.1 + 0.25, close_from=half)
        aperture = float(self.data.joint("left").qpos[0] + self.data.joint("right").qpos[0])
        between = self._between(number)
        tell("closed")
        self._move(pose[:3, 3], pose[:3, 3] + [0, 0, LIFT_M])
        self._run(HOLD_S)
        tell("end")
        rises = {each: float(self._centre(each)[2] - resting[each][2]) for each in self._of}
        rise = rises[number]
        if rise > HELD * LIFT_M and self._between(number):
            return Outcome(True, "held", aperture, rise)
        if any(up > HELD * LIFT_M and self._between(each) for each, up in rises.items() if each != number):
            reason = "another object"
        elif between:
            reason = "slipped"
        elif pushed > DISTURBED_M:
            reason = "pushed away"
        else:
            reason = "closed on air" if aperture < AIR_M else "not between the fingers"
        return Outcome(False, reason, aperture, rise)

    def _place(self, pose: Float64, half: float) -> None:
        """Everything at rest, the jaw at ``pose`` and open."""
        data = self.data
        self._mj.mj_resetData(self.model, data)
        data.qpos[:] = self._rest
        turn = np.empty(4)
        self._mj.mju_mat2Quat(turn, pose[:3, :3].ravel())
        data.mocap_pos[0], data.mocap_quat[0] = pose[:3, 3], turn
        data.qpos[:3], data.qpos[3:7] = pose[:3, 3], turn
        data.joint("left").qpos[0] = data.joint("right").qpos[0] = half
        data.ctrl[:] = half
        self._mj.mj_forward(self.model, data)

    def _move(self, start: Float64, end: Float64) -> None:
        steps = round(float(np.linalg.norm(end - start)) / SPEED / self.model.opt.timestep / 2)
        for share in (np.arange(steps) + 1) / steps:
            self.data.mocap_pos[0] = start + (end - start) * (share**2 * (3 - 2 * share))
            self._mj.mj_step(self.model, self.data, 2)

    def _run(self, seconds: float, close_from: float | None = None) -> None:
        steps = round(seconds / self.model.opt.timestep / 2)
        for step in range(steps):
            if close_from is not None:
                self.data.ctrl[:] = max(0.0, close_from - 0.1 * 2 * self.model.opt.timestep * (step + 1))
            self._mj.mj_step(self.model, self.data, 2)

    def _centre(self, number: int) -> Float64:
        return np.array(self.data.xipos[self._of[number]])

    def _contacts(self) -> NDArray[np.int32]:
        """(N, 2) numbers of the bodies that touch."""
        return np.asarray(self.model.geom_bodyid[self.data.contact.geom])

    def _jaw_touches(self) -> bool:
        return bool(np.isin(self._contacts(), list(self._hand)).any())

    def _between(self, number: int) -> bool:
        """Whether both fingers touch an object."""
        pairs = self._contacts()
        own = pairs[(pairs == self._of[number]).any(1)]
        return all((own == finger).any() for finger in self._fingers)


def _xml(jaw: Gripper) -> str:
    back = jaw.tip - jaw.finger_length
    return _JAW.format(
        table=_TABLE,
        look=f'contype="{_PIECE | 4}" conaffinity="{_PIECE | _TABLE}" condim="4" solref=".004 1" rgba=".25 .3 .35 1"',
        palm_x=jaw.palm_thickness / 2,
        palm_y=jaw.palm_width / 2,
        palm_z=jaw.palm_height / 2,
        palm_at=back - jaw.palm_height / 2,
        x=jaw.finger_width / 2,
        y=jaw.finger_thickness / 2,
        z=jaw.finger_length / 2,
        at=(jaw.tip + back) / 2,
        half=jaw.max_width / 2,
        force=FORCE_N,
    )


def _add_object(mujoco: Any, spec: Any, body: Body) -> None:
    turn = np.empty(4)
    mujoco.mju_mat2Quat(turn, np.ascontiguousarray(body.pose[:3, :3]).ravel())
    made = spec.worldbody.add_body(name=f"object {body.number}", pos=body.pose[:3, 3], quat=turn)
    made.add_freejoint()
    friction = MATERIALS[body.material][1]
    most = SOLID_DENSITY if body.family in SOLID_FAMILIES else np.inf
    shells = [(part.corners, min(MATERIALS[part.material][0], most)) for part in body.parts]
    made.mass, made.ipos, inertia = inertia_of(shells)
    made.fullinertia = [inertia[0, 0], inertia[1, 1], inertia[2, 2], inertia[0, 1], inertia[0, 2], inertia[1, 2]]
    made.explicitinertial = True
    colour = [0.35, 0.6, 0.9, 0.6] if body.material in ("glass", "clear plastic") else [0.8, 0.45, 0.3, 1]
    solid_parts = [part for part in body.parts if part.role not in ("liquid", "label")]
    for part in solid_parts:
        for points in pieces(part.corners):
            name = f"{body.number} {len(spec.meshes)}"
            _add_hull(mujoco, spec, made, name, points, _PIECE, _PIECE | 4, friction, colour)
    everything = np.concatenate([part.corners for part in solid_parts]).reshape(-1, 3)
    _add_hull(mujoco, spec, made, f"{body.number} hull", everything, 0, _TABLE, friction, [0, 0, 0, 0])


def _add_hull(
    mujoco: Any, spec: Any, parent: Any, name: str, points: Float64, kind: int, meets: int, friction: float, rgba: Any
) -> None:
    """The convex hull of (V, 3) points as a geom without mass of its own."""
    mesh = spec.add_mesh(name=name, uservert=points.ravel(), inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX)
    parent.add_geom(
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=mesh.name,
        contype=kind,
        conaffinity=meets,
        condim=4,
        friction=[friction, 0.003, 0.0001],
        solref=[0.004, 1],
        rgba=rgba,
        mass=0,
    )
