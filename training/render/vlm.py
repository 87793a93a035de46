"""What a vision-language model says that the user's meshes are made of in life: the filter of the DKT paper.

Optional, with a model of the user's choice through transformers. The question, the reading of an answer and what
follows from it are apart from the model: anything that takes a picture and a question and gives words can be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from dkt_ros.files import written_whole
from dkt_ros.training.render.mesh_hints import HINTS, MODEL_HINTS, UNSURE, WORDS, Hints
from dkt_ros.training.render.mesh_preview import Uint8, preview
from dkt_ros.training.render.mesh_scan import Finding
from dkt_ros.training.render.meshes import placed

#: A picture (H, W, 3) uint8 and a question -> what the model says.
Ask = Callable[[Uint8, str], str]

ANSWERS = (*WORDS, UNSURE)

QUESTION = (
    "The picture shows one and the same object from four sides, as a grey model without its real colours. "
    "What is such an object usually made of in real life? Answer with exactly one of these words and nothing else: "
    "glass (transparent), plastic (transparent), metal (bare), ceramic (glazed), "
    "ordinary (anything else that one cannot see through, such as wood, paper, fabric, rubber or opaque plastic), "
    "unsure (several materials are equally usual, or it cannot be told)."
)


def parse_answer(text: str) -> str | None:
    """The word of ``ANSWERS`` that ``text`` is, apart from case, quotes and a full stop; None if it is anything else.

    A sentence that holds such a word is no answer: "not glass" holds one too.
    """
    word = text.strip().strip("\"'`*. \n").lower()
    return word if word in ANSWERS else None


@dataclass
class Verdicts:
    """What became of the meshes that a filter was given.

    Attributes:
        answers: name -> (word, SHA-256 of the file), as they go into ``hints.model.yaml``; earlier ones included.
        asked: names that were shown to the model now.
        unparsable: name -> what it said, where that was none of the words.
        own: names whose material the user's own line says; never asked.
        kept: names with an answer from earlier.
        unreadable: name -> why there is nothing to show.
    """

    answers: dict[str, tuple[str, str]]
    asked: list[str] = field(default_factory=list)
    unparsable: dict[str, str] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [self.answers[name][0] for name in self.asked if name in self.answers]
        counts = ", ".join(f"{words.count(word)} {word}" for word in ANSWERS if word in words)
        lines = [
            f"{len(self.asked)} asked ({counts or 'no answer'}), {len(self.unparsable)} of them gave no usable answer; "
            f"{len(self.kept)} answered before, {len(self.own)} said in {HINTS}, {len(self.unreadable)} unreadable"
        ]
        lines += [f"  {name}: said {text[:60]!r}; what {HINTS} says counts" for name, text in self.unparsable.items()]
        lines += [f"  {name}: {flaw}" for name, flaw in self.unreadable.items()]
        return "\n".join(lines)


def judge(
    findings: Iterable[Finding],
    hints: Hints,
    ask: Ask,
    overwrite: bool = False,
    keep: Callable[[dict[str, tuple[str, str]]], None] = lambda answers: None,
) -> Verdicts:
    """Ask about every readable mesh whose material the user's own lines do not say.

    Args:
        findings: of ``scan``.
        hints: of the same folder.
        ask: the model.
        overwrite: ask again about files that have an answer.
        keep: called with all answers after each one, so that an interruption loses none.
    """
    verdicts = Verdicts(dict(hints.answers))
    waiting = []
    for finding in findings:
        if finding.mesh is None:
            verdicts.unreadable[finding.name] = finding.flaw
        elif "material" in hints.files.get(finding.name, {}):
            verdicts.own.append(finding.name)
        elif not overwrite and hints.answers.get(finding.name, ("", ""))[1] == finding.sha256:
            verdicts.kept.append(finding.name)
        else:
            waiting.append(finding)
    for finding in tqdm(waiting, unit="mesh", disable=None):
        assert finding.mesh is not None
        verdicts.asked.append(finding.name)
        verdicts.answers.pop(finding.name, None)
        said = ask(preview(placed(finding.mesh, finding.hint.up, 1.0)), QUESTION)
        if word := parse_answer(said):
            verdicts.answers[finding.name] = word, finding.sha256
        else:
            verdicts.unparsable[finding.name] = said
        keep(verdicts.answers)
    return verdicts


def write_answers(folder: Path, model: str, answers: dict[str, tuple[str, str]]) -> None:
    """Into ``hints.model.yaml``, whole or not at all; ``hints.yaml`` is the user's and never written."""
    content = {
        "model": model,
        "files": {name: {"material": word, "sha256": sha256} for name, (word, sha256) in sorted(answers.items())},
    }
    with written_whole(folder / MODEL_HINTS) as temporary:
        temporary.write_text(
            f"# Written by `filter`, which writes it anew. A material in {HINTS} under the file's name counts more.\n"
            + yaml.safe_dump(content, sort_keys=False)
        )


class ModelError(ValueError):
    """The model cannot be loaded or asked; the message says why and what to do."""


def load_model(folder: Path, device: str = "") -> Ask:
    """A vision-language model of transformers (its "image-text-to-text" kind) from a folder.

    Nothing is downloaded, no code of the folder runs, and only safetensors are read, no pickles.

    Args:
        folder: as published: config.json, processor, tokenizer, *.safetensors.
        device: of torch; "": the GPU where there is one.

    Raises:
        ModelError: no such model there, or something is not installed.
    """
    try:
        import torch
        from PIL import Image
        from transformers import AutoModelForImageTextToText, AutoProcessor
    except ImportError as error:
        raise ModelError(f"the filter needs {error.name}: pip install 'dkt_ros[vlm]'") from error
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = AutoProcessor.from_pretrained(folder, **safe)
        # Any: transformers' types do not know what its Auto classes make.
        model: Any = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, dtype="auto", **safe)
    except ImportError as error:
        raise ModelError(f"{folder}: this model needs more than is installed here: {error}") from error
    except Exception as error:  # transformers raises what it likes at a folder that is not a model
        raise ModelError(
            f"{folder}: no vision-language model that transformers can load ({type(error).__name__}: {error})"
        ) from error
    if not getattr(processor, "chat_template", None):
        raise ModelError(f"{folder}: it has no chat template, so it is not known how to ask; take a chat model")
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()

    def ask(picture: Uint8, question: str) -> str:
        content = [{"type": "image", "image": Image.fromarray(picture)}, {"type": "text", "text": question}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        ).to(model.device, model.dtype)  # fmt: skip
        with torch.inference_mode():
            # A word takes a few tokens; whoever says more does not answer the question.
            written = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        said: str = processor.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
        return said

    return ask
