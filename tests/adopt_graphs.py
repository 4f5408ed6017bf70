"""Workflows in the style of shared ones, as small graphs, and the forms that files give them.

A graph is {id: (type, {input: value or (id, output)})}. Facts about other packs' nodes are their public ids and inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Graph = dict[str, tuple[str, dict[str, Any]]]
CHECKPOINT, GEMMA = "ltx-2.3-22b-dev-fp8.safetensors", "gemma_3_12B_it_fp4_mixed.safetensors"
STAGE_1 = "1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0"
STAGE_2 = "0.85, 0.7250, 0.4219, 0.0"
OUTPUTS = {
    "CheckpointLoaderSimple": "MODEL CLIP VAE",
    "LowVRAMCheckpointLoader": "MODEL CLIP VAE",
    "UNETLoader": "MODEL",
    "UnetLoaderGGUF": "MODEL",
    "CLIPLoader": "CLIP",
    "DualCLIPLoaderGGUF": "CLIP",
    "LTXAVTextEncoderLoader": "CLIP",
    "LTXVGemmaCLIPModelLoader": "CLIP",
    "VAELoader": "VAE",
    "VAELoaderKJ": "VAE",
    "LTXVAudioVAELoader": "VAE",
    "LatentUpscaleModelLoader": "LATENT_UPSCALE_MODEL",
    "LoraLoaderModelOnly": "MODEL",
    "LTXICLoRALoaderModelOnly": "MODEL FLOAT",
    "GetICLoRAParameters": "IC_LORA_PARAMETERS",
    "CLIPTextEncode": "CONDITIONING",
    "LTXVMultiPromptProvider": "CONDITIONING",
    "LTXVConditioning": "CONDITIONING CONDITIONING",
    "LTXVReferenceAudio": "MODEL CONDITIONING CONDITIONING",
    "LTXVSetAudioRefTokens": "CONDITIONING CONDITIONING",
    "EmptyLTXVLatentVideo": "LATENT",
    "LTXVAudioOnlyEmptyVideoLatent": "LATENT",
    "LTXVEmptyLatentAudio": "LATENT",
    "LTXVConcatAVLatent": "LATENT",
    "LTXVSeparateAVLatent": "LATENT LATENT",
    "LTXVImgToVideoInplace": "LATENT",
    "LTXVImgToVideoConditionOnly": "LATENT",
    "LTXVImgToVideoInplaceKJ": "LATENT",
    "LTXVPreprocess": "IMAGE",
    "LTXVAddGuide": "CONDITIONING CONDITIONING LATENT",
    "LTXAddVideoICLoRAGuide": "CONDITIONING CONDITIONING LATENT",
    "LTXVCropGuides": "CONDITIONING CONDITIONING LATENT",
    "LTXVInpaintPreprocess": "IMAGE",
    "LTXVDilateVideoMask": "MASK",
    "LTXVSetAudioVideoMaskByTime": "LATENT",
    "LTXVAudioVAEEncode": "LATENT",
    "VAEEncode": "LATENT",
    "SetLatentNoiseMask": "LATENT",
    "LTXVLatentUpsampler": "LATENT",
    "SolidMask": "MASK",
    "LoadImage": "IMAGE MASK",
    "LoadAudio": "AUDIO",
    "TrimAudioDuration": "AUDIO",
    "LoadVideo": "VIDEO",
    "GetVideoComponents": "IMAGE AUDIO FLOAT INT",
    "VHS_LoadVideo": "IMAGE INT AUDIO VHS_VIDEOINFO",
    "ImageResizeKJv2": "IMAGE INT INT MASK",
    "RandomNoise": "NOISE",
    "KSamplerSelect": "SAMPLER",
    "ManualSigmas": "SIGMAS",
    "BasicScheduler": "SIGMAS",
    "LTXVScheduler": "SIGMAS",
    "CFGGuider": "GUIDER",
    "STGGuider": "GUIDER",
    "LTXVDualCFGGuider": "GUIDER",
    "MultimodalGuider": "GUIDER",
    "GuiderParameters": "GUIDER_PARAMETERS",
    "SamplerCustomAdvanced": "LATENT LATENT",
    "LTXVNormalizingSampler": "LATENT LATENT",
    "LTXVLoopingSampler": "LATENT LATENT",
    "LTXVTiledSampler": "LATENT LATENT",
    "KSampler": "LATENT",
    "VAEDecode": "IMAGE",
    "LTXVTiledVAEDecode": "IMAGE",
    "LTXVAudioVAEDecode": "AUDIO",
    "CreateVideo": "VIDEO",
    "SaveVideo": "",
    "SaveAudio": "",
    "VHS_VideoCombine": "VHS_FILENAMES",
    "INTConstant": "INT",
    "PrimitiveInt": "INT",
    "ComfyMathExpression": "FLOAT INT BOOLEAN",
    "SomebodysNode": "MODEL",
    "GeminiNode": "STRING",
    "PathchSageAttentionKJ": "MODEL",
    "LTXVApplySTG": "MODEL",
    "LTX2_NAG": "MODEL",
    "LTXVModalityGuidance": "MODEL",
    "LTXVSpatioTemporalGuidance": "MODEL",
    "LTXVAudioOnlyModel": "MODEL",
}


def wire(node: str, slot: int = 0) -> tuple[str, int]:
    return node, slot


def start(**sizes: Any) -> Graph:
    """Loaders, two texts with a frame rate, empty latents of both streams."""
    size = {"width": 64, "height": 64, "length": 9, **sizes}
    texts = {"positive": wire("yes"), "negative": wire("no")}
    return {
        "ckpt": ("CheckpointLoaderSimple", {"ckpt_name": CHECKPOINT}),
        "te": ("LTXAVTextEncoderLoader", {"text_encoder": GEMMA, "ckpt_name": CHECKPOINT, "device": "default"}),
        "avae": ("LTXVAudioVAELoader", {"ckpt_name": CHECKPOINT}),
        "yes": ("CLIPTextEncode", {"text": "a red ball bounces on a grey floor", "clip": wire("te")}),
        "no": ("CLIPTextEncode", {"text": "blurry, noise", "clip": wire("te")}),
        "cond": ("LTXVConditioning", {**texts, "frame_rate": 24.0}),
        "video": ("EmptyLTXVLatentVideo", {**size, "batch_size": 1}),
        "sound": (
            "LTXVEmptyLatentAudio",
            {"frames_number": size["length"], "frame_rate": 24, "batch_size": 1, "audio_vae": wire("avae")},
        ),
        "av": ("LTXVConcatAVLatent", {"video_latent": wire("video"), "audio_latent": wire("sound")}),
    }


def stage(name: str = "", *, latent: Any = ("av", 0), **given: Any) -> Graph:
    """A sampler and its pieces. given: seed, cfg, sampler, sigmas (text), model, positive, negative."""
    model, texts = given.get("model", wire("ckpt")), given.get("texts", ("cond", "cond"))
    places = {"positive": wire(texts[0], 0), "negative": wire(texts[1], given.get("second", 1))}
    if "guider" not in given:
        guider: Graph = {f"guider{name}": ("CFGGuider", {"model": model, **places, "cfg": given.get("cfg", 1.0)})}
    else:
        guider = {f"guider{name}": given["guider"]}
    pieces = {"noise": wire(f"noise{name}"), "guider": wire(f"guider{name}"), "sampler": wire(f"rule{name}")}
    return {
        f"noise{name}": ("RandomNoise", {"noise_seed": given.get("seed", 42)}),
        **guider,
        f"rule{name}": ("KSamplerSelect", {"sampler_name": given.get("sampler", "euler")}),
        f"sigmas{name}": given.get("schedule", ("ManualSigmas", {"sigmas": given.get("sigmas", "1.0, 0.7, 0.4, 0.0")})),
        f"stage{name}": ("SamplerCustomAdvanced", {**pieces, "sigmas": wire(f"sigmas{name}"), "latent_image": latent}),
        f"split{name}": ("LTXVSeparateAVLatent", {"av_latent": wire(f"stage{name}")}),
    }


def end(video: Any = ("split", 0), audio: Any = ("split", 1)) -> Graph:
    """Decoders and a saver."""
    return {
        "frames": ("VAEDecode", {"samples": video, "vae": wire("ckpt", 2)}),
        "heard": ("LTXVAudioVAEDecode", {"samples": audio, "audio_vae": wire("avae")}),
        "clip": ("CreateVideo", {"images": wire("frames"), "audio": wire("heard"), "fps": 24.0}),
        "save": (
            "SaveVideo",
            {"video": wire("clip"), "filename_prefix": "video/ltx", "format": "mp4", "codec": "h264"},
        ),
    }


def text_to_video() -> Graph:
    schedule = ("LTXVScheduler", {"steps": 3, "max_shift": 2.05, "base_shift": 0.95, "stretch": True, "terminal": 0.1})
    return {**start(), **stage(cfg=3.0, schedule=schedule), **end()}


def distilled() -> Graph:
    return {**start(), **stage(sigmas=STAGE_1), **end()}


def _picture(strength: float, latent: Any = ("video", 0), name: str = "first") -> Graph:
    return {
        "picture": ("LoadImage", {"image": "somebody.png"}),
        "sized": (
            "ImageScale",
            {"image": wire("picture"), "upscale_method": "bilinear", "width": 64, "height": 64, "crop": "center"},
        ),
        name: (
            "LTXVImgToVideoInplace",
            {"vae": wire("ckpt", 2), "image": wire("sized"), "latent": latent, "strength": strength, "bypass": False},
        ),
    }


def _joined(video: Any) -> Graph:
    return {"av": ("LTXVConcatAVLatent", {"video_latent": video, "audio_latent": wire("sound")})}


def image_to_video() -> Graph:
    return {**start(), **_picture(1.0), **_joined(wire("first")), **stage(), **end()}


def image_at_part_strength() -> Graph:
    return {**start(), **_picture(0.7), **_joined(wire("first")), **stage(sampler="euler_cfg_pp"), **end()}


def compressed_image() -> Graph:
    graph = image_to_video()
    graph["packed"] = ("LTXVPreprocess", {"image": wire("sized"), "img_compression": 33})
    graph["first"][1]["image"] = wire("packed")
    return graph


def _refined(sigmas: str = STAGE_2, **given: Any) -> Graph:
    return {
        "up": ("LatentUpscaleModelLoader", {"model_name": "ltx-2.3-spatial-upscaler-x2-1.1.safetensors"}),
        "larger": (
            "LTXVLatentUpsampler",
            {"samples": wire("split", 0), "upscale_model": wire("up"), "vae": wire("ckpt", 2)},
        ),
        "av2": ("LTXVConcatAVLatent", {"video_latent": wire("larger"), "audio_latent": wire("split", 1)}),
        **stage("2", latent=wire("av2"), sigmas=sigmas, seed=7, **given),
    }


def two_stages() -> Graph:
    return {**start(), **stage(sigmas=STAGE_1), **_refined(), **end(wire("split2", 0), wire("split2", 1))}


def two_stages_ancestral() -> Graph:
    lora = {
        "distil": (
            "LoraLoaderModelOnly",
            {"model": wire("ckpt"), "lora_name": "distilled.safetensors", "strength_model": 0.5},
        )
    }
    first = stage(sigmas=STAGE_1, sampler="euler_ancestral_cfg_pp", model=wire("distil"))
    graph = {**start(), **lora, **first, **_refined(sampler="euler_cfg_pp", model=wire("distil"))}
    return {**graph, **end(wire("split2", 0), wire("split2", 1))}


def gradient_estimation() -> Graph:
    return {**start(), **stage(sampler="gradient_estimation", cfg=2.0), **end()}


def first_and_last() -> Graph:
    """Two pictures as guides of core, cropped behind the stage."""

    def guide(before: str, latent: Any, frame: int) -> tuple[str, dict[str, Any]]:
        texts = {"positive": wire(before, 0), "negative": wire(before, 1)}
        places = {"vae": wire("ckpt", 2), "latent": latent, "image": wire("sized"), "frame_idx": frame, "strength": 1.0}
        return "LTXVAddGuide", {**texts, **places}

    graph = {**start(), **_picture(1.0)}
    del graph["first"]
    graph["guide"] = guide("cond", wire("video"), 0)
    graph["guide2"] = guide("guide", wire("guide", 2), -1)
    graph |= {**_joined(wire("guide2", 2)), **stage(texts=("guide2", "guide2"))}
    texts = {"positive": wire("guide2", 0), "negative": wire("guide2", 1)}
    graph["crop"] = ("LTXVCropGuides", {**texts, "latent": wire("split", 0)})
    return {**graph, **end(wire("crop", 2))}


def guide_at_part_strength() -> Graph:
    """One guide of core, of which strength is the mask's and the attention's."""
    graph = first_and_last()
    graph["guide2"][1].update(latent=wire("video"), positive=wire("cond", 0), negative=wire("cond", 1), strength=0.6)
    del graph["guide"]
    return graph


def two_guides_at_part_strength() -> Graph:
    graph = first_and_last()
    graph["guide"][1]["strength"], graph["guide2"][1]["strength"] = 0.7, 0.5
    return graph


def _clip() -> Graph:
    return {
        "file": ("LoadVideo", {"file": "somebody.mp4"}),
        "parts": ("GetVideoComponents", {"video": wire("file")}),
        "cut": ("ImageFromBatch", {"image": wire("parts"), "batch_index": 0, "length": 9}),
        "sized": (
            "ImageScale",
            {"image": wire("cut"), "upscale_method": "bilinear", "width": 64, "height": 64, "crop": "center"},
        ),
    }


def ic_lora() -> Graph:
    """A control clip by core's nodes."""
    graph = {**start(), **_clip()}
    graph["lora"] = (
        "LoraLoaderModelOnly",
        {"model": wire("ckpt"), "lora_name": "union.safetensors", "strength_model": 1.0},
    )
    graph["factor"] = ("GetICLoRAParameters", {"iclora_model": wire("lora")})
    texts = {"positive": wire("cond", 0), "negative": wire("cond", 1)}
    places = {
        "vae": wire("ckpt", 2),
        "latent": wire("video"),
        "image": wire("sized"),
        "iclora_parameters": wire("factor"),
    }
    graph["guide"] = ("LTXVAddGuide", {**texts, **places, "frame_idx": 0, "strength": 1.0})
    graph |= {**_joined(wire("guide", 2)), **stage(texts=("guide", "guide"), model=wire("lora"))}
    texts = {"positive": wire("guide", 0), "negative": wire("guide", 1)}
    graph["crop"] = ("LTXVCropGuides", {**texts, "latent": wire("split", 0)})
    return {**graph, **end(wire("crop", 2))}


