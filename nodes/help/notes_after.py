"""Notes of the nodes from the schedule on: guidance, sampling, clips, decoding, saving."""

from __future__ import annotations

from ...networks.video_vae.memory import decode_bytes
from .errors import (
    CLAIMED,
    CROSSES,
    EXR_PACKAGE,
    FEW_SIGMAS,
    LAST_GOOD,
    MIXED,
    NO_C2PA,
    NO_CERTIFICATE,
    NO_NEGATIVE,
    NO_SEED,
    NO_SOUND,
    NO_STEP,
    NO_VIDEO,
    NOT_FINITE,
    OTHER_CONTEXTS,
    OTHER_MODEL,
    OUTSIDE,
    RISING_SIGMAS,
    SEVERAL_PROMPTS,
    TILES,
    UNCUTTABLE,
)
from .note import Note, gigabytes

SAMPLING = (OTHER_MODEL, NOT_FINITE, MIXED, FEW_SIGMAS, RISING_SIGMAS, NO_NEGATIVE, LAST_GOOD, NO_STEP)
SIGNING = (OUTSIDE, NO_C2PA, NO_CERTIFICATE)
PASSES = (
    "Beside the weights each step needs room for every token of the clip, about 120 kB a token with the 22B models: "
    "a token is 32 x 32 pixels of 8 frames. Guidance runs two or more passes a step, one after the other where memory "
    "is short."
)

GUIDANCE = {
    "OpenLTXSchedule": Note(
        errors=("terminal: expected a number from 0 to below 1, found …", "steps: expected at least 1, found …"),
    ),
    "OpenLTXDistilledSchedule": Note(
        use="Distilled models were made for these values: other schedules give worse pictures, not an error.",
    ),
    "OpenLTXNamedSchedule": Note(
        errors=(
            "sigmas: expected numbers with commas between them, found …",
            RISING_SIGMAS,
            "sigmas: expected values from 1 to 0, found … to …",
        ),
    ),
    "OpenLTXSchedulePart": Note(
        errors=(
            "steps: expected 0 <= first < last <= …, found … and …",
            "start sigma: expected a number above … and up to 1, found …",
        ),
    ),
    "OpenLTXSampler": Note(
        use="euler for everything official but the HQ recipe. res_2s calls the model twice a step, so give it about "
        "half the steps.",
        errors=("eta: expected at most 1, found …",),
    ),
    "OpenLTXSteadySteps": Note(
        errors=(
            "factors: expected numbers with commas between them, found …",
            "factors: expected numbers from 0…, one a step, found …",
        ),
    ),
    "OpenLTXScaleSteps": Note(errors=("factors: expected numbers with commas between them, found …",)),
    "OpenLTXStreamGuidance": Note(
        use="Each term that is not at its neutral value costs a pass of the model a step: cfg, stg and modality "
        "together make four passes of one.",
        errors=("stg_blocks: expected block numbers with commas between them or 'all', found …",),
    ),
    "OpenLTXGuider": Note(
        use="For full control of both streams; Preset Guider knows the official values.",
        errors=(SEVERAL_PROMPTS, OTHER_CONTEXTS, MIXED, NO_NEGATIVE),
    ),
    "OpenLTXPresetGuider": Note(errors=(SEVERAL_PROMPTS, OTHER_CONTEXTS, MIXED, NO_NEGATIVE)),
    "OpenLTXRecipe": Note(
        use="The quickest way to the values of a recipe; the output `rules` says them in words. Replace single outputs "
        "by nodes of your own.",
        errors=(SEVERAL_PROMPTS, OTHER_CONTEXTS),
    ),
    "OpenLTXRecordAttention": Note(
        use="Connect the marked model to the guider or sampler, and the second output with the sampled latent to "
        "Attention Map (LTX). Only the pass under the positive prompt is looked at. Tokens of the text are counted as "
        "the text encoder cuts it, the first one begins the text.",
        memory="The strengths are made for some queries at a time (64 MiB) and kept as one number a cell.",
        errors=(
            "block: expected 0 to …, found …; choose one of them",
            "tokens: expected numbers from 0 to …, found …; name tokens that are there",
            "attention: expected a step below …, found …; choose one of the run's",
            "attention: expected a guider without tiles, which see parts alone, found some; remove them",
        ),
    ),
    "OpenLTXTiledGuider": Note(
        memory="Only the tokens of one tile are in a model call: two tiles take about half, and their overlap.",
        errors=(TILES,),
    ),
    "OpenLTXFittingTiledGuider": Note(
        errors=(
            "tiles: expected room for … tokens in a tile with an overlap of …, found no such cut of … cells; allow "
            "more tokens, a smaller overlap, or a shorter clip",
        ),
    ),
}
"""OpenLTX/sampling: schedules, step rules, guiders."""

