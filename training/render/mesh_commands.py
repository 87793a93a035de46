"""``meshes`` and ``filter``: what of a folder of the user's meshes can be rendered, and of what it is in life."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

MESHES = """
Read every .glb and .obj below a folder as `dataset` would, and print which can be used and why the others cannot.

A recipe takes the folder by `objects: {meshes: {folder: DIR, weight: 3}}`; the weight is against the families'.
"""

MESHES_END = """
A mesh must be closed (every edge joins two faces) whatever it is made of: a hole makes nonsense of refraction, and a
sheet without thickness has no inside. One file is one object of one material. At most 64 MiB and 200000 faces.

DIR/hints.yaml says what they are made of and how large they are:
  default: {material: glass, height: [0.08, 0.16]}
  files:
    cup.glb: {material: [clear_glass, tinted_glass]}
    pan.obj: {material: metal, unit: mm, up: z, weight: 2}

material: glass, plastic (transparent), metal, ceramic, ordinary, or a material group of the recipes, or a list
height:   metres from foot to top, or [least, greatest]; otherwise the file's numbers count in
unit:     m (unless said otherwise), cm, mm, in
up:       the file's axis that points up: y (unless said otherwise), x, z, -x, -y, -z
weight:   how often it is drawn, against the other meshes (1)

exit status: 0 all can be used, 1 some cannot, 2 none can, or the hints are wrong
"""

FILTER = """
Ask a vision-language model what each mesh is made of in life, from four grey views of it.

The answers go into DIR/hints.model.yaml. A material under a file's name in hints.yaml counts more, and such a file is
not asked about; the default in hints.yaml counts less. An answer that is none of the words asked for is counted and
left out.
"""

FILTER_END = """
examples:
  ... filter my_meshes --model models/vlm                                a folder with a model in transformers' layout
  ... filter my_meshes --model OWNER/NAME --fetch models/vlm             from the Hugging Face hub; asks first
  ... filter my_meshes --model models/vlm --overwrite                    ask again about all

Nothing is downloaded without --fetch. No code that comes with a model runs, and no pickle is read. Needs
pip install 'dkt_ros[vlm]'; an interrupted filter goes on where it stopped.

