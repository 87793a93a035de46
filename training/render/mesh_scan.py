"""Which files of a folder of the user's meshes can be used, and why the others cannot. No bpy; needs trimesh."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dkt_ros.training.render.assets_mesh import Mesh
from dkt_ros.training.render.mesh_files import SUFFIXES, MeshError, parse_mesh, read_file
from dkt_ros.training.render.mesh_hints import HINTS, UNITS, Hint, read_hints
from dkt_ros.training.render.meshes import MeshFolder, UserMesh, mesh_folder_from_content, placed

#: Metres; the largest side of an object that stands on a table. Settings have room for no larger one.
SMALLEST, LARGEST = 0.01, 0.4

NEEDS_TRIMESH = "reading meshes needs trimesh: make render-env, or pip install trimesh"

#: Formats of meshes that are not read, which are named instead of passed over.
_OTHER_FORMATS = (".gltf", ".fbx", ".stl", ".ply", ".dae", ".usd", ".usdz", ".blend", ".3ds", ".off", ".step")


@dataclass(frozen=True)
class Finding:
    """One file of a folder.

    Attributes:
        name: below the folder.
        flaw: why it is not used, "" if it is.
        mesh: in the file's own axes and unit; None if it could not be read.
        entry: as the recipe gets it; None if it is not used.
        hint: what the hint files say.
    """

    name: str
    flaw: str
    sha256: str = ""
    mesh: Mesh | None = field(default=None, repr=False)
    entry: UserMesh | None = None
    hint: Hint = field(default_factory=Hint)


def meshes_of_recipe(value: Any, beside: Path, materials: Mapping[str, float]) -> MeshFolder:
    """What a recipe's ``objects.meshes`` means: FOLDER, or {folder: FOLDER, weight: NUMBER}, or ``MeshFolder.content``.

    The first two read the folder.

    Args:
        value: from the YAML file.
        beside: relative folders are below this one.
        materials: of the recipe, group -> weight.

    Raises:
        ValueError: none of these; no mesh can be used; no such folder; a hint file is wrong; trimesh is not installed.
    """
    if isinstance(value, dict) and "files" in value:
        return mesh_folder_from_content(value)
    chosen = {"folder": value} if isinstance(value, str) else value
    if not isinstance(chosen, dict) or not isinstance(chosen.get("folder"), str) or set(chosen) - {"folder", "weight"}:
        raise ValueError(f"objects.meshes is {value!r}, must be a folder, or {{folder: FOLDER, weight: NUMBER}}")
    weight = chosen.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < np.inf:
        raise ValueError(f"objects.meshes.weight is {weight!r}, must be a number above 0")
    return _found(beside / chosen["folder"], float(weight), materials)


def scan(folder: Path) -> list[Finding]:
    """Read every mesh below ``folder``, in the order of their names; a bar shows how far it is.

    Raises:
        ValueError: a hint file is wrong.
        FileNotFoundError: no such folder.
        ImportError: trimesh is not installed.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder} with meshes in it")
    hints = read_hints(folder)
    names = sorted(_names(folder))
    findings = [_look_at(folder, name, hints.of) for name in tqdm(names, unit="mesh", disable=None, delay=1)]
    absent = sorted(set(hints.files) - set(names))
    return findings + [Finding(name, f"named in {HINTS}, but there is no such file") for name in absent]


def table(folder: Path, findings: list[Finding]) -> str:
    """Every file of ``findings`` in one line: faces, size and material, or why it is not used."""
    good = [finding for finding in findings if finding.entry]
    wide = max((len(finding.name) for finding in findings), default=4)
    usable = "1 mesh" if len(good) == 1 else f"{len(good)} meshes"
    lines = [f"{folder}: {usable} can be used, {len(findings) - len(good)} cannot"]
    for finding in findings:
        if finding.entry is None or finding.mesh is None:
            lines.append(f"  {finding.name:{wide}}  skipped: {finding.flaw}")
            continue
        low, high = finding.entry.height
        height = f"{low:.3f} m" if low == high else f"{low:.3f} to {high:.3f} m"
        made_of = f"{', '.join(finding.entry.groups)} ({finding.hint.told_by})"
        lines.append(f"  {finding.name:{wide}}  {len(finding.mesh.faces):6d} faces  {height} high  {made_of}")
    return "\n".join(lines)