STAGES = {
    "OpenLTXSample": Note(
        use="The short way, with Euler's rule; Sample Stage takes any noise, guider and step rule.",
        memory=PASSES,
        errors=(*SAMPLING, SEVERAL_PROMPTS, OTHER_CONTEXTS),
    ),
    "OpenLTXSampleStage": Note(
        use="One stage of a recipe. For a refinement give it a latent and a schedule that begins below 1. In ComfyUI "
        "the guider may also hold its own LTX-2 MODEL, from its loaders or another pack's.",
        memory=PASSES,
        errors=(
            *SAMPLING,
            CLAIMED,
            "latent: it carries no frame rate; start from Empty AV Latent (LTX), or connect LTXVConditioning",
            "frame rate: expected … a second as in the latent, found … in the conditioning; set both alike",
            "latent: expected either guides of LTXVAddGuide and LTXVReferenceAudio or conditioning items of OpenLTX, "
            "found both; use one kind",
        ),
    ),
    "OpenLTXSampleTiles": Note(memory=PASSES, errors=(*SAMPLING, TILES, NO_SEED, UNCUTTABLE)),
    "OpenLTXSampleLong": Note(
        use="A segment costs what a clip of its length costs, so any length fits. Keep segments at the length that the "
        "model knows (5 to 10 s).",
        memory=PASSES,
        errors=(
            *SAMPLING,
            NO_SEED,
            UNCUTTABLE,
            CROSSES,
            "segments: expected them longer than their overlap of … s, found … s; make them longer",
            "beginning: expected latents … at … frames a second like the whole, found … at …; use one size and rate "
            "for both",
        ),
    ),
    "OpenLTXSampleLooping": Note(
        memory=PASSES,
        errors=(
            *SAMPLING,
            NO_SEED,
            "latent: expected video alone, found sound beside it; use Sample Long Clip (LTX) for both",
            "looping: expected pictures of one strength, found …; set them alike",
        ),
    ),
}
"""OpenLTX/sampling: what denoises."""

CLIPS = {
    "OpenLTXCropClip": Note(
        errors=(
            "images: expected … or … frames of at least …x… pixels, found … of …x…; connect what was made of the "
            "padded clip",
        ),
    ),
    "OpenLTXOutpaintClip": Note(
        errors=("outpaint: expected pixels to add at a side at least, found 0 everywhere; set one",),
    ),
    "OpenLTXInpaintClip": Note(errors=("mask: expected …x… pixels like the clip, found …x…; resize it",)),
    "OpenLTXCompositeClip": Note(
        errors=(
            "mask: expected 1 or … frames of … pixels, as the clip has, found … of …; draw it on a frame of the clip",
        ),
    ),
    "OpenLTXRenderCanvas": Note(
        errors=("frames: expected at least 2, found …; a single picture has nothing to interpolate",),
    ),
    "OpenLTXRenderTile": Note(
        errors=(
            "tile …: expected one of … tiles of … frames, found a clip of …; double the frames of the stage that made "
            "the keyframes",
            MIXED,
        ),
    ),
    "OpenLTXRenderKeyframes": Note(
        errors=("latent: expected a tile from Render Tile (LTX), found another latent; connect a tile",),
    ),
    "OpenLTXStitchTiles": Note(
        errors=(
            "keyframes: expected those of … tiles, found …; connect them all",
            "tiles: expected the part from latent frame … on as tile …, found another one",
            MIXED,
        ),
    ),
}
"""OpenLTX/clips and OpenLTX/rendering."""

