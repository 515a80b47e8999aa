"""The display of a sweep on stderr: the bars of a command, above them a table with a row for each job."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .console import Console

if TYPE_CHECKING:
    from rich.console import Group

MOST = 24  # rows of the table; those that have ended scroll away above it


class Board(Console):
    """Shows the state of each job. Without a terminal it prints one line as a job ends."""

    def __init__(self) -> None:
        from rich.live import Live

        super().__init__()
        self.rows: dict[str, tuple[str, int, int, float | None]] = {}
        self.display = Live(get_renderable=self._shown, console=self.rich, refresh_per_second=4, auto_refresh=self.live)

    def row(self, name: str, state: str, done: int = 0, steps: int = 0, loss: float | None = None) -> None:
        """Show the state of a job: "waits", "trains", "done", or why it failed."""
        before = self.rows.get(name, ("", 0, 0, None))[0]
        self.rows[name] = (state, done, steps, loss)
        if not self.live and state not in ("waits", "trains", before):
            told = "" if loss is None else f", training loss {loss:.4f}"
            print(f"{name}: {state}{told}", file=sys.stderr, flush=True)

    def _shown(self) -> Group:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for heading in ("job", "state", "steps", "training loss"):
            table.add_column(heading, justify="left" if heading in ("job", "state") else "right", no_wrap=True)
        running = [name for name, (state, *_) in self.rows.items() if state == "trains"]
        others = [name for name in self.rows if name not in running]
        for name in [*running, *others][:MOST]:
            state, done, steps, loss = self.rows[name]
            table.add_row(Text(name), Text(state), f"{done} of {steps}", "" if loss is None else f"{loss:.4f}")
        hidden = len(self.rows) - MOST
        return Group(table, *([Text(f"and {hidden} more")] if hidden > 0 else []), self.bars)
