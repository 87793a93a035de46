"""One .glb or .obj file of a user as a closed mesh, or the reason why it is none. Without bpy; needs trimesh.

Only the file itself is ever read: no symbolic link is followed, and no other file that it names (buffers, materials,
textures) is opened. Sizes are limited before anything is unpacked.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.training.render.assets_mesh import Float64, Mesh

Int64 = NDArray[np.int64]

SUFFIXES = (".glb", ".obj")
LARGEST_FILE = 64 << 20
MOST_FACES = 200_000
#: Primitives, and nodes, in a .glb; reading one takes as long as thousands of faces.
MOST_PARTS = 2000
#: Closed surfaces in one file that do not touch.
MOST_SHELLS = 500

#: Vertices nearer than this share of the largest side are one: writers split them where normals or textures change.
_MERGE = 1e-6
_CLOSE_IT = "close it (Blender: Edit Mode, 3D Print Toolbox, Make Manifold)"


class MeshError(ValueError):
    """The file holds no mesh that can be rendered; the message says why and, where there is one, the remedy."""


def read_file(path: Path) -> tuple[bytes, str]:
    """The bytes of a mesh file and their SHA-256 in hexadecimal.

    Raises:
        MeshError: a symbolic link, no regular file, empty, or larger than ``LARGEST_FILE``.
        OSError: it cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise MeshError("a symbolic link, which is not followed; put the file itself here") from error
        raise
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise MeshError("not a regular file")
        if status.st_size > LARGEST_FILE:
            raise MeshError(f"{status.st_size / 2**20:.0f} MiB; at most {LARGEST_FILE >> 20} MiB are read")
        data = file.read(LARGEST_FILE + 1)
    if not data:
        raise MeshError("an empty file")
    return data, hashlib.sha256(data).hexdigest()


def parse_mesh(data: bytes, suffix: str) -> Mesh:
    """The one closed mesh, of one or more shells, that a file's bytes describe, in the file's own axes and unit.

    Materials and textures are not read. Vertices at the same place are merged; a shell that is inside out as a whole
    is turned (with whatever lies within its bounding box, so that cavities stay cavities).

    Args:
        data: of the file.
        suffix: one of ``SUFFIXES``.

    Raises:
        MeshError: damaged, empty, not finite, of no size, of too many faces, or not closed.
        ImportError: trimesh is not installed.
    """
    vertices, triangles = _triangles(data, suffix)
    if not len(triangles):
        raise MeshError("no faces in it")
    used, triangles = np.unique(triangles, return_inverse=True)
    vertices, triangles = vertices[used], triangles.reshape(-1, 3)
    if not np.isfinite(vertices).all():
        raise MeshError(f"{int((~np.isfinite(vertices)).any(axis=1).sum())} vertices are not finite")
    sides = np.ptp(vertices, axis=0)
    if sides.min() <= 1e-4 * sides.max():
        raise MeshError("of no thickness: its sides are {:.3g}, {:.3g} and {:.3g}".format(*sides))
    vertices, triangles = _merged(vertices, triangles, _MERGE * float(sides.max()))
    _check_closed(triangles)
    triangles = _outward(vertices, triangles)
    return Mesh(vertices, np.concatenate([triangles, np.full((len(triangles), 1), -1)], axis=1))


def _triangles(data: bytes, suffix: str) -> tuple[Float64, Int64]:
    """All (V, 3) vertices and (T, 3) faces of a file, its nodes' transforms applied."""
    import trimesh

    if suffix == ".glb":
        _check_header(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Without a resolver nothing but these bytes can be read.
            scene = trimesh.load_scene(
                io.BytesIO(data), file_type=suffix[1:], resolver=None, skip_materials=True, process=False
            )
            faces = sum(
                len(getattr(scene.geometry[scene.graph[n][1]], "faces", ())) for n in scene.graph.nodes_geometry
            )
            _check_count(faces)
            parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh)]
    except MeshError:
        raise
    except Exception as error:  # whatever a parser comes upon in a damaged file
        raise MeshError(f"damaged, cannot be read ({type(error).__name__}: {str(error)[:120]})") from error
    first = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = [np.zeros((0, 3)), *(np.asarray(part.vertices, float) for part in parts)]
    corners = [np.zeros((0, 3), np.int64)]
    for part, start in zip(parts, first, strict=False):
        if len(part.faces) and not 0 <= part.faces.min() <= part.faces.max() < len(part.vertices):
            raise MeshError("damaged: faces that name vertices which do not exist")
        corners.append(np.asarray(part.faces, np.int64) + start)
    return np.concatenate(vertices), np.concatenate(corners)


def _check_count(faces: int) -> None:
    if faces > MOST_FACES:
        raise MeshError(f"{faces} faces; at most {MOST_FACES}: reduce it (Blender: modifier Decimate)")