def ic_lora_pack(graph: Graph | None = None) -> Graph:
    """The same by the vendor's pack, with its own loader and guide."""
    graph = {**start(), **_clip()} if graph is None else graph
    graph["lora"] = (
        "LTXICLoRALoaderModelOnly",
        {"model": wire("ckpt"), "lora_name": "pose.safetensors", "strength_model": 1.0},
    )
    texts = {"positive": wire("cond", 0), "negative": wire("cond", 1)}
    places = {"vae": wire("ckpt", 2), "latent": wire("video"), "image": wire("sized"), "frame_idx": 0, "strength": 1.0}
    rest = {"latent_downscale_factor": wire("lora", 1), "crop": "disabled", "use_tiled_encode": False, "tile_size": 256}
    graph["guide"] = ("LTXAddVideoICLoRAGuide", {**texts, **places, **rest, "tile_overlap": 64})
    graph |= {**_joined(wire("guide", 2)), **stage(texts=("guide", "guide"), model=wire("lora"))}
    graph["crop"] = (
        "LTXVCropGuides",
        {"positive": wire("guide", 0), "negative": wire("guide", 1), "latent": wire("split", 0)},
    )
    return {**graph, **end(wire("crop", 2))}


def inpaint() -> Graph:
    """The vendor's green clip under a grown mask."""
    graph = {**start(), **_clip()}
    graph["hole"] = ("SolidMask", {"value": 1.0, "width": 64, "height": 64})
    graph["grown"] = ("LTXVDilateVideoMask", {"mask": wire("hole"), "spatial_radius": 2, "temporal_radius": 0})
    graph["green"] = ("LTXVInpaintPreprocess", {"images": wire("sized"), "mask": wire("grown")})
    graph = ic_lora_pack(graph)
    graph["guide"][1]["image"] = wire("green")
    return graph


