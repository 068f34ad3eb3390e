"""Walk DAGs: everything that reads one, in one place. See `steps` for how a walk is driven."""

from __future__ import annotations

from .content import ContentWalk, Part, content, link_target
from .directories import DirEntry, Kind, PathNotFoundError, Resolved, list_directory, resolve
from .files import MAX_LEAVES, NoLayoutError, file_layout, inner_nodes, raw_layout
from .order import Scope, dag_order
from .steps import Steps, arun, children, run

__all__ = [
    "MAX_LEAVES",
    "ContentWalk",
    "DirEntry",
    "Kind",
    "NoLayoutError",
    "Part",
    "PathNotFoundError",
    "Resolved",
    "Scope",
    "Steps",
    "arun",
    "children",
    "content",
    "dag_order",
    "file_layout",
    "inner_nodes",
    "link_target",
    "list_directory",
    "raw_layout",
    "resolve",
    "run",
]
