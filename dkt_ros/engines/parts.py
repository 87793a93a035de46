"""Which files of a folder are the parts that an engine asks for. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dkt_ros.engines.beside import attention_heads, config_beside, denoise_step
from dkt_ros.engines.headers import (
    CheckpointError,
    conversion_command,
    converted,
    is_pickle_name,
    read_header,
    refuse_absent,
)
from dkt_ros.engines.layouts import Layout, identify
from dkt_ros.engines.lora import check_base, check_widened, read_lora, split_widened

#: Where weights are: a file or a folder, or several.
Places = Path | str | Sequence[Path]

#: A subfolder of this name holds DKT's parts for normals, and is looked into only when it is asked for itself.
NORMALS_FOLDER = "normal"

#: Bases, and the adapters that are made for them.
_ADAPTERS = {
    "transformer": ("lora", "normal lora", "dkt completion"),
    "dvd": ("dvd lora", "dvd completion"),
    "plain transformer": ("dvd lora", "dvd completion"),
}

#: Between the latents of DepthLab's image VAE and its networks' units.
LATENT_SCALE = 0.18215

#: What each part is published as, how it is got, and a word in the published name of its pickle.
_SOURCES = {
    "transformer": (
        "diffusion_pytorch_model.safetensors of alibaba-pai/Wan2.1-Fun-1.3B-Control (or 14B)",
        "'dkt models fetch dkt-depth-1.3b --out DIR' (or dkt-depth-14b)",
        "dit",
    ),
    "codec": (
        "Wan2.1_VAE of Wan-AI/Wan2.1-T2V-1.3B, as safetensors",
        "'dkt models fetch wan-vae --out DIR'",
        "vae",
    ),
    "lora": (
        "the LoRA of Daniellesry/DKT-Depth-1-3B-v1.1 (or DKT-Depth-14B, DKT-Normal-14B)",
        "'dkt models fetch dkt-depth-1.3b --out DIR' (or dkt-depth-14b, dkt-normal-14b)",
        "lora",
    ),
    "prompt": (
        "the embedding of the word depth (in normal/: normal)",
        "'dkt models embed-prompt --text depth --encoder TEXT_ENCODER --out DIR/prompt.safetensors'",
        "prompt",
    ),
    "dvd": (
        "dvd_1.1.safetensors or model.safetensors of FayeHongfeiZhang/DVD",
        "'dkt models fetch dvd-1.1 --out DIR' (or dvd-1.0)",
        "dvd",
    ),
    "tiny codec": (
        "taew2_1.safetensors, made by madebyollin/taehv, mirrored at OzzyGT/taew2_1",
        "'dkt models fetch tiny-vae --out DIR'",
        "taew2_1",
    ),
    "depthlab denoiser": ("denoising_unet.pth of Johanan0528/DepthLab, converted", "", "denoising"),
    "depthlab reference": ("reference_unet.pth of Johanan0528/DepthLab, converted", "", "reference"),
    "depthlab mapping": ("mapping_layer.pth of Johanan0528/DepthLab, converted", "", "mapping"),
    "image vae": (
        "vae/diffusion_pytorch_model.safetensors of prs-eth/marigold-depth-v1-0",
        "'dkt models fetch depthlab --out DIR'",
        "vae",
    ),
    "image encoder": (
        "model.safetensors of laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        "'dkt models fetch depthlab --out DIR'",
        "clip",
    ),
    "text encoder": ("UMT5-XXL of Wan-AI/Wan2.1-T2V-1.3B", "'dkt models fetch text-encoder --out DIR'", "t5"),
    "completion": ("what 'dkt train' wrote", "", "weights"),
}


def find_parts(path: Places, *roles: str, optional: Sequence[str] = ()) -> dict[str, list[Path]]:
    """The file of each role among the weights at ``path``, judged by what the files hold and not by their names.

    Args:
        path: a folder, searched with its subfolders (hidden ones and ``normal/`` are left out), or one file; or several
            of them: a part is taken from the last that has it, so that what training wrote comes after its base.
        roles: as in ``Layout.role``; all must be there.
        optional: roles that may be missing.

    Returns:
        For each role a list of one path, as ``read_header`` takes it (a set of shards is its index or first shard); for
        an optional role that is missing, an empty list.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        CheckpointError: a part is missing (the text says where it comes from, and how to convert a pickle that may be
            it), has several candidates, is of no use here, or does not belong to the others or to the configuration
            beside it; or a file is damaged.
    """
    where = places(path)
    found: dict[str, list[tuple[Path, Path, Layout]]] = {}
    for place in where:
        for file in weight_files(place):
            layout = identify(file)
            found.setdefault(layout.role, []).append((place, file, layout))
    parts: dict[str, list[Path]] = {}
    missing = []
    for role in (*roles, *optional):
        given = found.get(role, [])
        last = next((place for place, _, layout in reversed(given) if not layout.refusal), None)
        fit = [file for place, file, layout in given if not layout.refusal and place == last]
        refused = [layout.refusal for _, _, layout in given if layout.refusal]
        if last and len(fit) > 1:
            names = ", ".join(str(file.relative_to(last)) for file in fit)
            remedy = "or give the file itself"
            if len(roles) > 1:
                remedy = f"and put what is for normals into {NORMALS_FOLDER}/" if role in ("lora", "prompt") else ""
            raise CheckpointError(f"{last}: {len(fit)} candidates for the {role}: {names}; leave one {remedy}".rstrip())
        if refused and not fit:
            raise CheckpointError(refused[0])
        if not fit and role in roles:
            missing.append(role)
        parts[role] = fit
    refuse_mixture(parts)
    if missing:
        others = [
            layout.refusal if layout.name == "damaged" else f"{file.name} is {layout.in_words}"
            for files in found.values()
            for _, file, layout in files
        ]
        raise CheckpointError(_missing(where, missing[0], others, len(roles) > 1))
    return parts


def places(path: Places) -> list[Path]:
    """One or more files and folders as a list."""
    return [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]


def weight_files(path: Path | str) -> list[Path]:
    """The weights at ``path``: itself if it is a file, else each file or set of shards in the folder, sorted.

    Pickles are left out. Nothing is opened but indices of shards.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        CheckpointError: no weights in the folder, not even pickles; or an index is damaged.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    refuse_absent(path)
    everything = _below(path)
    files = [file for file in everything if file.name.endswith(".safetensors")]
    if not files and not any(is_pickle_name(file) for file in everything):
        raise CheckpointError(
            f"{path}: holds no weight files (*.safetensors); see 'dkt models list', and get them with "
            f"'dkt models fetch NAME --out {path}'"
        )
    indices = [file for file in everything if file.name.endswith(".safetensors.index.json")]
    shards: set[Path] = set()
    for index in indices:
        shards.update(read_header(index).files)
    for file in files:
        if file not in shards and "-of-" in file.name:
            shards.update(read_header(file).files[1:])
    return sorted([*indices, *(file for file in files if file not in shards)])


