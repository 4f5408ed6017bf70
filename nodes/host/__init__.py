"""Which host runs the nodes. Set once, by the package's entry point for ComfyUI; nothing sniffs."""

in_comfyui = False
