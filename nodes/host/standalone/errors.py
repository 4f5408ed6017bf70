"""What a run can end with besides its results."""

from __future__ import annotations

SHOWN = 20  # problems of a workflow: a file of another program may have thousands


class WorkflowError(ValueError):
    """The workflow cannot run: one line a problem."""

    def __init__(self, problems: list[str]) -> None:
        more = len(problems) - SHOWN
        super().__init__("\n".join([*problems[:SHOWN], *([f"… and {more} more problems"] if more > 0 else [])]))
        self.problems = problems


class NodeError(RuntimeError):
    """A node failed: one line with node id, class, title, exception type and text. `__cause__` is the original."""

    def __init__(self, text: str, node_id: str) -> None:
        super().__init__(text)
        self.node_id = node_id


class NodeUserError(NodeError, ValueError):
    """A node refused its input (ValueError): the user's mistake, shown without a traceback."""
