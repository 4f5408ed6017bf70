"""The built-in host: runs API-format workflows without ComfyUI.

Nothing is imported here, so that validation needs no torch.
"""
