"""What is particular to files with a diffusion decoder (spec page video_vae, sections 9.1 and 9.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..networks.video_vae.diffusion.config import PREDICTIONS, DiffusionDecoderConfig, Prediction, Triple, Upsampling

CLASS_NAME = "NADiffusionDecoder"
TIME_CHANNELS = 384  # where the configuration is silent
# an unused tag, a training aid, and copies of `upsamples.3` that the published code makes for itself
IGNORED = re.compile(r"type_emb$|coarse_|diff_blocks\.\d+\.stage4_upsample\.")
GATE = re.compile(r"(diff_blocks\.\d+\.)(gate_\w+)$")
GATED = {
    "gate_msa": ("attn.proj.weight", "attn.proj.bias"),
    "gate_mlp": ("mlp.w_down.weight",),
    "gate_ctx": ("context_proj.weight", "context_proj.bias"),
}
KNOWN_FIELDS = {
    *("_class_name", "in_channels", "out_channels", "patch_size", "head_dim", "na_head_dim", "stage_channels"),
    *("stage_depths", "stage_kernels", "upsamples", "stage5_kernel", "stage5_channels", "t_emb_dim"),
    *("timestep_scale_multiplier", "default_num_inference_steps", "spatial_padding_mode", "resampler_kind"),
}


def diffusion_decoder_config(fields: Mapping[str, Any], prediction: str) -> DiffusionDecoderConfig:
    """fields: `vae.decoder` of the metadata; prediction: `model_output_type` beside it.

    Raises ValueError for a field that is missing, unknown or not supported: the defaults of the published code
    describe another network.
    """
    _refuse_unknown(fields)
    kernels = [_triple(kernel) for kernel in _field(fields, "stage_kernels")]
    channels = list(_field(fields, "stage_channels"))
    if "stage5_channels" in fields:
        channels[-1] = fields["stage5_channels"]
    return DiffusionDecoderConfig(
        latent_channels=_field(fields, "in_channels"),
        out_channels=_field(fields, "out_channels"),
        patch_size=_field(fields, "patch_size"),
        head_dim=fields["na_head_dim"] if "na_head_dim" in fields else _field(fields, "head_dim"),
        channels=tuple(channels),
        depths=tuple(_field(fields, "stage_depths")),
        kernels=(*kernels[:-1], _triple(_field(fields, "stage5_kernel"))),
        upsamplings=tuple(
            Upsampling(stride=_triple(stride), reduction=reduction) for stride, reduction in _field(fields, "upsamples")
        ),
        time_channels=fields.get("t_emb_dim", TIME_CHANNELS),
        timestep_scale=_field(fields, "timestep_scale_multiplier"),
        steps=_field(fields, "default_num_inference_steps"),
        prediction=_prediction(prediction),
    )


def used_tensors(tensors: Mapping[str, str]) -> dict[str, str]:
    """{parameter name: name in the file} without what the network ignores."""
    return {name: key for name, key in tensors.items() if not IGNORED.match(name)}


def without_gates(names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in names.items() if not GATE.match(name)}


def fold_gates(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply the rows that each gate vector scales, in float32, and forget the gates; dtypes stay."""
    folded = without_gates(state)
    for name, gate in state.items():
        match = GATE.match(name)
        if match is None:
            continue
        block, kind = match.groups()
        if kind not in GATED:
            raise ValueError(f"diffusion decoder: unknown gate {name!r}; known are {', '.join(GATED)}")
        for part in GATED[kind]:
            weight = folded[block + part]
            column = gate.float().view(-1, *[1] * (weight.ndim - 1))
            folded[block + part] = (weight.float() * column).to(weight.dtype)
    return folded


def _field(fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise ValueError(f"diffusion decoder configuration: expected the field {name!r}, found none; use another file")
    return fields[name]


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    if fields.get("_class_name", CLASS_NAME) != CLASS_NAME:
        raise ValueError(
            f"diffusion decoder configuration: _class_name must be {CLASS_NAME!r}, found {fields['_class_name']!r}"
        )
    unknown = sorted(fields.keys() - KNOWN_FIELDS)
    if unknown:
        raise ValueError(f"diffusion decoder configuration: unknown fields {', '.join(unknown)}; use another file")


def _triple(values: Any) -> Triple:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"diffusion decoder configuration: expected [frames, height, width], found {values!r}")
    frames, height, width = values
    return frames, height, width


def _prediction(value: str) -> Prediction:
    for prediction in PREDICTIONS:
        if value == prediction:
            return prediction
    raise ValueError(f"diffusion decoder configuration: model_output_type must be 'x0' or 'v', found {value!r}")