def _check_header(data: bytes) -> None:
    """Refuse what would make a parser look elsewhere or take memory without end, before it is parsed."""
    head = np.frombuffer(data[:20].ljust(20, b"\0"), "<u4")
    if data[:4] != b"glTF":
        raise MeshError("damaged: it does not begin as a .glb does")
    if head[2] > len(data):
        raise MeshError(f"cut short: {len(data)} of {head[2]} bytes")
    try:
        header: Any = json.loads(data[20 : 20 + int(head[3])])
        named = [entry["uri"] for entry in header.get("buffers", []) if "uri" in entry]
        counts = [int(entry["count"]) for entry in header.get("accessors", [])]
        used = [p for mesh in header.get("meshes", []) for p in mesh["primitives"]]
        corners = sum(counts[p["indices"] if "indices" in p else p["attributes"]["POSITION"]] for p in used)
        required = [name for name in header.get("extensionsRequired", []) if "compression" in name]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise MeshError(f"damaged: its header cannot be read ({type(error).__name__}: {error})") from error
    if outside := [uri for uri in named if not str(uri).startswith("data:")]:
        raise MeshError(f"its data is in another file ({outside[0][:80]!r}), which is not read; export one .glb")
    if required:
        raise MeshError(f"compressed ({required[0]}), which is not read; export it without compression")
    # Strips have more faces than a third of their indices; those are counted once they are unpacked.
    _check_count(corners // 3)
    # A face has at most three vertices of its own, with up to a dozen attributes.
    if sum(counts) > 12 * 6 * MOST_FACES:
        raise MeshError(f"it states {sum(counts)} vertices and indices; at most {MOST_FACES} faces are read")
    for name, number in (("parts", len(used)), ("nodes", len(header.get("nodes", [])))):
        if number > MOST_PARTS:
            raise MeshError(f"{number} {name}; at most {MOST_PARTS}: join them")


def _merged(vertices: Float64, triangles: Int64, distance: float) -> tuple[Float64, Int64]:
    """With vertices at the same place made one; triangles that this makes a line, and unused vertices, are gone."""
    # One integer per vertex: a grid of a million steps along the largest side fits in 21 bits per axis.
    x, y, z = np.round((vertices - vertices.min(0)) / distance).astype(np.int64).T
    _, first, which = np.unique((x << 42) + (y << 21) + z, return_index=True, return_inverse=True)
    triangles = which.reshape(-1)[triangles]
    a, b, c = triangles.T
    triangles = triangles[(a != b) & (b != c) & (c != a)]
    used, triangles = np.unique(triangles, return_inverse=True)
    return vertices[first][used], triangles.reshape(-1, 3).astype(np.int64)


def _check_closed(triangles: Int64) -> None:
    """Raise MeshError unless every edge joins two faces that agree about which side is outside."""
    start, end = triangles.reshape(-1), triangles[:, [1, 2, 0]].reshape(-1)
    edges = np.minimum(start, end) * (triangles.max() + 1) + np.maximum(start, end)
    _, which, count = np.unique(edges, return_inverse=True, return_counts=True)
    if open_edges := int((count == 1).sum()):
        raise MeshError(f"not watertight: {open_edges} of {len(count)} edges have a face on one side only; {_CLOSE_IT}")
    if crowded := int((count > 2).sum()):
        raise MeshError(f"not watertight: {crowded} of {len(count)} edges join more than two faces; {_CLOSE_IT}")
    directions = np.bincount(which.reshape(-1), np.where(start < end, 1, -1))
    if torn := int((directions != 0).sum()):
        raise MeshError(
            f"neighbouring faces disagree at {torn} of {len(count)} edges about which side is outside; make them agree "
            "(Blender: Edit Mode, Mesh, Normals, Recalculate Outside)"
        )


def _outward(vertices: Float64, triangles: Int64) -> Int64:
    """Triangles of the shells that look inward turned; those within a turned shell's bounding box turn along."""
    shell = _shells(len(vertices), triangles)
    count = int(shell.max()) + 1
    if count > MOST_SHELLS:
        raise MeshError(f"{count} separate pieces; at most {MOST_SHELLS}")
    a, b, c = (vertices[triangles[:, i]] - vertices.mean(0) for i in range(3))
    of_triangle = shell[triangles[:, 0]]
    volume = np.bincount(of_triangle, np.einsum("ij,ij->i", a, np.cross(b, c)), count)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, shell, vertices)
    np.maximum.at(high, shell, vertices)
    within = (low[:, None] > low[None]).all(-1) & (high[:, None] < high[None]).all(-1)  # [i, j]: i in the box of j
    outermost = ~np.any(within, axis=1)
    wrong = outermost & (volume < 0)
    turned = wrong | np.any(within & wrong[None], axis=1)
    return np.where(turned[of_triangle][:, None], triangles[:, ::-1], triangles)


def _shells(count: int, triangles: Int64) -> Int64:
    """(V,) number, from 0, of the connected surface that each vertex belongs to."""
    label = np.arange(count)
    while True:
        lowest = label[triangles].min(axis=1)
        following = label.copy()
        for corner in triangles.T:
            np.minimum.at(following, label[corner], lowest)
        following = following[following]
        if np.array_equal(following, label):
            return np.unique(label, return_inverse=True)[1].reshape(-1)
        label = following