def _voice() -> Graph:
    return {"spoken": ("LoadAudio", {"audio": "somebody.wav"})}


def reference_voice() -> Graph:
    graph = {**start(), **_voice()}
    texts = {"positive": wire("yes"), "negative": wire("no")}
    given = {"reference_audio": wire("spoken"), "audio_vae": wire("avae"), "identity_guidance_scale": 0.0}
    percent = {"start_percent": 0.0, "end_percent": 1.0}
    graph["voice"] = ("LTXVReferenceAudio", {"model": wire("ckpt"), **texts, **given, **percent})
    graph["cond"] = (
        "LTXVConditioning",
        {"positive": wire("voice", 1), "negative": wire("voice", 2), "frame_rate": 24.0},
    )
    return {**graph, **stage(model=wire("voice")), **end()}


def lip_dub() -> Graph:
    """A clip and its voice as references, two stages."""
    graph = {**ic_lora_pack(), **_voice()}
    graph["encoded"] = ("LTXVAudioVAEEncode", {"audio": wire("spoken"), "audio_vae": wire("avae")})
    texts = {"positive": wire("guide", 0), "negative": wire("guide", 1)}
    graph["tokens"] = ("LTXVSetAudioRefTokens", {**texts, "audio_latent": wire("encoded")})
    graph["guider"] = (
        "CFGGuider",
        {"model": wire("lora"), "positive": wire("tokens", 0), "negative": wire("tokens", 1), "cfg": 1.0},
    )
    graph |= _refined(STAGE_2, model=wire("lora"))
    graph["larger"][1]["samples"] = wire("crop", 2)
    return {**graph, **end(wire("split2", 0), wire("split2", 1))}


