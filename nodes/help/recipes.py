"""What each recipe of workflows/ does, by its name: the note in its template, and `openltx workflows`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

RECIPES: Mapping[str, str] = MappingProxyType(
    {
        "audio_to_video": "A sound file is given, the pictures are made to fit it; the file goes into the result "
        "unchanged.",
        "detailer": "A clip is sampled again for detail, window by window, with an IC-LoRA; its sound stays.",
        "distilled": "Text to video with sound by a distilled model: eight steps, then three after the upscaler, no "
        "guidance. The fastest way.",
        "distilled_images": "Pictures to video by a distilled model: a first and a last frame, in two stages.",
        "distilled_keyframes": "LTX-2.5, distilled: pictures in slots of the latent, which become keyframes; two "
        "stages.",
        "dub": "A clip is given a new text to speak, in a voice that is given as a sound file.",
        "extend": "A clip goes on: its end is kept as the overlap of the next window.",
        "fidelity_rendering": "LTX-2.5: pictures are rendered in detail, tile by tile, around keyframes, in one round.",
        "fidelity_rendering_two_rounds": "LTX-2.5: pictures are rendered in detail, tile by tile, around keyframes, "
        "in two rounds.",
        "hdr": "A clip becomes scene-linear light in EXR files, with an IC-LoRA for HDR.",
        "high_quality": "A picture to video with sound in two stages, by the published recipe of highest quality: "
        "more steps, a second order sampler.",
        "ic_lora": "A control clip (edges, depth, poses) leads the pictures, with an IC-LoRA, in two stages.",
        "image_to_av": "A picture to video with sound in one sampling: the picture is the first frame.",
        "ingredients": "One sheet of pictures says who and what appears, with an IC-LoRA, in two stages.",
        "inpaint": "What a mask covers in a clip is made anew; needs no LoRA.",
        "inpaint_ic_lora": "What a mask covers in a clip is made anew, with an IC-LoRA for inpainting, in two stages.",
        "keyframe_interpolation": "From a first picture to a last one, in two stages.",
        "long_clip": "A clip longer than the model can sample at once: windows with an overlap, pictures and sound "
        "together, a prompt each.",
        "motion_track": "Tracks drawn on a clip lead the motion, with an IC-LoRA, in two stages.",
        "one_stage": "Text to video with sound in one sampling, by the published recipe of the model's generation: "
        "guidance towards text, towards the other stream, and away from skipped blocks.",
        "outpaint": "A clip becomes larger than it was, with an IC-LoRA for outpainting, in two stages.",
        "pixel_upscaler": "A clip is made larger, with an IC-LoRA; its sound stays.",
        "retake": "A part of a clip, given in seconds, is made anew, pictures and sound; the rest stays.",
        "shots": "A film as a text: shots with their length, prompt, pictures, sounds and transitions; only what "
        "changed is rendered anew.",
        "shots_plan": "What a film of `shots` still needs: a table and a contact sheet, nothing is rendered.",
        "text_to_audio": "Text to sound alone: the stream of pictures is left out.",
        "text_to_av": "Text to video with sound, in the fewest nodes. Guidance by text alone; for the guidance that "
        "the models were published with take `one_stage`.",
        "two_stages": "Text to video with sound: half the size first, then the latent is upscaled and sampled again "
        "for detail. The usual way to large pictures.",
        "two_stages_community": "A picture to video in two stages, by the rules that ComfyUI's community shares: "
        "other masks, sigmas by hand, Euler with CFG++.",
        "two_stages_image": "A picture to video with sound, in two stages. The picture is given to both: as the first "
        "frame of each size.",
        "video_to_audio": "A clip is given, its sound is made anew.",
    }
)
