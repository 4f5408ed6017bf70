"""Notes of the nodes up to the latent that is sampled: loaders, encoders, latents, conditioning items."""

from __future__ import annotations

from ...networks.video_vae.memory import encode_bytes
from .errors import (
    BEYOND,
    CLAIMED,
    INCOMPLETE,
    LORA_GENERATION,
    LORA_KEYS,
    MISSING,
    MIXED,
    NO_LORA,
    NO_MEDIA,
    NO_RATE,
    NO_SOUND,
    NO_TRANSFORMER,
    NO_VIDEO,
    OLD_MODEL,
    OTHER_ENCODER,
    PICKLE,
    SHORT,
)
from .note import Note, gigabytes

LOADERS = {
    "OpenLTXLoadModel": Note(
        use="Opening reads the header only, so it takes moments; weights come when a node first needs them. For files "
        "in parts (LTX-2.5, repacks) use Load Transformer and Load VAEs. Without any download choose the embedded "
        "`openltx-tiny` model: it tries a workflow in seconds.",
        memory="Quantised weights (fp8, int8, nvfp4, mxfp8, GGUF) stay quantised in memory. Each part takes its own "
        "memory when it is first used, about its size in the file.",
        errors=(NO_TRANSFORMER, OLD_MODEL, OTHER_ENCODER, INCOMPLETE, PICKLE),
    ),
    "OpenLTXLoadTransformer": Note(
        use="For LTX-2.5 and for repacks, whose transformer lies in a file of its own. Name `connectors` and "
        "`projection` only where they lie in further files.",
        memory="As Load LTX Model.",
        errors=(NO_TRANSFORMER, OLD_MODEL, OTHER_ENCODER, INCOMPLETE, PICKLE),
    ),
    "OpenLTXLoadVAE": Note(
        errors=(
            MIXED,
            "…: expected an audio VAE (tensors …encoder.… or …decoder.…), found none; use a single-file "
            "checkpoint or the audio VAE file",
            INCOMPLETE,
        ),
    ),
    "OpenLTXLoadUpscaler": Note(
        errors=("…: expected a latent upscaler (tensors …, …), found none; choose another file", INCOMPLETE),
    ),
    "OpenLTXOneStream": Note(
        use="For sound alone (or picture alone) at a fraction of the memory. Choose the same stream in Empty AV "
        "Latent.",
        memory="The other half, and what links both, is never read.",
        errors=(
            "…: expected a model without LoRAs, found …; put One Stream of Model before Load LoRA",
            "…: expected a transformer with …, found none; choose another",
        ),
    ),
    "OpenLTXLoadLora": Note(
        use="Chain as many as you like. An IC-LoRA names the size of its reference: connect `space_factor` and "
        "`time_factor` to Condition: Reference Video.",
        errors=(
            LORA_GENERATION,
            NO_LORA,
            LORA_KEYS,
            "blocks: expected FIRST-LAST=FACTOR, for instance 0-9=0.5, found …",
        ),
    ),
    "OpenLTXLoadTextLora": Note(errors=(LORA_GENERATION, NO_LORA, LORA_KEYS)),
    "OpenLTXInspect": Note(
        use="Look here first when a file does not load.",
        memory="Reads headers only: a file of 46 GB takes moments.",
        errors=(MISSING, "file: expected one of the folders … before the name, found …", INCOMPLETE, PICKLE),
    ),
    "OpenLTXMemoryPlan": Note(
        use="A stage that runs out of memory goes on by itself in the next cheaper way; this shows what to expect, "
        "and chooses otherwise where you want.",
        memory="The predictions come from a run of the network without storage; they take seconds and no memory.",
    ),
    "OpenLTXDownload": Note(
        use="The only node that connects to the network, and only while its switch is on. An interrupted download "
        "goes on when it is queued again.",
    ),
    "OpenLTXLoadIntermediates": Note(
        errors=(
            "…: expected a file of Save Intermediates (LTX), found another; choose one",
            "noise: expected numbers for … (samples, tokens, channels), found …; use Noise (LTX), or the latent that "
            "the noise was saved for",
        ),
    ),
    "OpenLTXLoadClip": Note(
        memory="Frames are held as 32-bit floats: 12 bytes a pixel, 0.55 GiB for 5 s of 768 x 512 at 25 a second. "
        "Take a range of seconds of a long file.",
        errors=(
            NO_MEDIA,
            "…: expected frames in this range, found none; choose an earlier one",
            "…: expected a video, found no picture in it; choose another file",
        ),
    ),
    "OpenLTXTrainLora": Note(
        use="Clips and captions are encoded once, into a cache beside the run. Before a long run try 20 steps.",
        memory="The weights as they are stored, beside them one clip's activations: lower `frames` or the size first.",
        errors=(
            "…: expected the name of a folder with clips, found none; put one into the input folder",
            "…: expected videos or pictures, found none; put the clips there",
            "…: expected a caption in … or …, found none; write one",
            "more: … is set by the node's own inputs; remove it there",
            "…: expected … = … as the run there began, found …; choose another output folder, or empty this one",
        ),
    ),
}
"""OpenLTX/loaders and OpenLTX/training."""

