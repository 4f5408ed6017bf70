"""Golden cases of the area."""
