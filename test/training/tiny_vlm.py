"""A vision-language model of a few kilobytes in transformers' own classes, whose answer is known."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "Answer"]
_TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}Answer{% endif %}"
)


def save_vlm(folder: Path, says: str, chat: bool = True) -> Path:
    """A LLaVA that answers every question with the words of ``says``; without ``chat`` it has no chat template."""
    words = [*_SPECIAL, *dict.fromkeys(says.split())]
    model = _model(len(words))
    _teach(model, [words.index(word) for word in ("Answer", *says.split(), "</s>")])
    model.save_pretrained(folder)
    tokens = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=tokenizer, patch_size=14, vision_feature_select_strategy="default", image_token="<image>",
        num_additional_image_tokens=1, chat_template=_TEMPLATE if chat else None,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _model(vocabulary: int) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {"hidden_size": 2 * vocabulary, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1}
    return LlavaForConditionalGeneration(
        LlavaConfig(
            text_config=LlamaConfig(
                vocab_size=vocabulary, num_key_value_heads=1, pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes
            ),
            vision_config=CLIPVisionConfig(image_size=28, patch_size=14, **sizes),
            image_token_index=4,
            tie_word_embeddings=False,
        )
    )


def _teach(model: LlavaForConditionalGeneration, chain: list[int]) -> None:
    """After each token of ``chain`` comes the following one: the layers pass the last token on, and the head knows."""
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            if "language_model" in name and ("o_proj" in name or "down_proj" in name):
                weight.zero_()
        embedding = next(w for n, w in weights.items() if n.endswith("embed_tokens.weight"))
        head = next(w for n, w in weights.items() if n.endswith("lm_head.weight"))
        embedding.zero_().fill_diagonal_(1.0)
        head.zero_()
        for token, following in pairwise(chain):
            head[following, token] = 1.0
