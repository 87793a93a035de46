"""Which Wan model a file holds: DKT's base or one that only resembles it, the codec, a LoRA, DVD. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from dkt_ros.engines.headers import CheckpointError, Header, Shapes, key_shape_md5
from dkt_ros.engines.lora import PATCH, WIDENED, check_base, read_lora, split_widened
from dkt_ros.engines.roles import Layout
from dkt_ros.engines.wan_sizes import codec_sizes, prefix_of, transformer_sizes, without_prefix

#: What ``key_shape_md5`` gives for the published files, and for the same models under diffusers' names.
FUN_CONTROL = {
    "349723183fc063b2bfc10bb2835cf677": "1.3B",
    "15fd7615b9d93afed455befbfed76784": "1.3B",
    "efa44cddf936c70abd0ea28b6cbe946c": "14B",
    "61e030d31f4ec1fbf40877dc87de2181": "14B",
}
FUN_CONTROL_V1_1 = {"70ddad9d3a133785da5ea371aae09504": "1.3B", "26bde73488a92e64cc20b0a7485b9e5b": "14B"}
CODEC = ("ccc42284ea13e1ad04693284c7a09be6", "ed4ea5824d55ec3107b09815e318123a")
#: The base inside DVD's file: Wan2.1 T2V 1.3B.
DVD_BASE = "9269f8db9040a9d860eaca435be61814"
DVD_RANK = 512
DVD_TRANSFORMER, DVD_CODEC = "pipe.dit.", "pipe.vae.model."

#: What our training writes, by what it is for, and the part that it is for an engine.
ADAPTER_ROLES = {
    "dkt": "lora",
    "dkt_normal": "normal lora",
    "dvd": "dvd lora",
    "dkt_c": "dkt completion",
    "dvd_c": "dvd completion",
}
_TASKS = {
    "dkt_normal": "normals by DKT",
    "dvd": "DVD",
    "dkt_c": "completion of sensor depth by DKT",
    "dvd_c": "completion of sensor depth by DVD",
}

_SIZES = {(1536, 30): "1.3B", (5120, 40): "14B"}
_FIRST_RELEASE = (
    "give the first release: diffusion_pytorch_model.safetensors of alibaba-pai/Wan2.1-Fun-1.3B-Control or -14B-Control"
)
#: Parts that other Wan transformers have, and what those are called.
_OTHER_PARTS = {
    "ref_conv.": "Wan2.1-Fun-Control V1.1 (it has ref_conv), for which DKT's LoRA was not made",
    "control_adapter.": "a camera-controlled Wan (control_adapter)",
    "vace_": "Wan VACE",
    "motion_controller.": "a motion-controlled Wan (motion_controller)",
    "motion_encoder.": "Wan Animate",
    "face_adapter.": "Wan Animate",
    "img_emb.emb_pos": "a first-and-last-frame Wan (img_emb.emb_pos)",
    "condition_embedder.image_embedder.pos_embed": "a first-and-last-frame Wan (pos_embed)",
}


def identify_transformer(header: Header) -> Layout | None:
    """A Wan transformer, by either set of names."""
    prefix = prefix_of(header.shapes, "patch_embedding.weight")
    if prefix is None or not any(name.startswith(f"{prefix}blocks.0.") for name in header.shapes):
        return None
    path, shapes = header.path, without_prefix(header.shapes, prefix)
    md5, sizes = key_shape_md5(shapes), transformer_sizes(shapes, path)
    kind = (sizes["in_channels"], bool(sizes["image_dim"]))
    size = _SIZES.get((sizes["dim"], sizes["layers"]))
    shape = f"{sizes['dim']} wide, {sizes['layers']} blocks, {sizes['in_channels']} channels in"
    other = _other_parts(shapes)
    if not other and kind == (16, False):
        words = f"a plain text-to-video Wan (T2V): {shape}; with an adapter of our own training it is DVD's base"
        return Layout("plain transformer", "wan2.1-t2v", words, sizes, md5 == DVD_BASE, md5)
    other = other or {
        (48, True): "",
        (36, True): "an image-to-video Wan (I2V or Fun-InP, 36 channels)",
        (48, False): "Wan 2.2 TI2V",
    }.get(kind, f"a Wan transformer of another kind ({kind[0]} channels, {'with' if kind[1] else 'no'} image branch)")
    if other:
        name = "wan2.1-fun-control-v1.1" if md5 in FUN_CONTROL_V1_1 else "wan-other"
        refusal = f"{path}: {other}; {_FIRST_RELEASE}"
        return Layout("transformer", name, f"{other}: {shape}", sizes, md5 in FUN_CONTROL_V1_1, md5, refusal)
    published, refusal = md5 in FUN_CONTROL, ""
    if size and not published:
        refusal = f"{path}: nearly Wan2.1-Fun-Control {size}, but with other tensors ({len(shapes)}); {_FIRST_RELEASE}"
    words = f"Wan2.1-Fun-Control {size or 'of a small size'}, first release: {shape}"
    name = f"wan2.1-fun-control-{(size or 'small').lower()}"
    return Layout("transformer", name, words, sizes, published, md5, refusal)


def identify_codec(header: Header) -> Layout | None:
    """A Wan video autoencoder, by either set of names."""
    prefix = prefix_of(header.shapes, "encoder.conv1.weight", "encoder.conv_in.weight")
    if prefix is None:
        return None
    path, shapes = header.path, without_prefix(header.shapes, prefix)
    first = shapes.get("encoder.conv1.weight") or shapes["encoder.conv_in.weight"]
    if len(first) != 5:
        return None
    md5 = key_shape_md5(shapes)
    if first[1] != 3 or shapes.get("conv2.weight", shapes.get("post_quant_conv.weight", (0,)))[0] != 16:
        return Layout(
            *("codec", "wan-codec-other", "a video codec of another latent space (Wan 2.2, say)"),
            md5=md5,
            refusal=f"{path}: not the Wan 2.1 codec (16 latent channels from 3 of colour); give Wan2.1_VAE",
        )
    sizes, published = codec_sizes(shapes, path), md5 in CODEC
    refusal = ""
    if sizes["base_dim"] == 96 and not published:
        refusal = f"{path}: nearly the Wan 2.1 codec, but with other tensors ({len(shapes)}, not 194); give Wan2.1_VAE"
    words = f"the Wan 2.1 video codec{'' if sizes['base_dim'] == 96 else ' of a small size'}, {sizes['base_dim']} wide"
    return Layout("codec", "wan2.1-codec" + ("" if published else "-small"), words, sizes, published, md5, refusal)


def identify_lora(header: Header) -> Layout | None:
    """Adapters for DKT's base or for DVD's, and those for completion.

    No tensor says whether they are for depth or for normals, nor for which of the two bases; what our training wrote
    says both in its header, and what says nothing is taken for DKT's.
    """
    if not any("lora" in name for name in header.shapes) or any(name.startswith("pipe.") for name in header.shapes):
        return None
    md5 = key_shape_md5(header.shapes)
    kept, first = split_widened(header.shapes)
    channels = first[f"{PATCH}weight"][1] if f"{PATCH}weight" in first else 0
    task, problem = _adapter_task(header, bool(first), channels), ""
    if task not in ADAPTER_ROLES:
        problem = f"{header.path}: a LoRA for no model that is known here ({task}); give one for DKT or DVD"
    role = ADAPTER_ROLES.get(task, "lora")
    try:
        lora = read_lora(kept, header.path)
    except CheckpointError as error:
        return Layout(role, "lora", "a LoRA that does not fit", md5=md5, refusal=str(error))
    size = _SIZES.get((lora.dim, lora.layers))
    goal = f"the {size}" if size else f"a base {lora.dim} wide with {lora.layers} blocks"
    words = f"a LoRA of rank {', '.join(map(str, lora.ranks))} for {goal}, {len(lora.pairs)} linear layers"
    words += f", from training here: {_TASKS[task]}" if task in _TASKS else ""
    sizes = {"dim": lora.dim, "ffn_dim": lora.ffn_dim, "layers": lora.layers, "rank": max(lora.ranks)}
    name = f"{task.replace('_', '-')}-lora-{(size or 'small').lower()}"
    if first:
        sizes["in_channels"] = channels
    return Layout(role, name, words, sizes, bool(size) and task == "dkt", md5, problem)


def _adapter_task(header: Header, widened: bool, channels: int) -> str:
    """A key of ``ADAPTER_ROLES``, or something else in words."""
    if widened:
        return {WIDENED[48]: "dkt_c", WIDENED[16]: "dvd_c"}.get(channels, f"{channels} channels in")
    config = header.config()
    task = str(config.get("task", "dkt"))
    return "dkt_normal" if (task, config.get("predicts")) == ("dkt", "normal") else task


def identify_dvd(header: Header) -> Layout | None:
    """DVD: base, adapters and codec in one file. v1.0 and v1.1 differ in values only."""
    if not any(name.startswith("pipe.dit.") for name in header.shapes):
        return None
    md5, path, parts = key_shape_md5(header.shapes), header.path, DvdParts.of(header.shapes)
    sizes, refusal, rank = transformer_sizes(parts.base, path), "", 0
    if (sizes["in_channels"], sizes["image_dim"]) != (16, None) or _other_parts(parts.base) or parts.foreign:
        refusal = (
            f"{path}: not DVD: {sizes['in_channels']} channels in, {len(parts.foreign)} foreign tensors "
            f"{parts.foreign[:3]}; give DVD's file"
        )
    elif len(parts.base) + len(parts.adapters) + len(parts.codec) < len(header.shapes):
        refusal = f"{path}: layers occur twice, with and without base_layer; give DVD's file as published"
    elif not parts.adapters:
        refusal = f"{path}: DVD without its adapters (lora_A, lora_B) is a plain Wan; give DVD's file as published"
    else:
        try:
            lora = read_lora(parts.adapters, path)
            check_base(lora, sizes, path, "its base")
            rank = max(lora.ranks)
        except CheckpointError as error:
            refusal = str(error)
    codec = codec_sizes(parts.codec, path) if parts.codec else None
    published = not refusal and rank == DVD_RANK and key_shape_md5(parts.base) == DVD_BASE
    published = published and (not codec or key_shape_md5(parts.codec) == CODEC[0])
    if sizes["dim"] == 1536 and not published:
        refusal = refusal or f"{path}: nearly DVD, with other tensors ({len(header.shapes)}, not 1619); fetch it again"
    version = "v1.0 or v1.1" if sizes["dim"] == 1536 else "of a small size"
    words = f"DVD {version}, adapters of rank {rank}, {'with' if codec else 'without'} its codec"
    sizes = {**sizes, "rank": rank, "codec": codec}
    return Layout("dvd", "dvd" if published else "dvd-small", words, sizes, published, md5, refusal)


@dataclass(frozen=True)
class DvdParts:
    """What a DVD file holds, as shapes under the reference's names without prefix.

    Attributes:
        base: the transformer; its adapted layers have lost their ".base_layer".
        adapters: lora_A and lora_B.
        codec: the Wan 2.1 codec, or nothing.
        foreign: names of anything else.
    """

    base: dict[str, tuple[int, ...]]
    adapters: dict[str, tuple[int, ...]]
    codec: dict[str, tuple[int, ...]]
    foreign: list[str]

    @classmethod
    def of(cls, shapes: Shapes) -> DvdParts:
        inside = without_prefix(shapes, DVD_TRANSFORMER)
        adapters = {name: shape for name, shape in inside.items() if ".lora_" in name}
        base = {name.replace(".base_layer.", "."): shape for name, shape in inside.items() if name not in adapters}
        foreign = sorted(name for name in shapes if not name.startswith((DVD_TRANSFORMER, DVD_CODEC)))
        return cls(base, adapters, without_prefix(shapes, DVD_CODEC), foreign)


def _other_parts(shapes: Shapes) -> str:
    return next((what for start, what in _OTHER_PARTS.items() if any(name.startswith(start) for name in shapes)), "")