exit status: 0 every mesh asked about has an answer, 1 some have not, 2 cannot work at all, 130 stopped by Ctrl-C
"""


def add_commands(commands: Any) -> None:
    """Both, to the subparsers of ``python -m dkt_ros.training.render``; ``run`` is what to call with the options."""
    raw = argparse.RawDescriptionHelpFormatter
    p = commands.add_parser(
        "meshes", help="which of your own meshes can be rendered", formatter_class=raw, description=MESHES,
        epilog=MESHES_END,
    )  # fmt: skip
    p.add_argument("folder", type=Path, metavar="DIR", help="with .glb and .obj files, folders in it included")
    p.add_argument("--picture", type=Path, metavar="FILE", help="draw those that can be read into a .png")
    p.set_defaults(run=meshes)
    p = commands.add_parser(
        "filter", help="ask a vision-language model what they are made of", formatter_class=raw, description=FILTER,
        epilog=FILTER_END,
    )  # fmt: skip
    p.add_argument("folder", type=Path, metavar="DIR", help="with .glb and .obj files, folders in it included")
    p.add_argument("--model", required=True, metavar="FOLDER", help="of a model; a hub's OWNER/NAME with --fetch")
    p.add_argument("--fetch", type=Path, metavar="INTO", help="download the model into this folder first")
    p.add_argument("--yes", action="store_true", help="with --fetch: do not ask")
    p.add_argument("--device", default="", metavar="NAME", help="of torch (default: the GPU where there is one)")
    p.add_argument("--overwrite", action="store_true", help="ask again about meshes that have an answer")
    p.set_defaults(run=filter_meshes)


def meshes(options: argparse.Namespace) -> int:
    """Print the table; returns the exit status."""
    from dkt_ros.training.render.mesh_scan import NEEDS_TRIMESH, scan, table

    try:
        findings = scan(options.folder)
    except (ValueError, OSError) as error:
        return _say(error)
    except ImportError:
        return _say(NEEDS_TRIMESH)
    print(table(options.folder, findings))
    if options.picture:
        _draw(options.picture, findings)
    good = sum(finding.entry is not None for finding in findings)
    if not good:
        return _say(f"{options.folder}: no mesh that can be used")
    return 0 if good == len(findings) else 1


def filter_meshes(options: argparse.Namespace) -> int:
    """Ask, write the answers, print what came of it; returns the exit status."""
    from dkt_ros.training.render import vlm
    from dkt_ros.training.render.mesh_hints import read_hints
    from dkt_ros.training.render.mesh_scan import NEEDS_TRIMESH, scan

    def keep(answers: dict[str, tuple[str, str]]) -> None:
        vlm.write_answers(options.folder, options.model, answers)

    try:
        hints, findings = read_hints(options.folder), scan(options.folder)
        if not any(finding.mesh is not None for finding in findings):
            return _say(f"{options.folder}: no mesh that can be read; `meshes {options.folder}` says why")
        ask = vlm.load_model(_model_folder(options), options.device)
        verdicts = vlm.judge(findings, hints, ask, options.overwrite, keep)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        return _say(error)
    except ImportError:
        return _say(NEEDS_TRIMESH)
    print(f"{options.folder}: {verdicts}")
    return 1 if verdicts.unparsable else 0


def _say(problem: object) -> int:
    print(problem, file=sys.stderr)
    return 2


def _draw(path: Path, findings: list[Any]) -> None:
    """All readable meshes side by side, in the order of the table, six in a row."""
    import cv2
    import numpy as np

    from dkt_ros.files import written_whole
    from dkt_ros.training.render.mesh_preview import preview
    from dkt_ros.training.render.meshes import placed

    pictures = []
    for finding in findings:
        if finding.mesh is not None:
            picture = preview(placed(finding.mesh, finding.hint.up, 1.0), 96)
            cv2.putText(picture, finding.name[-30:], (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 0, 0), 1, cv2.LINE_AA)
            pictures.append(picture)
    if not pictures:
        return
    wide = min(6, len(pictures))
    pictures += [np.full_like(pictures[0], 250)] * (-len(pictures) % wide)
    rows = [np.concatenate(pictures[i : i + wide], 1) for i in range(0, len(pictures), wide)]
    with written_whole(path.with_suffix(".png")) as temporary:
        cv2.imwrite(str(temporary), np.concatenate(rows))


def _model_folder(options: argparse.Namespace) -> Path:
    """Where the model is; fetched, if that was asked for.

    Raises:
        ModelError: there is none.
    """
    from dkt_ros.training.render.vlm import ModelError

    if options.fetch is None:
        if Path(options.model).is_dir():
            return Path(options.model)
        remedy = "; to download it from the hub: --fetch INTO_FOLDER" if _is_hub_name(options.model) else ""
        raise ModelError(f"no folder {options.model} with a model in it{remedy}")
    if not _is_hub_name(options.model):
        raise ModelError(f"--fetch needs the hub's name of a model, OWNER/NAME, not {options.model}")
    _fetch(options.model, options.fetch, options.yes)
    return Path(options.fetch)


def _is_hub_name(name: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None


def _fetch(name: str, into: Path, yes: bool) -> None:
    """Say size and licence, ask, download; what is there already is not fetched again."""
    from dkt_ros.engines.catalogue import Model, Source
    from dkt_ros.engines.fetching import FetchError, download, make_plan
    from dkt_ros.training.render.vlm import ModelError

    source = Source(name, ("*.safetensors", "*.json"), "", optional=("*.txt", "*.model", "*.jinja"))
    try:
        plan = make_plan(Model(name, "", "", "", "", sources=(source,)), into)
        licence = plan.said.get(name) or "none stated"
        print(f"{name} at {plan.commits[name]}: {plan.size / 1e9:.2f} GB, licence: {licence}", file=sys.stderr)
        if plan.missing and not yes:
            question = f"Download {plan.missing / 1e9:.2f} GB into {into}? [y/N] "
            if not sys.stdin.isatty():
                raise ModelError(
                    "not confirmed, and this is no terminal to ask on: add --yes to accept licence and size"
                )
            if input(question).strip().lower() not in ("y", "yes"):
                raise ModelError("nothing downloaded")
        download(plan)
    except FetchError as error:
        raise ModelError(str(error)) from error
