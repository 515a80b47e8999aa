"""VQAScore: the probability that a vision-language model answers yes (arXiv:2404.01291)."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import Encoder
from .shared import digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'  # the paper's
YES = ("Yes", "yes", " Yes", " yes")
BATCH = 4
LAST = "logits_to_keep"  # the option of most models that computes the last position alone


class VqaScore(Encoder):
    """A chat model of transformers that sees pictures, from a folder or a hub id; see the paper's equation 1.

    The score is the probability of "yes" after the question, 0 to 1. It encodes no pictures: it judges prompts. On a
    CPU it computes in full precision, elsewhere in that of its file.
    """

    known_as = "vqa-score"
    families = (
        "gemma3", "idefics3", "internvl", "llava", "llava_next", "llava_onevision", "qwen2_vl", "qwen2_5_vl",
        "qwen3_vl", "smolvlm",
    )  # fmt: skip

    def __init__(self, path: str, device: str | torch.device = "cpu") -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        precision = torch.float32 if torch.device(device).type == "cpu" else "auto"
        model = AutoModelForImageTextToText.from_pretrained(path, dtype=precision)
        self._model = model.eval().requires_grad_(False).to(device)
        self._processor: Any = AutoProcessor.from_pretrained(path)
        if not getattr(self._processor, "chat_template", None):
            raise ValueError("it has no chat template, so that it cannot be asked a question")
        tokenizer = self._processor.tokenizer
        tokenizer.padding_side = "left"  # the answer follows the last token
        self._yes = _tokens(tokenizer)
        self._only_last = {LAST: 1} if LAST in signature(model.forward).parameters else {}
        self._device = device
        self.name = f"VQAScore by {Path(path).name}"
        self.digest = digest_of(self._model, f"{QUESTION} {self._yes} {self._processor.chat_template}")

    @classmethod
    def open(cls, path: str, device: str | torch.device) -> VqaScore:
        return cls(path, device)

    @torch.inference_mode()
    def scores(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
        """float32 [pictures] on the CPU, 0 to 1: of each picture with the text of the same place."""
        asked = [_chat(picture, QUESTION.format(text)) for picture, text in zip(pictures, texts, strict=True)]
        return torch.cat([self._answers(asked[start : start + BATCH]) for start in range(0, len(asked), BATCH)])

    def _answers(self, asked: Sequence[Any]) -> Tensor:
        inputs = self._processor.apply_chat_template(
            list(asked), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt", padding=True
        ).to(self._device, dtype=self._model.dtype)
        logits: Tensor = self._model(**inputs, **self._only_last).logits[:, -1]
        return logits.float().softmax(dim=-1)[:, self._yes].sum(dim=-1).cpu()


def _tokens(tokenizer: Any) -> list[int]:
    """The tokens that answer yes: of each way to write it that is one token, else the first token of the usual one."""
    ways = [tokenizer(word, add_special_tokens=False).input_ids for word in YES]
    return sorted({ids[0] for ids in ways if len(ids) == 1} - {tokenizer.unk_token_id}) or [ways[0][0]]


def _chat(picture: Image.Image, question: str) -> list[dict[str, Any]]:
    content = [{"type": "image", "image": picture}, {"type": "text", "text": question}]
    return [{"role": "user", "content": content}]