def audio_to_video() -> Graph:
    """Sound given by a mask of zeros."""
    graph = {**start(), **_voice()}
    graph["trimmed"] = ("TrimAudioDuration", {"audio": wire("spoken"), "start_index": 0.0, "duration": 0.34})
    graph["encoded"] = ("LTXVAudioVAEEncode", {"audio": wire("trimmed"), "audio_vae": wire("avae")})
    graph["zeros"] = ("SolidMask", {"value": 0.0, "width": 64, "height": 64})
    graph["given"] = ("SetLatentNoiseMask", {"samples": wire("encoded"), "mask": wire("zeros")})
    graph["av"] = ("LTXVConcatAVLatent", {"video_latent": wire("video"), "audio_latent": wire("given")})
    del graph["sound"]
    return {**graph, **stage(), **end()}


def masked_video() -> Graph:
    """A clip of which a mask says what is made anew."""
    graph = {**start(), **_clip()}
    graph["encoded"] = ("VAEEncode", {"pixels": wire("sized"), "vae": wire("ckpt", 2)})
    graph["mask"] = ("LoadImageMask", {"image": "left_half.png", "channel": "red"})
    graph["given"] = ("SetLatentNoiseMask", {"samples": wire("encoded"), "mask": wire("mask")})
    del graph["video"]
    return {**graph, **_joined(wire("given")), **stage(), **end()}


