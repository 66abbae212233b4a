"""What the demo prints: headings, figures and verdicts; on a terminal with colours and progress, in a log as plain lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Transcript:
    """Counts what was not as it should be: `wrong` is empty at the end of a good demo."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.wrong: list[str] = []
        self._began = time.monotonic()

    def heading(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/bold]  [dim]({time.monotonic() - self._began:.1f} s)[/dim]")

    def say(self, text: str) -> None:
        self.console.print(f"  {text}", markup=False)

    def expect(self, so: bool, text: str) -> None:
        """A line with a verdict."""
        self.console.print(f"  [green]ok[/green]     {text}" if so else f"  [red]WRONG[/red]  {text}")
        if not so:
            self.wrong.append(text)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        """A bar on a terminal; its task 0 is there already."""
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            bar.add_task(what, total=total)
            yield bar