def pickles(path: Path | str) -> list[Path]:
    """Files below a folder that are pickles by their names; nothing is opened."""
    path = Path(path)
    return [file for file in _below(path) if is_pickle_name(file)] if path.is_dir() else []


def refuse_mixture(parts: dict[str, list[Path]]) -> None:
    """Raise CheckpointError if files, by role, do not belong to one another or to the configuration beside them."""
    for file in parts.get("dvd", []):
        attention_heads(read_header(file), identify(file).sizes["dim"])
        denoise_step(file.with_name("model_config.yaml"))
    _refuse_mixed_depthlab(parts)
    for role, adapters in _ADAPTERS.items():
        for base in parts.get(role, []):
            sizes = identify(base).sizes
            attention_heads(read_header(base), sizes["dim"])
            for file in (file for adapter in adapters for file in parts.get(adapter, [])):
                kept, first = split_widened(read_header(file).shapes)
                check_base(read_lora(kept, file), sizes, file, base)
                if first:
                    check_widened(first, sizes, file, base)
    for base in parts.get("transformer", []):
        width = identify(base).sizes["text_dim"]
        for file in parts.get("prompt", []):
            found = identify(file).sizes["text_dim"]
            if found != width:
                raise CheckpointError(
                    f"{file}: rows of {found} values, but {base} takes text of {width}; embed the prompt again"
                )


def _refuse_mixed_depthlab(parts: dict[str, list[Path]]) -> None:
    for file in parts.get("image vae", []):
        scale = config_beside(read_header(file)).get("scaling_factor", LATENT_SCALE)
        if scale != LATENT_SCALE:  # no shape tells Stable Diffusion XL's apart
            raise CheckpointError(
                f"{file}: by its config.json the image VAE of another model (scaling_factor {scale}, DepthLab's is "
                f"{LATENT_SCALE}); give {_SOURCES['image vae'][0]}"
            )
    sizes = {role: identify(files[0]).sizes for role, files in parts.items() if files}
    denoiser, reference = sizes.get("depthlab denoiser"), sizes.get("depthlab reference")
    mapping, encoder = sizes.get("depthlab mapping"), sizes.get("image encoder")
    if not (denoiser and reference and mapping and encoder):
        return
    widths = (reference["token"], mapping["width"], encoder["projection"])
    if denoiser["widths"] != reference["widths"] or {*widths} != {denoiser["token"]}:
        raise CheckpointError(
            f"{parts['depthlab denoiser'][0].parent}: mixed sizes: UNets of {denoiser['widths']} and "
            f"{reference['widths']}; tokens of {denoiser['token']}, {widths[0]}, mapped from {widths[1]}, and the "
            f"image encoder gives {widths[2]}; take all parts of one model"
        )


def _below(folder: Path) -> list[Path]:
    files = []
    for file in folder.rglob("*"):
        inside = file.relative_to(folder).parts
        if inside[0] != NORMALS_FOLDER and not any(part.startswith(".") for part in inside) and file.is_file():
            files.append(file)
    return sorted(files)


def _missing(where: Sequence[Path], role: str, others: list[str], several: bool) -> str:
    source, fetched, word = _SOURCES.get(role, ("the published file", "", role))
    path = " and ".join(map(str, where))
    text = f"{path}: it lacks the {role}: {source}{f'; {fetched}' if fetched else ''}"
    if several and len(where) == 1 and where[0].is_file():
        text += ". Give the folder that holds all parts, not one file"
    refused = [file for place in where for file in pickles(place) if not converted(file)]
    likely = [file for file in refused if word in file.name.lower()] or refused
    if likely:
        text += f". Pickles are not read; if it is {likely[0].name}, convert it: {conversion_command(likely[0])}"
    return text + (f". Found: {'; '.join(others)}" if others else "")
