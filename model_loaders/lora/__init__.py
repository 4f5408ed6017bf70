"""LoRA files: `keys` matches their names with a model's, `adapters` is the arithmetic, `strengths` how much goes where,
`file` opens one and reports, `network` applies several to a network, `model` adds one to a model handle, `fuse` merges
into quantised weights."""
