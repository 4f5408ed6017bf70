"""Shot lists as nodes: text → plan, plan → renderings, renderings → one file. What is pure lies in shots/."""
