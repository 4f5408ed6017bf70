"""What llama.cpp calls the tensors of a Gemma text encoder (model_files.md section 6)."""

from __future__ import annotations

import re

ARCHITECTURES = ("gemma3", "gemma4")
PREFIX = "model."
WHOLE = {"token_embd": "embed_tokens", "output_norm": "norm"}
IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}
BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)$")


def encoder_name(name: str) -> str:
    """`blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`; a name that is not in the list stays."""
    match = BLOCK.match(name)
    if match is not None and match[2] in IN_LAYER:
        return f"{PREFIX}layers.{match[1]}.{IN_LAYER[match[2]]}.{match[3]}"
    stem, _, kind = name.rpartition(".")
    return f"{PREFIX}{WHOLE[stem]}.{kind}" if stem in WHOLE else name


def holds_one_too_much(architecture: str, name: str) -> bool:
    """Whether llama.cpp's converter has added 1 to this weight: all norms of Gemma 3 (text.md section 1.6)."""
    return architecture == "gemma3" and name.endswith("norm.weight")
