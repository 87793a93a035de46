"""The published models that this project runs: what they are for, where they come from, under which licence. No torch.

Sizes, names and licences are from the papers' code and pages. Nobody opened these files here, hence "about" and
"believed"; ``dkt models fetch`` shows what the hub says before it downloads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dkt_ros.engines.other_layouts import TAEW2_1_SHA256
from dkt_ros.engines.wan_layouts import DVD_V1_1_SHA256

#: sha256 of published files, and what they are.
KNOWN_SHA256 = {
    DVD_V1_1_SHA256: "dvd_1.1.safetensors (DVD v1.1) as published",
    TAEW2_1_SHA256: "taew2_1.safetensors as published",
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
        holds: names of the layouts (see ``Layout.name``) that a folder with all of it has; those of DKT for normals lie
            in the subfolder ``normal`` and are written with it.
        sources: what is downloaded.
        by_hand: what the user must do after it.
        run: how it is run, without the options every command has; {} is the folder.
    """

    name: str
    engine: str
    words: str
    size: str
    holds: tuple[str, ...]
    sources: tuple[Source, ...]
    by_hand: tuple[str, ...]
    run: str

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
        f"the embedding of the prompt {text!r}, once (fetch 'text-encoder' for it): "
        f"dkt models embed-prompt --text {text} --encoder TEXT_ENCODER --out {{}}/{file}"
    )


MODELS = (
    Model(
        "nano",
        "nano",
        "the bundled model: metres, normals; small, a start and not the quality this is for",
        "8 MB, bundled",
        (),
        (),
        (),
        "dkt run INPUT --out OUT",
    ),
    Model(
        "dkt-depth-1.3b",
        "dkt",
        "relative depth of glass, clear plastic and metal in video",
        "about 4 GB",
        ("wan2.1-fun-control-1.3b", "wan2.1-codec", "dkt-lora-1.3b", "prompt-depth"),
        (_base("1.3B", _FUN_1_3B_COMMIT), _CODEC, _lora("DKT-Depth-1-3B-v1.1", "lora")),
        (_embed("depth", "prompt.safetensors"),),
        "dkt run INPUT --engine dkt --weights {} --out OUT",
    ),
    Model(
        "dkt-depth-14b",
        "dkt",
        "the same, ten times the size, better",
        "about 33 GB, and the LoRA",
        ("wan2.1-fun-control-14b", "wan2.1-codec", "dkt-lora-14b", "prompt-depth"),
        (_base("14B"), _CODEC, _lora("DKT-Depth-14B", "lora")),
        (_embed("depth", "prompt.safetensors"),),
        "dkt run INPUT --engine dkt --weights {} --out OUT",
    ),
    Model(
        "dkt-normal-14b",
        "dkt",
        "normals, beside dkt-depth-14b: fetch both into one folder",
        "as dkt-depth-14b, which it shares but for the LoRA",
        ("wan2.1-fun-control-14b", "wan2.1-codec", "normal/dkt-lora-14b", "normal/prompt-normal"),
        (_base("14B"), _CODEC, _lora("DKT-Normal-14B", "normal")),
        (
            _embed("normal", "normal/prompt.safetensors"),
            "depth too, into the same folder (the engine needs both): dkt models fetch dkt-depth-14b --out {}",
        ),
        "dkt run INPUT --engine dkt --weights {} --out OUT",
    ),
    Model(
        "dvd-1.1",
        "dvd",
        "relative depth of any video in one pass; steadier on reflections than 1.0",
        "about 4.5 GB",
        ("dvd",),
        _dvd("dvd_1.1.safetensors"),
        (),
        "dkt run INPUT --engine dvd --weights {} --out OUT",
    ),
    Model(
        "dvd-1.0",
        "dvd",
        "the version that DVD's paper measured",
        "about 4.5 GB",
        ("dvd",),
        _dvd("model.safetensors"),
        (),
        "dkt run INPUT --engine dvd --weights {} --out OUT",
    ),
    Model(
        "depthlab",
        "depthlab",
        "completes sensor depth, picture by picture; slow",
        "about 9.8 GB, 6.9 of it by hand",
        ("depthlab-denoiser", "depthlab-reference", "depthlab-mapping", "autoencoder-kl", "clip-vision"),
        (
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
        (
            "denoising_unet.pth, reference_unet.pth and mapping_layer.pth of Johanan0528/DepthLab (Apache-2.0), which "
            "are pickles and not fetched: if you trust them, download them into {}; 'dkt models verify {}' then prints "
            "the command that converts each",
        ),
        "dkt run INPUT --engine depthlab --weights {} --out OUT",
    ),
    Model(
        "wan-vae",
        "",
        "the video codec alone: part of DKT, and of DVD files without one",
        "about 0.25 to 0.5 GB",
        ("wan2.1-codec",),
        (_CODEC,),
        (),
        "",
    ),
    Model(
        "tiny-vae",
        "",
        "a small decoder in its place: --vae tiny, for dkt and dvd",
        "about 23 MB",
        ("taew2_1",),
        (Source("OzzyGT/taew2_1", ("taew2_1.safetensors",), "MIT (as its page says)"),),
        (),
        "dkt run INPUT --engine dvd --vae tiny --weights {} --out OUT",
    ),
    Model(
        "text-encoder",
        "",
        "makes a prompt's embedding for DKT, once; not needed to run",
        "about 11 GB, or twice that",
        ("umt5",),
        (
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
        (),
        "dkt models embed-prompt --text depth --encoder {} --out prompt.safetensors",
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
