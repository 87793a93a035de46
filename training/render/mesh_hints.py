"""``hints.yaml`` beside a user's meshes: what each is made of in life, how large it is, which way is up. No bpy.

    default: {material: glass, height: [0.08, 0.16]}
    files:
      cup.glb: {material: [clear_glass, tinted_glass]}
      metal/pan.obj: {material: metal, unit: mm, up: z, weight: 2}

``material``: a word of ``WORDS``, a material group of the recipes, or a list of either; the recipe's weights decide
among them. ``height``: metres from foot to top, or [least, greatest]; without it the file's numbers count in ``unit``
(m, cm, mm, in; m unless said otherwise). ``up``: the file's axis that points up (x, y, z, -x, -y, -z; y unless said
otherwise, as glTF demands and most programs write .obj). ``weight``: how often it is drawn, against the other meshes.

``filter`` writes what a model answered into ``hints.model.yaml``, never into ``hints.yaml``. A file's own line in
``hints.yaml`` counts more than the model's answer, and that counts more than ``default``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dkt_ros.training.render.materials_library import GROUPS

HINTS, MODEL_HINTS = "hints.yaml", "hints.model.yaml"

#: What things are made of in life, and the material groups that are it. Ribbed glass is true geometry, which only the
#: procedural vessels get.
WORDS: dict[str, tuple[str, ...]] = {
    "glass": ("clear_glass", "tinted_glass", "frosted_glass"),
    "plastic": ("clear_plastic", "cloudy_plastic"),
    "metal": ("polished_metal", "brushed_metal", "coloured_metal"),
    "ceramic": ("ceramic",),
    "ordinary": ("ordinary",),
}
#: What a model may answer instead; then ``hints.yaml`` counts.
UNSURE = "unsure"
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254}
AXES = ("x", "y", "z", "-x", "-y", "-z")
_KEYS = ("material", "height", "unit", "up", "weight")


@dataclass(frozen=True)
class Hint:
    """What is known of a file besides its shape.

    Attributes:
        groups: material groups, () if nothing says what it is made of.
        told_by: which file says so: ``hints.yaml``, its default, or ``hints.model.yaml``; "" if none.
        height: least and greatest in metres; None: the file's numbers are in ``unit``.
        unit: metres.
        up: one of ``AXES``.
        weight: above 0.
    """

    groups: tuple[str, ...] = ()
    told_by: str = ""
    height: tuple[float, float] | None = None
    unit: float = 1.0
    up: str = "y"
    weight: float = 1.0


@dataclass(frozen=True)
class Hints:
    """Both files of a folder.

    Attributes:
        default, files: of ``hints.yaml``, checked; file name -> its entry.
        answers: of ``hints.model.yaml``: file name -> (word or ``UNSURE``, SHA-256 of the file that was shown).
    """

    default: dict[str, Any]
    files: dict[str, dict[str, Any]]
    answers: dict[str, tuple[str, str]]

    def of(self, name: str, sha256: str) -> Hint:
        """For the file of that name and content; an answer about other content does not count."""
        own = self.files.get(name, {})
        entry = {**self.default, **own}
        if "unit" in own and "height" not in own:
            entry.pop("height", None)
        word, shown = self.answers.get(name, ("", ""))
        if "material" not in own and word in WORDS and shown == sha256:
            entry["material"], told_by = word, MODEL_HINTS
        else:
            told_by = HINTS if "material" in own else f"{HINTS}, default" if "material" in self.default else ""
        height = entry.get("height")
        return Hint(
            groups=groups_of(entry["material"]) if told_by else (),
            told_by=told_by,
            height=None if height is None else _height(height),
            unit=UNITS[entry.get("unit", "m")],
            up=str(entry.get("up", "y")),
            weight=float(entry.get("weight", 1.0)),
        )


def read_hints(folder: Path) -> Hints:
    """Both hint files of ``folder``; neither needs to be there.

    Raises:
        ValueError: one is not YAML, or has an unknown key or a value out of range; the message names it.
    """
    user, model = _read(folder / HINTS), _read(folder / MODEL_HINTS)
    if unknown := [str(key) for key in user if key not in ("default", "files")]:
        raise ValueError(f"{folder / HINTS} has the unknown key {', '.join(unknown)}; known: default, files")
    default = _entry(f"{folder / HINTS}: default", user.get("default") or {})
    files = _mapping(f"{folder / HINTS}: files", user.get("files") or {})
    answers = _mapping(f"{folder / MODEL_HINTS}: files", model.get("files") or {})
    return Hints(
        default,
        {str(name): _entry(f"{folder / HINTS}: {name}", entry or {}) for name, entry in files.items()},
        {str(name): _answer(f"{folder / MODEL_HINTS}: {name}", entry) for name, entry in answers.items()},
    )


def groups_of(material: Any) -> tuple[str, ...]:
    """Material groups of a word, a group's name, or a list of either, each once.

    Raises:
        ValueError: unknown, or ribbed glass.
    """
    names = material if isinstance(material, list) else [material]
    groups: list[str] = []
    for name in names:
        if name == "ribbed_glass" or (name not in WORDS and name not in GROUPS):
            known = ", ".join((*WORDS, *(group for group in GROUPS if group != "ribbed_glass")))
            raise ValueError(f"material {name!r} is none that a mesh can be made of; known: {known}")
        groups += [group for group in WORDS.get(name, (name,)) if group not in groups]
    if not groups:
        raise ValueError("material is an empty list; name at least one")
    return tuple(groups)


def _read(path: Path) -> dict[str, Any]:
    try:
        return _mapping(str(path), yaml.safe_load(path.read_text()) or {})
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {value!r}, not a mapping of names to values")
    return value


def _entry(where: str, value: Any) -> dict[str, Any]:
    """``value``, checked."""
    entry = _mapping(where, value)
    try:
        if unknown := [str(key) for key in entry if key not in _KEYS]:
            raise ValueError(f"unknown key {', '.join(unknown)}; known: {', '.join(_KEYS)}")
        if "material" in entry:
            groups_of(entry["material"])
        if "height" in entry:
            _height(entry["height"])
            if "unit" in entry:
                raise ValueError("height and unit: the height alone decides the size; take one of them out")
        if entry.get("unit", "m") not in UNITS:
            raise ValueError(f"unit is {entry['unit']!r}; known: {', '.join(UNITS)}")
        if entry.get("up", "y") not in AXES:
            raise ValueError(f"up is {entry['up']!r}; known: {', '.join(AXES)}")
        if not _number(entry.get("weight", 1.0)) > 0:
            raise ValueError(f"weight is {entry['weight']}, must be above 0; move the file away to leave it out")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return entry


def _answer(where: str, value: Any) -> tuple[str, str]:
    entry = _mapping(where, value)
    if entry.get("material") not in (*WORDS, UNSURE):
        raise ValueError(f"{where}: material is {entry.get('material')!r}; known: {', '.join((*WORDS, UNSURE))}")
    return entry["material"], str(entry.get("sha256", ""))


def _height(value: Any) -> tuple[float, float]:
    low, high = (_number(v) for v in value) if isinstance(value, list) and len(value) == 2 else [_number(value)] * 2
    if not 0 < low <= high:
        raise ValueError(f"height is {value}, must be metres above 0, or [least, greatest]")
    return low, high


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)