def _found(folder: Path, weight: float, materials: Mapping[str, float]) -> MeshFolder:
    """What a recipe with these ``materials`` (group -> weight) holds of a folder, which is read for it.

    Raises:
        ValueError: no mesh can be used, trimesh is not installed, there is no such folder, or a hint file is wrong.
    """
    try:
        findings = scan(folder)
    except FileNotFoundError as error:
        raise ValueError(str(error)) from error
    except ImportError as error:
        raise ValueError(NEEDS_TRIMESH) from error
    report = table(folder, findings)
    files = {finding.name: finding.entry for finding in findings if finding.entry is not None}
    unused = [name for name, mesh in files.items() if not any(materials.get(group, 0) > 0 for group in mesh.groups)]
    if unused:
        report += f"\n  the recipe gives no weight to the materials of: {', '.join(unused)}"
    if len(unused) == len(files):
        raise ValueError(f"no mesh that can be used\n{report}")
    return MeshFolder(str(folder.resolve()), weight, files, report)


def _names(folder: Path) -> list[str]:
    """Of all files that look like meshes, links included, below a folder; folders that are links are not entered."""
    names: list[str] = []
    for at, folders, files in os.walk(folder, followlinks=False):
        here = Path(at)
        wanted = [file for file in files if Path(file).suffix.lower() in (*SUFFIXES, *_OTHER_FORMATS)]
        links = [name for name in folders if (here / name).is_symlink()]
        names += [(here / name).relative_to(folder).as_posix() for name in (*wanted, *links) if name[0] != "."]
    return names


def _look_at(folder: Path, name: str, hint_of: Callable[[str, str], Hint]) -> Finding:
    path = folder / name
    suffix = path.suffix.lower()
    try:
        if suffix not in SUFFIXES and not path.is_symlink():
            raise MeshError(f"a {suffix}, which is not read; export it as .glb")
        data, sha256 = read_file(path)
        mesh = parse_mesh(data, suffix)
    except (MeshError, OSError) as error:
        return Finding(name, str(error))
    hint = hint_of(name, sha256)
    try:
        return Finding(name, "", sha256, mesh, _entry(mesh, sha256, hint), hint)
    except MeshError as error:
        return Finding(name, str(error), sha256, mesh, None, hint)


def _entry(mesh: Mesh, sha256: str, hint: Hint) -> UserMesh:
    """The mesh as the recipe gets it, or MeshError."""
    if not hint.groups:
        raise MeshError(f"nothing says what it is made of: give it a material in {HINTS}, or run filter")
    sides = np.ptp(mesh.vertices, axis=0)
    tall = float(sides["xyz".index(hint.up[-1])])
    heights = hint.height or (tall * hint.unit, tall * hint.unit)
    for height in heights:
        largest = float(sides.max()) * height / tall
        if not SMALLEST <= largest <= LARGEST:
            fitting = [name for name, unit in UNITS.items() if SMALLEST <= sides.max() * unit <= LARGEST]
            remedy = f"height: METRES or unit: {' or '.join(fitting)}" if fitting else "height: METRES"
            raise MeshError(
                f"{largest:.4g} m across, must be {SMALLEST} to {LARGEST}; say how large it is in {HINTS} ({remedy})"
            )
    if flaw := placed(mesh, hint.up, heights[0]).flaw():  # at its smallest it may be thinner than anything can be
        raise MeshError(flaw)
    return UserMesh(sha256, hint.groups, heights, hint.up, hint.weight)
