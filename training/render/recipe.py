"""What scenes are drawn from, as plain values read from YAML. No bpy: the job and the tests read recipes anywhere."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from dkt_ros.training.render.materials_library import GROUPS
from dkt_ros.training.render.mesh_scan import meshes_of_recipe
from dkt_ros.training.render.meshes import MeshFolder
from dkt_ros.training.render.objects import FAMILIES, ObjectChoice

RECIPES = Path(__file__).parent / "recipes"

#: Version of the generator, raised whenever the same recipe and seed give another sequence than before.
GENERATOR = 4

#: Everything that a recipe can give a weight to, besides the object families and material groups.
SETTINGS = ("table", "tray", "bin", "shelf", "sink")
LIGHTS = ("area", "window", "sky", "spot")
CAMERAS = ("circle", "handheld", "wrist")


class NoSuitableScene(RuntimeError):
    """Many draws of a seed gave no scene that can be used; another attempt would give the same."""


@dataclass(frozen=True)
class ObjectRecipe:
    """Which objects a scene holds.

    Attributes:
        count: fewest and most that are drawn.
        transparent: least and greatest share of them that is transparent.
        liquid: probability that a vessel holds some.
        dropped: probability that an object falls into place instead of standing upright.
        families: name -> weight.
        materials: name of the material group -> weight.
        required_families: each scene holds at least one of each.
        required_materials: each scene holds at least one object of each group.
        meshes: of the user; None: procedural families only.
    """

    count: tuple[int, int]
    transparent: tuple[float, float]
    liquid: float
    dropped: float
    families: dict[str, float]
    materials: dict[str, float]
    required_families: tuple[str, ...] = ()
    required_materials: tuple[str, ...] = ()
    meshes: MeshFolder | None = None

    @property
    def choice(self) -> ObjectChoice:
        """For ``draw_object``."""
        return ObjectChoice(self.families, self.materials, self.liquid, self.meshes)


@dataclass(frozen=True)
class SceneRecipe:
    """A kind of scenes; see ``recipes/full.yaml`` for what each value means.

    Attributes:
        name: of the file.
        frames: per sequence.
        size: (width, height) of a picture, pixels.
        samples: per pixel of the RGB pass, before denoising.
        rate: frames per second.
        settings, light, camera: name -> weight; a name with weight 0 or without one is never drawn.
        clutter: probability that ordinary things lie about.
        stereo_share: probability that a sequence also gets the depth of a simulated infrared stereo pair.
        objects: see there.
    """

    name: str
    frames: int
    size: tuple[int, int]
    samples: int
    rate: float
    settings: dict[str, float]
    light: dict[str, float]
    camera: dict[str, float]
    clutter: float
    stereo_share: float
    objects: ObjectRecipe

    def content(self) -> dict[str, Any]:
        """As ``recipe_from_content`` reads it, JSON-able: everything that decides a sequence besides its seed."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        del values["objects"]["meshes"]
        if self.objects.meshes:
            values["objects"]["meshes"] = self.objects.meshes.content()
        return {**values, "size": "{}x{}".format(*self.size)}

    @property
    def digest(self) -> str:
        """SHA-256 of the content in hexadecimal; the name, and the place of the user's meshes, do not count."""
        content = {key: value for key, value in self.content().items() if key != "name"}
        content["objects"].get("meshes", {}).pop("folder", None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load_scene_recipe(name: str | Path) -> SceneRecipe:
    """Read a recipe by name (``full``, ``unseen``) or path.

    Raises:
        FileNotFoundError: neither a bundled recipe nor a file.
        ValueError: the file is not YAML, a key or name is missing or unknown, or a value is out of range.
    """
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise FileNotFoundError(f"no scene recipe {name}; bundled: {known}; or give the path of a .yaml file")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from None
    try:
        return recipe_from_content(content, path.stem, path.parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def recipe_from_content(content: Any, name: str = "", beside: Path = Path()) -> SceneRecipe:
    """The recipe of a YAML file's content or of ``SceneRecipe.content``.

    Only a YAML file's ``objects.meshes`` lets a folder be read; where that is relative, it is below ``beside``.

    Raises:
        ValueError: a key or name is missing or unknown, or a value is out of range.
    """
    values = _keys("the recipe", content, SceneRecipe, ("name",))
    objects = _keys("objects", values["objects"], ObjectRecipe, ("required_families", "required_materials", "meshes"))
    objects = {
        **objects,
        "count": _range("objects.count", objects["count"], 1, 100, whole=True),
        "transparent": _range("objects.transparent", objects["transparent"], 0, 1),
        "liquid": _number("objects.liquid", objects["liquid"], 0, 1),
        "dropped": _number("objects.dropped", objects["dropped"], 0, 1),
        "families": _weights("objects.families", objects["families"], FAMILIES),
        "materials": _weights("objects.materials", objects["materials"], GROUPS),
    }
    for key, weights in (("required_families", "families"), ("required_materials", "materials")):
        objects[key] = _required(f"objects.{key}", objects.get(key, []), objects[weights])
    if (meshes := objects.get("meshes")) is not None:
        objects["meshes"] = meshes_of_recipe(meshes, beside, objects["materials"])
    return SceneRecipe(
        name=name or str(values.get("name", "")),
        frames=_whole("frames", values["frames"], 1, 10_000),
        size=_size(values["size"]),
        samples=_whole("samples", values["samples"], 1, 65_536),
        rate=_number("rate", values["rate"], 0.01, 1000),
        settings=_weights("settings", values["settings"], SETTINGS),
        light=_weights("light", values["light"], LIGHTS),
        camera=_weights("camera", values["camera"], CAMERAS),
        clutter=_number("clutter", values["clutter"], 0, 1),
        stereo_share=_number("stereo_share", values["stereo_share"], 0, 1),
        objects=ObjectRecipe(**objects),
    )


def _keys(where: str, content: Any, kind: type[Any], optional: tuple[str, ...]) -> dict[str, Any]:
    """``content`` if it is a mapping that has the fields of ``kind`` and no other key."""
    if not isinstance(content, dict):
        raise ValueError(f"{where} is {content!r}, not a mapping of names to values")
    known = [field.name for field in fields(kind)]
    if unknown := [str(key) for key in content if key not in known]:
        raise ValueError(f"{where} has the unknown key {', '.join(unknown)}; known: {', '.join(known)}")
    if missing := [key for key in known if key not in content and key not in optional]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    return content


def _number(where: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{where} is {value!r}, not a number")
    if not low <= value <= high:
        raise ValueError(f"{where} is {value}, must be {low} to {high}")
    return float(value)


def _whole(where: str, value: Any, low: int, high: int) -> int:
    number = _number(where, value, low, high)
    if number != int(number):
        raise ValueError(f"{where} is {value}, must be a whole number")
    return int(number)


def _range(where: str, value: Any, low: float, high: float, whole: bool = False) -> tuple[Any, Any]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{where} is {value!r}, must be [least, greatest]")
    read = _whole if whole else _number
    first, last = (read(where, part, low, high) for part in value)  # type: ignore[arg-type]
    if first > last:
        raise ValueError(f"{where} is {value}: the first is greater than the second")
    return first, last


def _size(value: Any) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in str(value).lower().split("x"))
    except ValueError:
        raise ValueError(f"size is {value!r}, must be WIDTHxHEIGHT, for example 160x96") from None
    if not (16 <= width <= 4096 and 16 <= height <= 4096):
        raise ValueError(f"size is {value}: width and height must be 16 to 4096")
    return width, height


def _weights(where: str, value: Any, known: tuple[str, ...]) -> dict[str, float]:
    """Name -> weight above 0; what has weight 0 is left out."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {value!r}, must map names to weights; known names: {', '.join(known)}")
    if unknown := [str(name) for name in value if name not in known]:
        raise ValueError(f"{where} names {', '.join(unknown)}, which is unknown; known: {', '.join(known)}")
    weights = {name: _number(f"{where}.{name}", weight, 0, math.inf) for name, weight in value.items()}
    weights = {name: weight for name, weight in weights.items() if weight > 0}
    if not weights:
        raise ValueError(f"{where} leaves nothing to draw; give one of {', '.join(known)} a weight above 0")
    return weights


def _required(where: str, value: Any, weights: dict[str, float]) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where} is {value!r}, must be a list of names")
    if excluded := [str(name) for name in value if name not in weights]:
        raise ValueError(f"{where} names {', '.join(excluded)}, which has no weight above 0 in this recipe")
    return tuple(value)
