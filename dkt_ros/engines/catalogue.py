"""The published models that this project runs: what they are for, where they come from, under which licence. No torch.

Sizes, names and licences are from the papers' code and pages. Nobody opened these files here, hence "about" and
"believed"; ``dkt models fetch`` shows what the hub says before it downloads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: sha256 of published files, and what they are.
KNOWN_SHA256 = {
    "63079861484dfd6397a04f6327a0e20bbcee95ff1440cb7e61a83be2ecc6d854": "dvd_1.1.safetensors (DVD v1.1) as published",
    "04766eac0221b5390b985ae3fdcca652cbb4b1e8b82b28ea7ff89dfad1b1a93f": "taew2_1.safetensors as published",
}


@dataclass(frozen=True)
class Source:
    """Files of one repository on the Hugging Face hub.

    Attributes:
        repository: "owner/name".
        files: patterns of paths in it; each must match one file (or the shards of one). ``*`` does not match a slash.
        licence: of these files.
        folder: where they go, below the user's folder, with their paths.
        optional: patterns that need not match.
        revision: the commit; empty where none is known to us, then the newest is taken and noted.
    """

    repository: str
    files: tuple[str, ...]
    licence: str
    folder: str = ""
    optional: tuple[str, ...] = ()
    revision: str = ""


@dataclass(frozen=True)
class Model:
    """One thing that a user can ask for.

    Attributes:
        name: as in ``dkt models fetch NAME``.
        engine: as in ``--engine``; empty for what is only a part.
        words: what it is for.
        size: of the download, in words; what the facts give for bfloat16, or for float32 where that is stored.
        run: how it is run; {} is the folder.
        holds: names of the layouts (see ``Layout.name``) that a folder with all of it has; those of DKT for normals lie
            in the subfolder ``normal`` and are written with it.
        sources: what is downloaded.
        by_hand: parts that are not downloaded, and the command or the words for each; {} is the user's folder.
    """

    name: str
    engine: str
    words: str
    size: str
    run: str
    holds: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    by_hand: tuple[tuple[str, str], ...] = ()

    @property
    def licences(self) -> tuple[str, ...]:
        """Of all its files, each once; the bundled model's is this project's."""
        return tuple(dict.fromkeys(source.licence for source in self.sources)) or ("Apache-2.0",)

    @property
    def pinned(self) -> bool:
        """Whether every repository is fetched at a commit that is known here."""
        return all(source.revision for source in self.sources)


_BELIEVED = "Apache-2.0 (believed)"
_NON_COMMERCIAL = "CC BY-NC 4.0: no commercial use, and the authors must be named"

# Commits that others' code and logs name for these repositories; the hub says if one is not there.
_DVD_COMMIT = "769534dec2d77f8da3667719568fbe57fe69cd9b"
_WAN_COMMIT = "37ec512624d61f7aa208f7ea8140a131f93afc9a"
_WAN_DIFFUSERS_COMMIT = "0fad780a534b6463e45facd96134c9f345acfa5b"
_FUN_1_3B_COMMIT = "ce96ebd52b1134d2c8a903ceb491ab27aa1e5b7c"
_CLIP_COMMIT = "1c2b8495b28150b8a4922ee1c8edee224c284c0c"

_CODEC = Source(
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    ("vae/diffusion_pytorch_model.safetensors",),
    _BELIEVED,
    optional=("vae/config.json",),
    revision=_WAN_DIFFUSERS_COMMIT,
)


def _base(size: str, revision: str = "") -> Source:
    return Source(
        f"alibaba-pai/Wan2.1-Fun-{size}-Control",
        ("diffusion_pytorch_model*.safetensors",),
        _BELIEVED,
        folder="base",
        optional=("config.json", "diffusion_pytorch_model*.index.json"),
        revision=revision,
    )


def _lora(repository: str, folder: str) -> Source:
    return Source(f"Daniellesry/{repository}", ("*.safetensors",), _BELIEVED, folder=folder)


def _dvd(file: str) -> tuple[Source]:
    return (Source("FayeHongfeiZhang/DVD", (file, "model_config.yaml"), _NON_COMMERCIAL, revision=_DVD_COMMIT),)


def _embed(text: str, file: str) -> str:
    return (
        f"dkt models embed-prompt --text {text} --encoder TEXT_ENCODER --out {{}}/{file}   (once; for the encoder: "
        "dkt models fetch text-encoder --out TEXT_ENCODER)"
    )


#: Parts that DKT's models of all sizes share.
_OF_ALL_SIZES = ("wan2.1-codec", "prompt-depth", "normal/prompt-normal")
_DEPTH = ("prompt-depth", _embed("depth", "prompt.safetensors"))
_NORMAL = ("normal/prompt-normal", _embed("normal", "normal/prompt.safetensors"))
_RUN = "dkt run INPUT --engine {} --weights {{}} --out OUT"
_PICKLES = (
    "denoising_unet.pth, reference_unet.pth and mapping_layer.pth of Johanan0528/DepthLab (Apache-2.0) are pickles and "
    "not fetched: if you trust them, download them into {} yourself; 'dkt models verify {}' then prints the command "
    "that converts each"
)

MODELS = (
    Model(
        name="nano",
        engine="nano",
        words="the bundled model: metres and normals; small, a start and not the quality this is for",
        size="8 MB, bundled",
        run="dkt run INPUT --out OUT",
    ),
    Model(
        name="dkt-depth-1.3b",
        engine="dkt",
        words="relative depth of glass, clear plastic and metal in video",
        size="about 4 GB",
        run=_RUN.format("dkt"),
        holds=("wan2.1-fun-control-1.3b", "wan2.1-codec", "dkt-lora-1.3b", "prompt-depth"),
        sources=(_base("1.3B", _FUN_1_3B_COMMIT), _CODEC, _lora("DKT-Depth-1-3B-v1.1", "lora")),
        by_hand=(_DEPTH,),
    ),
    Model(
        name="dkt-depth-14b",
        engine="dkt",
        words="the same with ten times the size; better",
        size="about 33 GB, and the LoRA",
        run=_RUN.format("dkt"),
        holds=("wan2.1-fun-control-14b", "wan2.1-codec", "dkt-lora-14b", "prompt-depth"),
        sources=(_base("14B"), _CODEC, _lora("DKT-Depth-14B", "lora")),
        by_hand=(_DEPTH,),
    ),
    Model(
        name="dkt-normal-14b",
        engine="dkt",
        words="dkt-depth-14b and its normals",
        size="about 33 GB, and two LoRAs",
        run=_RUN.format("dkt"),
        holds=(
            *("wan2.1-fun-control-14b", "wan2.1-codec", "dkt-lora-14b", "prompt-depth"),
            *("normal/dkt-lora-14b", "normal/prompt-normal"),
        ),
        sources=(_base("14B"), _CODEC, _lora("DKT-Depth-14B", "lora"), _lora("DKT-Normal-14B", "normal")),
        by_hand=(_DEPTH, _NORMAL),
    ),
    Model(
        name="dvd-1.1",
        engine="dvd",
        words="relative depth of any video in one pass; steadier on reflections than 1.0",
        size="about 4.5 GB",
        run=_RUN.format("dvd"),
        holds=("dvd",),
        sources=_dvd("dvd_1.1.safetensors"),
    ),
    Model(
        name="dvd-1.0",
        engine="dvd",
        words="the version that DVD's paper measured",
        size="about 4.5 GB",
        run=_RUN.format("dvd"),
        holds=("dvd",),
        sources=_dvd("model.safetensors"),
    ),
    Model(
        name="depthlab",
        engine="depthlab",
        words="completes sensor depth, picture by picture; slow",
        size="about 9.8 GB, 6.9 of it by hand",
        run=_RUN.format("depthlab"),
        holds=("depthlab-denoiser", "depthlab-reference", "depthlab-mapping", "autoencoder-kl", "clip-vision"),
        sources=(
            Source(
                "prs-eth/marigold-depth-v1-0",
                ("vae/diffusion_pytorch_model.safetensors",),
                "Apache-2.0 over the OpenRAIL terms of Stable Diffusion 2 (believed)",
                optional=("vae/config.json",),
            ),
            Source(
                "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
                ("model.safetensors",),
                "MIT (believed)",
                folder="image_encoder",
                optional=("config.json",),
                revision=_CLIP_COMMIT,
            ),
        ),
        by_hand=tuple((f"depthlab-{part}", _PICKLES) for part in ("denoiser", "reference", "mapping")),
    ),
    Model(
        name="wan-vae",
        engine="",
        words="the video codec alone: part of DKT, and of DVD files without one",
        size="about 0.25 to 0.5 GB",
        run="",
        holds=("wan2.1-codec",),
        sources=(_CODEC,),
    ),
    Model(
        name="tiny-vae",
        engine="",
        words="a small decoder in its place, for dkt and dvd: fetch it into their folder; made by madebyollin/taehv, "
        "mirrored at OzzyGT/taew2_1",
        size="about 23 MB",
        run="dkt run INPUT --engine dvd --vae tiny --weights {} --out OUT",
        holds=("taew2_1",),
        sources=(Source("OzzyGT/taew2_1", ("taew2_1.safetensors",), "MIT (as its page says)"),),
    ),
    Model(
        name="text-encoder",
        engine="",
        words="makes a prompt's embedding for DKT, once; not needed to run",
        size="about 11 GB, or twice that",
        run="dkt models embed-prompt --text depth --encoder {} --out prompt.safetensors",
        holds=("umt5",),
        sources=(
            Source(
                "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
                ("text_encoder/model*.safetensors", "text_encoder/config.json"),
                _BELIEVED,
                optional=("text_encoder/model.safetensors.index.json",),
                revision=_WAN_DIFFUSERS_COMMIT,
            ),
            Source(
                "Wan-AI/Wan2.1-T2V-1.3B",
                ("google/umt5-xxl/*.json",),
                _BELIEVED,
                optional=("google/umt5-xxl/spiece.model",),
                revision=_WAN_COMMIT,
            ),
        ),
    ),
)


def model_named(name: str) -> Model:
    """The model of that name.

    Raises:
        ValueError: there is none; the text lists them.
    """
    for model in MODELS:
        if model.name == name:
            return model
    raise ValueError(f"{name!r}: no such model; one of {', '.join(model.name for model in MODELS)}")


def missing_parts(model: Model, names: Iterable[str]) -> list[str]:
    """Which parts of ``model`` are not among the layouts ``names``, in its own order."""
    found = set(names)
    return [part for part in model.holds if part not in found and not (part == "umt5" and "umt5-transformers" in found)]


def is_begun(model: Model, names: Iterable[str]) -> bool:
    """Whether the layouts ``names`` have a part of ``model`` that tells it from models of other sizes."""
    telling = {part for part in model.holds if part not in _OF_ALL_SIZES} or {*model.holds}
    return bool(telling & {*names})


def belongs_to(name: str) -> list[str]:
    """Names of the models for an engine that the layout ``name`` is a part of."""
    parts = (name, f"normal/{name}")
    return [model.name for model in MODELS if model.engine and any(part in model.holds for part in parts)]


def next_steps(model: Model, names: Iterable[str], folder: Path) -> list[str]:
    """Commands, or words, that bring what is missing of ``model`` into ``folder``, where the layouts ``names`` are.

    Where they lie elsewhere than ``fetch`` would put them, and so would come a second time, it is another folder.
    """
    by_hand, missing = dict(model.by_hand), missing_parts(model, names)
    place, why, fetched = str(folder), "", []
    if any(part not in by_hand for part in missing):
        here = [part for part in model.holds if part not in missing and part not in by_hand]
        if len(here) > sum(_is_in_place(source, folder) for source in model.sources):
            place, why = "NEW_FOLDER", f"   (in {folder} its parts lie elsewhere than 'fetch' puts them)"
        fetched = [f"dkt models fetch {model.name} --out {place}{why}"]
    return list(dict.fromkeys([*fetched, *(by_hand[part].format(place, place) for part in missing if part in by_hand)]))


def _is_in_place(source: Source, folder: Path) -> bool:
    return all(any((folder / source.folder).glob(pattern)) for pattern in source.files)