def ksampler() -> Graph:
    graph = start()
    texts = {"positive": wire("cond", 0), "negative": wire("cond", 1), "latent_image": wire("av")}
    rules = {
        "seed": 11,
        "steps": 3,
        "cfg": 2.0,
        "sampler_name": "euler",
        "scheduler": "linear_quadratic",
        "denoise": 1.0,
    }
    graph["stage"] = ("KSampler", {"model": wire("ckpt"), **texts, **rules})
    graph["split"] = ("LTXVSeparateAVLatent", {"av_latent": wire("stage")})
    return {**graph, **end()}


def simple_scheduler() -> Graph:
    schedule = ("BasicScheduler", {"model": wire("ckpt"), "scheduler": "simple", "steps": 3, "denoise": 1.0})
    return {**start(), **stage(schedule=schedule), **end()}


def foreign_step_rule() -> Graph:
    return {**start(), **stage(sampler="dpmpp_2m"), **end()}


def text_to_audio() -> Graph:
    graph = start()
    del graph["video"]
    graph["half"] = ("LTXVAudioOnlyModel", {"model": wire("ckpt")})
    graph["dummy"] = ("LTXVAudioOnlyEmptyVideoLatent", {"width": 64, "height": 64, "length": 1, "batch_size": 1})
    graph |= {**_joined(wire("dummy")), **stage(model=wire("half"))}
    graph["heard"] = ("LTXVAudioVAEDecode", {"samples": wire("split", 1), "audio_vae": wire("avae")})
    graph["save"] = ("SaveAudio", {"audio": wire("heard"), "filename_prefix": "audio/ltx"})
    return graph


