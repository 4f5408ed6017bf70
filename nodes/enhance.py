"""Prompt enhancement: a short idea → the description of a clip, by the language model inside the text encoder."""

from __future__ import annotations

import torch

from ..model_loaders.parts import TextPart
from ..model_loaders.prompt_enhancement import INSTRUCTIONS, chat_ids, clean_response, gemma3_chat, stop_ids
from ..model_loaders.text_encoder import TextEncoder
from ..networks.text.gemma3 import Gemma3
from ..networks.text.generate import generate, greedy_without_repeats, sampling
from .host.api import check_interrupted, compute_device, io, progress, ui

OWN = "own"


class EnhancePrompt(io.ComfyNode):
    """Prompt → longer prompt, shown on the node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXEnhancePrompt",
            display_name="Enhance Prompt (LTX)",
            category="OpenLTX/conditioning",
            description="Lets Gemma 3, the text encoder of LTX-2 and 2.3, write a full description from a short idea. "
            "Optional: what it wrote is shown, and goes into Encode Prompt (LTX).",
            inputs=[
                io.Clip.Input("text_encoder", tooltip="Of LTX-2 or LTX-2.3, from Load LTX Model."),
                io.String.Input("text", default="", multiline=True, tooltip="The idea, in a few words or sentences."),
                io.Combo.Input(
                    "instruction",
                    options=[*INSTRUCTIONS, OWN],
                    default=next(iter(INSTRUCTIONS)),
                    tooltip="What the language model is asked to write; own: the text of own_instruction.",
                ),
                io.Int.Input("seed", default=10, min=0, max=2**64 - 1, tooltip="Of the random choice of words."),
                io.Int.Input(
                    "max_tokens",
                    default=512,
                    min=1,
                    max=1024,
                    tooltip="Longest answer in tokens, of about 4 letters each. The encoder computes once for each.",
                ),
                io.Float.Input(
                    "temperature",
                    default=0.7,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How freely words are chosen among the 50 likeliest; 0: always the likeliest, no repeats.",
                ),
                io.String.Input(
                    "own_instruction",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="Your own order to the language model, for instruction own.",
                ),
            ],
            outputs=[io.String.Output("text", tooltip="The description, without quotes and dashes of print.")],
        )

    @classmethod
    def validate_inputs(cls, instruction: str, own_instruction: str = "") -> bool | str:
        if instruction not in (*INSTRUCTIONS, OWN):
            return f"instruction: expected one of {', '.join((*INSTRUCTIONS, OWN))}, found {instruction!r}"
        if instruction == OWN and own_instruction is not None and not own_instruction.strip():
            return "own_instruction: expected an order to the language model, found none; write one, or choose another"
        return True

    @classmethod
    def execute(
        cls,
        text_encoder: TextPart,
        text: str,
        instruction: str,
        seed: int,
        max_tokens: int,
        temperature: float,
        own_instruction: str = "",
    ) -> io.NodeOutput:
        if not text.strip():
            raise ValueError("text: expected an idea in words, found none; write one")
        encoder = text_encoder.encoder.on(compute_device())
        if not isinstance(encoder.decoder, Gemma3):
            raise ValueError(
                f"text_encoder: expected Gemma 3, found the encoder of LTX-{text_encoder.generation}, which only "
                "encodes; connect the text encoder of an LTX-2 or 2.3 model, or write the whole prompt yourself"
            )
        order = own_instruction if instruction == OWN else INSTRUCTIONS[instruction]
        written = clean_response(_answer(encoder, gemma3_chat(order, text), seed, max_tokens, temperature))
        return io.NodeOutput(written, ui=ui.PreviewText(written))


@torch.inference_mode()
def _answer(encoder: TextEncoder, chat: str, seed: int, max_tokens: int, temperature: float) -> str:
    """What the language model writes after the chat."""
    ids = chat_ids(encoder.tokenizer, chat)
    drawn = torch.Generator().manual_seed(seed)
    choose = sampling(drawn, temperature=temperature) if temperature else greedy_without_repeats(ids)
    stop, new = stop_ids(encoder.tokenizer), []
    given = torch.tensor([ids], device=encoder.device)
    with progress(max_tokens) as steps:
        for token in generate(encoder.decoder, given, max_new_tokens=max_tokens, stop_ids=stop, choose=choose):
            check_interrupted()
            steps.update()
            if token not in stop:
                new.append(token)
    return encoder.tokenizer.decode(new)
