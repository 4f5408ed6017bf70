"""Runs a workflow on a ComfyUI server: what it is told, what it answers, and a server of our own from a checkout."""
