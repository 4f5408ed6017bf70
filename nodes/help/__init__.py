"""What users read about nodes: help pages and the languages of the interface, both made from the schemas."""