ENCODING = {
    "OpenLTXEncodePrompt": Note(
        use="Write what is seen and what is heard, in the order in which it happens. Use it twice for text guidance: "
        "once for what to show, once for what to stay away from. The text is encoded again only when it changes.",
        memory="The text encoder is the largest part beside the transformer (Gemma 3 12B: 24 GB in bf16).",
        errors=(OTHER_ENCODER,),
    ),
    "OpenLTXEnhancePrompt": Note(
        use="Between the idea and Encode Prompt: connect its text there. Read what it wrote before you render; another "
        "seed writes another text. Only the prompt of what to show is worth enhancing, not the one of what to avoid. "
        "The encoder inside the embedded tiny model knows no language.",
        memory="The text encoder, as for encoding. On a CPU a large one takes minutes for a text.",
        errors=(
            "text: expected an idea in words, found none; write one",
            "own_instruction: expected an order to the language model, found none; write one, or choose another",
            "text_encoder: expected Gemma 3, found the encoder of LTX-…, which only encodes; connect the text encoder "
            "of an LTX-2 or 2.3 model, or write the whole prompt yourself",
        ),
    ),
    "OpenLTXEncodePrompts": Note(
        errors=("prompts: expected a text in each of … parts, found an empty one; remove a ---",),
    ),
    "OpenLTXEncodeVideo": Note(
        memory=f"Grows with the size of a frame, not with the length: plan {gigabytes(encode_bytes(512, 768))} for "
        f"768 x 512 and {gigabytes(encode_bytes(1088, 1920))} for 1920 x 1088 in 16 bit, twice that in float32, and "
        "the frames themselves beside it.",
    ),
    "OpenLTXEncodeAudio": Note(
        errors=(
            "audio: expected sound, found a silent clip; generate its sound, or load a sound file",
            MIXED,
            NO_RATE,
        ),
    ),
    "OpenLTXClipSize": Note(use="Connect its outputs to Empty AV Latent to work in the size of a given clip."),
}
"""OpenLTX/encode, and the prompt nodes."""

