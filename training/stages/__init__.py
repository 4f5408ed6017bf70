"""The stages in which the embedded model is trained, each a task for the loop."""
