"""Quantised weights: which layers of a file are quantised, and how to get plain tensors out of them.

`discovery` finds the layers, `formats` holds the table of dequantisers (one small pure function a format, in `fp8`,
`int8`, `nvfp4` and `mxfp8`), `weights` gives a loader the tensors of a component as if none was quantised.
"""