LATENTS = {
    "OpenLTXEmptyAVLatent": Note(
        use="Sizes become multiples of 32 (of 64 with `divisor` 2), frames 8n+1; the node says what it changed, and "
        "gives the frames that it made. For two stages enter the final size here and set `divisor` to 2.",
        memory="The latent itself is small. What it costs to sample grows with width x height x frames: 768 x 512 with "
        "121 frames are 6144 tokens, 1536 x 1024 with 121 frames 24576.",
        errors=(
            "…: expected a model for video, found one for sound alone; make audio only",
            "…: expected a model for sound, found one for video alone; make video only",
            "frames: … at … a second are too short for sound; use more frames",
        ),
    ),
    "OpenLTXJoinAV": Note(
        use="After an upscale of the video alone, put the sound of the stage before beside it.",
        errors=(
            MIXED,
            "audio: expected a latent of … frames (… s) beside … pictures at … a second, found … (… s); let Encode "
            "Audio (LTX) fit it to the video",
            NO_VIDEO,
            NO_SOUND,
        ),
    ),
    "OpenLTXSplitAV": Note(errors=(NO_VIDEO, NO_SOUND)),
    "OpenLTXUpscaleLatent": Note(
        use="Sample the result again with a few steps at low noise (Distilled Schedule, stage 2). Add pictures again, "
        "for the new size: conditioning items are not carried over. The upscalers of LTX-2.3 and LTX-2.5 have the same "
        "tensors: the wrong one is refused where its metadata name its version, told where only its name does, and "
        "not noticed where neither does.",
        errors=(MIXED, NO_VIDEO),
    ),
    "OpenLTXTrimVideo": Note(
        errors=("frames: expected at most … after … rounds, found …; take the frames of the first stage", NO_VIDEO),
    ),
    "OpenLTXTrimAudio": Note(errors=(NO_VIDEO, NO_RATE)),
}
"""OpenLTX/latent."""

ITEMS = {
    "OpenLTXConditionImage": Note(
        use="Frame 0 begins with the picture, -1 ends with it. The output `frames` says what it binds to: a clip of "
        "several pictures binds to as many frames. In the second of two stages add the same picture again.",
        errors=(BEYOND, CLAIMED, MIXED, "crf: expected a number from 0 (off) to 51, found …"),
    ),
    "OpenLTXConditionReference": Note(
        use="Needs an IC-LoRA that was trained for such a clip. Connect its `space_factor` and `time_factor`.",
        memory="The reference adds its own tokens to every step: a full-size one doubles them, one of half the size "
        "adds a quarter.",
        errors=(
            "reference video: expected a latent, or a clip and a video VAE, found neither; connect one",
            "reference video: expected a stage in multiples of … pixels for a factor of …, found …x…; choose another "
            "size",
            "mask: expected none beside a reference latent, whose pixels are not known; connect the clip",
            "mask: expected 1 or … frames of … pixels, as the clip has, found … of …; draw it on a frame of the clip",
            MIXED,
        ),
    ),
    "OpenLTXConditionSlots": Note(
        use="For pictures that the model makes beside the clip, such as the frames that a later stage must meet.",
        errors=(
            "keyframe slots: this model cannot generate keyframes; use an LTX-2.5 model or remove them",
            "frames: expected whole numbers with commas between them, found …",
            "…: expected one item a stage, found two; name all frames in one item",
        ),
    ),
    "OpenLTXConditionInpaint": Note(
        use="The mask is counted in cells of 8 frames and 32 x 32 pixels: draw it a cell larger than the thing.",
        errors=(
            SHORT,
            "mask: expected 1 or … frames of … pixels, as the clip has, found … of …; draw it on a frame of the clip",
            MIXED,
        ),
    ),
    "OpenLTXConditionRetake": Note(
        use="Encode the clip (Encode Video, Encode Audio, Join AV), then name the seconds to make again.",
        errors=("retake: expected one retake, before all other items, as it overwrites the mask; move it up",),
    ),
    "OpenLTXTimeMask": Note(
        use="As the node pack's retake by time, for sampling in the same way as its workflows. Condition: Retake (LTX) "
        "takes every group of frames that the seconds touch, this node only those between: name longer seconds.",
        errors=("retake: expected 0 <= start < end, found … and … s", NO_RATE),
    ),
    "OpenLTXGivenAudio": Note(
        errors=(
            "audio: expected sound, found a silent clip; generate its sound, or load a sound file",
            NO_SOUND,
            MIXED,
        ),
    ),
    "OpenLTXGivenVideo": Note(errors=(SHORT, NO_VIDEO, MIXED)),
    "OpenLTXReferenceVoice": Note(
        errors=(
            "reference voice: expected a latent, or sound and an audio VAE, found neither; connect one",
            MIXED,
            "given stream: expected at most references beside it, found …; the stream is given whole, so remove one "
            "of them",
        ),
    ),
}
"""OpenLTX/conditioning: items of a latent."""
