"""What a run can end with besides its results."""

from __future__ import annotations


class WorkflowError(ValueError):
    """The workflow cannot run: one line a problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class NodeError(RuntimeError):
    """A node failed: one line with node id, class, title, exception type and text. `__cause__` is the original."""

    def __init__(self, text: str, node_id: str) -> None:
        super().__init__(text)
        self.node_id = node_id


class NodeUserError(NodeError, ValueError):
    """A node refused its input (ValueError): the user's mistake, shown without a traceback."""