def _video_only() -> Graph:
    graph = start(length=25)
    del graph["sound"], graph["av"]
    return graph


def _pieces() -> dict[str, Any]:
    return {
        "model": wire("ckpt"),
        "vae": wire("ckpt", 2),
        "noise": wire("noise"),
        "sampler": wire("rule"),
        "sigmas": wire("sigmas"),
        "guider": wire("guider"),
    }


def _silent(latent: Any) -> Graph:
    return {
        "frames": (
            "LTXVTiledVAEDecode",
            {
                "vae": wire("ckpt", 2),
                "latents": latent,
                "horizontal_tiles": 1,
                "vertical_tiles": 1,
                "overlap": 1,
                "last_frame_fix": False,
            },
        ),
        "clip": ("CreateVideo", {"images": wire("frames"), "fps": 24.0}),
        "save": (
            "SaveVideo",
            {"video": wire("clip"), "filename_prefix": "video/ltx", "format": "auto", "codec": "auto"},
        ),
    }


def tiled() -> Graph:
    graph = {**_video_only(), **stage(latent=wire("video"), sigmas="0.7, 0.4, 0.0")}
    tiles = {"horizontal_tiles": 2, "vertical_tiles": 1, "overlap": 1, "latents_cond_strength": 0.15}
    graph["stage"] = (
        "LTXVTiledSampler",
        {
            **_pieces(),
            "latents": wire("video"),
            **tiles,
            "boost_latent_similarity": False,
            "crop": "center",
            "optional_cond_indices": "0",
            "images_cond_strengths": "0.9",
        },
    )
    del graph["split"]
    return {**graph, **_silent(wire("stage"))}


def looping() -> Graph:
    graph = {**_video_only(), **stage(latent=wire("video"))}
    graph["texts"] = ("LTXVMultiPromptProvider", {"prompts": "a red ball | a blue ball", "clip": wire("te")})
    times = {
        "temporal_tile_size": 16,
        "temporal_overlap": 8,
        "guiding_strength": 1.0,
        "temporal_overlap_cond_strength": 0.5,
    }
    space = {
        "cond_image_strength": 1.0,
        "horizontal_tiles": 1,
        "vertical_tiles": 1,
        "spatial_overlap": 1,
        "adain_factor": 0.2,
    }
    steps = {"guiding_start_step": 0, "guiding_end_step": 1000, "optional_cond_image_indices": "0"}
    given = {"latents": wire("video"), "optional_positive_conditionings": wire("texts")}
    graph["stage"] = ("LTXVLoopingSampler", {**_pieces(), **given, **times, **space, **steps})
    del graph["split"]
    return {**graph, **_silent(wire("stage"))}


def multimodal() -> Graph:
    """Guidance of each stream."""
    graph = start()
    scales = {
        "stg": 1.0,
        "perturb_attn": True,
        "rescale": 0.7,
        "modality_scale": 3.0,
        "skip_step": 0,
        "cross_attn": True,
    }
    graph["sees"] = ("GuiderParameters", {"modality": "VIDEO", "cfg": 3.0, **scales})
    graph["hears"] = ("GuiderParameters", {"parameters": wire("sees"), "modality": "AUDIO", "cfg": 7.0, **scales})
    texts = {"positive": wire("cond", 0), "negative": wire("cond", 1), "parameters": wire("hears"), "skip_blocks": "1"}
    return {**graph, **stage(guider=("MultimodalGuider", {"model": wire("ckpt"), **texts})), **end()}


