"""The parts that engines are put together from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Layout:
    """What a weight file is.

    Attributes:
        role: "transformer" (of DKT), "codec" (of Wan 2.1), "lora" (for DKT), "dvd", "prompt", "tiny codec",
            "completion", "plain transformer" (DVD's base by itself), "normal lora", "dvd lora", "dkt completion" and
            "dvd completion" (adapters of our own training), "depthlab denoiser", "depthlab reference", "depthlab
            mapping", "image vae", "image encoder", "text encoder", or "unknown".
        name: short, such as "wan2.1-fun-control-1.3b".
        in_words: one clause for people, with sizes.
        sizes: read from the shapes; which ones depends on the role.
        published: names and shapes are those of the published, full-size model.
        md5: ``key_shape_md5`` of the names without prefix.
        refusal: why this project does not use it and what to give instead; empty for one that it uses.
    """

    role: str
    name: str
    in_words: str
    sizes: dict[str, Any] = field(default_factory=dict)
    published: bool = False
    md5: str = ""
    refusal: str = ""