ENDINGS = {
    "OpenLTXDecodeVideo": Note(
        memory=f"Grows with the size of a frame, not with the length: plan {gigabytes(decode_bytes(512, 768))} for "
        f"768 x 512 and {gigabytes(decode_bytes(1088, 1920))} for 1920 x 1088 in 16 bit, twice that in float32. The "
        "finished frames lie in the host's memory, 12 bytes a pixel.",
        errors=(NO_VIDEO, MIXED),
    ),
    "OpenLTXDecodeAudio": Note(errors=(NO_SOUND, MIXED)),
    "OpenLTXDecodeKeyframes": Note(
        errors=("keyframes: expected generated keyframes, found none; add slots to the stage's latent", MIXED),
    ),
    "OpenLTXAttentionMap": Note(
        errors=(
            "attention: expected a run of the marked model, found none; sample with the model of Record Attention "
            "(LTX)",
            "latent: expected the one that was sampled, of at most … cells, found …; connect the sampler's output",
            "images: expected the decoded clip of … latent frames, found … pictures; connect Decode Video (LTX)",
        ),
    ),
    "OpenLTXDecodeToFile": Note(
        use="In place of Decode Video, Decode Audio and Save AV File where nothing between them changes the frames.",
        memory="Frames leave the decoder a few at a time and go into the encoder: after some seconds of clip memory "
        "no longer grows. Where the device runs out, decoding goes on in smaller pieces, then in tiles, and says so.",
        errors=(
            "frames: expected even width and height, found …x…",
            "quality: expected … to … for …, found …",
            *SIGNING,
        ),
    ),
    "OpenLTXSaveAV": Note(
        use="The file carries the workflow (drag it into ComfyUI) and a manifest of how it was made, unless the host's "
        "switch for metadata is off.",
        errors=(
            "frames: expected even width and height, found …x…",
            "quality: expected … to … for …, found …",
            "…: this build of PyAV has no such encoder; choose another codec",
            "sample rate: expected one of … for …, found …; choose flac",
            *SIGNING,
        ),
    ),
    "OpenLTXSaveAudio": Note(
        errors=("sample rate: expected one of … for …, found …; choose flac", *SIGNING),
    ),
    "OpenLTXSaveFrames": Note(errors=(EXR_PACKAGE, *SIGNING)),
    "OpenLTXSaveIntermediates": Note(
        use="Encode a long prompt once and go on another day, take a latent out between two stages, or compare "
        "numbers. Move the file to the input folder for Load Intermediates. Numbers keep their type.",
        errors=(
            "intermediates: expected something to save, found nothing; connect a wire",
            "latent: expected one without conditioning items, found some; save it before them",
            "noise: expected the latent that it is for, found none; connect it too",
            OUTSIDE,
        ),
    ),
    "OpenLTXLoadEXR": Note(
        errors=(
            EXR_PACKAGE,
            "…: expected a folder with .exr files, found none",
            "…: expected the size of …; give frames of one size",
            "EXR sequence: expected more than … frames, found …",
            "…: expected the channels R, G and B of one size, found …",
        ),
    ),
    "OpenLTXLightToCodes": Note(
        errors=("colour space of EXR files: expected one of …, found …; declare what they hold",),
    ),
    "OpenLTXCodesToLight": Note(
        use="Decode with `precision` float32 first: lower precision shows as steps in the light.",
    ),
}
"""OpenLTX/decode, OpenLTX/save and OpenLTX/hdr."""