def stg() -> Graph:
    graph = start()
    graph["blocks"] = ("LTXVApplySTG", {"model": wire("ckpt"), "block_indices": "1"})
    texts = {"positive": wire("cond", 0), "negative": wire("cond", 1), "cfg": 3.0, "stg": 1.0, "rescale": 0.7}
    return {**graph, **stage(guider=("STGGuider", {"model": wire("blocks"), **texts})), **end()}


def normalizing() -> Graph:
    graph = {**start(), **stage()}
    factors = {"video_normalization_factors": "1, 1, 1", "audio_normalization_factors": "1, 0.5, 1"}
    graph["stage"] = ("LTXVNormalizingSampler", {**graph["stage"][1], **factors})
    return {**graph, **end()}


def retake() -> Graph:
    graph = {**start(), **_clip()}
    graph["encoded"] = ("VAEEncode", {"pixels": wire("sized"), "vae": wire("ckpt", 2)})
    del graph["video"]
    graph |= _joined(wire("encoded"))
    times = {"start_time": 0.1, "end_time": 0.3, "video_fps": 24.0, "mask_video": True, "mask_audio": True}
    graph["seconds"] = (
        "LTXVSetAudioVideoMaskByTime",
        {"av_latent": wire("av"), **times, "mask_init_value": 0.0, "slope_len": 3},
    )
    return {**graph, **stage(latent=wire("seconds")), **end()}


def gguf() -> Graph:
    """Quantised files, KJNodes' constants and loaders, clips of the video helper."""
    graph = start()
    graph["ckpt"] = ("UnetLoaderGGUF", {"unet_name": "ltx-2.3-22b-dev-Q4_K_M.gguf"})
    names = {"clip_name1": "gemma-3-12b-it-Q4_K_M.gguf", "clip_name2": "ltx-2.3-embeddings_connectors.safetensors"}
    graph["te"] = ("DualCLIPLoaderGGUF", {**names, "type": "ltxv"})
    graph["vae"] = (
        "VAELoaderKJ",
        {"vae_name": "LTX23_video_vae_bf16.safetensors", "device": "main_device", "weight_dtype": "bf16"},
    )
    graph["avae"] = (
        "VAELoaderKJ",
        {"vae_name": "LTX23_audio_vae_bf16.safetensors", "device": "main_device", "weight_dtype": "bf16"},
    )
    graph["wide"] = ("INTConstant", {"value": 64})
    graph["video"][1].update(width=wire("wide"), height=wire("wide"))
    cap = {"frame_load_cap": 9, "skip_first_frames": 0, "select_every_nth": 1, "format": "AnimateDiff"}
    graph["clip"] = (
        "VHS_LoadVideo",
        {"video": "somebody.mp4", "force_rate": 24, "custom_width": 64, "custom_height": 64, **cap},
    )
    graph["sage"] = ("PathchSageAttentionKJ", {"model": wire("ckpt"), "sage_attention": "auto", "allow_compile": False})
    texts = {"positive": wire("cond", 0), "negative": wire("cond", 1), "vae": wire("vae"), "latent": wire("video")}
    graph["guide"] = ("LTXVAddGuide", {**texts, "image": wire("clip"), "frame_idx": 0, "strength": 1.0})
    graph |= {**_joined(wire("guide", 2)), **stage(texts=("guide", "guide"), model=wire("sage"))}
    graph["frames"] = ("VAEDecode", {"samples": wire("split", 0), "vae": wire("vae")})
    graph["heard"] = ("LTXVAudioVAEDecode", {"samples": wire("split", 1), "audio_vae": wire("avae")})
    look = {"loop_count": 0, "filename_prefix": "LTX", "format": "video/h264-mp4", "pix_fmt": "yuv420p", "crf": 19}
    rest = {"save_metadata": True, "trim_to_audio": False, "pingpong": False, "save_output": True}
    graph["save"] = (
        "VHS_VideoCombine",
        {"images": wire("frames"), "audio": wire("heard"), "frame_rate": 24, **look, **rest},
    )
    return graph


