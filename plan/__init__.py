"""What a generation needs and how it fits on a machine: a plan a phase, made before anything is loaded."""