def pictures_and_nag() -> Graph:
    """KJNodes' many pictures in one node, and its negative prompt without guidance."""
    graph = {**start(length=17), **_picture(1.0)}
    del graph["first"]
    graph["fitted"] = (
        "ImageResizeKJv2",
        {
            "image": wire("sized"),
            "width": 64,
            "height": 64,
            "upscale_method": "lanczos",
            "keep_proportion": "crop",
            "pad_color": "0, 0, 0",
            "crop_position": "center",
            "divisible_by": 32,
            "device": "cpu",
        },
    )
    many: dict[str, Any] = {"num_images": "2"}
    for index, frame in ((1, 0), (2, 8)):
        many |= {
            f"num_images.image_{index}": wire("fitted"),
            f"num_images.strength_{index}": 1.0,
            f"num_images.index_{index}": frame,
        }
    graph["first"] = ("LTXVImgToVideoInplaceKJ", {"vae": wire("ckpt", 2), "latent": wire("video"), **many})
    graph["nag"] = (
        "LTX2_NAG",
        {
            "model": wire("ckpt"),
            "nag_scale": 11.0,
            "nag_alpha": 0.25,
            "nag_tau": 2.5,
            "nag_cond_video": wire("no"),
            "nag_cond_audio": wire("no"),
            "inplace": True,
        },
    )
    return {**graph, **_joined(wire("first")), **stage(model=wire("nag")), **end()}


def unknown_pack() -> Graph:
    graph = start()
    graph["theirs"] = ("SomebodysNode", {"model": wire("ckpt"), "power": 0.5})
    return {**graph, **stage(model=wire("theirs")), **end()}


def native_2_5() -> Graph:
    """Nodes that came with ComfyUI 0.32."""
    graph = start()
    graph["ckpt"] = (
        "UNETLoader",
        {"unet_name": "ltx-2.5-22b-dev-transformer-bf16.safetensors", "weight_dtype": "default"},
    )
    graph["te"] = (
        "CLIPLoader",
        {"clip_name": "gemma4-12b-with-proj-ltx-2.5.safetensors", "type": "ltxv", "device": "default"},
    )
    graph["vae"] = ("VAELoader", {"vae_name": "ltx-2.5-video-vae-bf16.safetensors"})
    graph["avae"] = ("VAELoader", {"vae_name": "ltx-2.5-audio-vae-bf16.safetensors"})
    percent = {"start_percent": 0.0, "end_percent": 1.0}
    graph["other"] = ("LTXVModalityGuidance", {"model": wire("ckpt"), "modality_scale": 3.0, **percent})
    graph["blocks"] = ("LTXVSpatioTemporalGuidance", {"model": wire("other"), "scale": 1.0, "blocks": "28", **percent})
    texts = {"positive": wire("cond", 0), "negative": wire("cond", 1), "video_cfg": 3.0, "audio_cfg": 7.0}
    graph |= {**stage(guider=("LTXVDualCFGGuider", {"model": wire("blocks"), **texts})), **end()}
    graph["frames"] = ("VAEDecode", {"samples": wire("split", 0), "vae": wire("vae")})
    return graph


GRAPHS: dict[str, Callable[[], Graph]] = {
    make.__name__: make
    for make in (
        text_to_video, distilled, image_to_video, image_at_part_strength, compressed_image, two_stages,
        two_stages_ancestral, gradient_estimation, first_and_last, guide_at_part_strength,
        two_guides_at_part_strength, ic_lora, ic_lora_pack, inpaint, reference_voice, lip_dub, audio_to_video,
        masked_video, ksampler, simple_scheduler, foreign_step_rule, text_to_audio, tiled, looping, multimodal, stg,
        normalizing, retake, gguf, pictures_and_nag, unknown_pack, native_2_5,
    )
}  # fmt: skip


def api(graph: Graph) -> dict[str, Any]:
    """API format."""

    def value(given: Any) -> Any:
        return list(given) if isinstance(given, tuple) else given

    return {
        node_id: {
            "class_type": kind,
            "inputs": {name: value(given) for name, given in inputs.items()},
            "_meta": {"title": kind},
        }
        for node_id, (kind, inputs) in graph.items()
    }
