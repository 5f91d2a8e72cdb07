"""How the demo looks: a live picture on a terminal, plain lines elsewhere."""

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import typer

from imserver.cli.demo.scene import Scene

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

REFRESH_S: Final = 0.125
FIGURES_EVERY_S: Final = 5.0
_FRAME_LINES: Final = 8
"""Lines of the live picture that are not conversation."""


class View(Protocol):
    """Shows a scene."""

    def line(self, text: str) -> None:
        """Take in a line of the conversation as it comes."""

    async def show(self, scene: Scene) -> None:
        """Show the scene until cancelled."""


class PlainView:
    """Every line as it comes, and the figures now and then: for pipes, files and logs."""

    def line(self, text: str) -> None:
        typer.echo(text)

    async def show(self, scene: Scene) -> None:
        while True:
            await asyncio.sleep(FIGURES_EVERY_S)
            typer.echo(f"       -- {scene.figures()}")


class LiveView:
    """The conversation, the robots and the figures, redrawn in place."""

    def __init__(self, url: str) -> None:
        self._url = url

    def line(self, text: str) -> None:
        """Wait for the next redraw."""

    async def show(self, scene: Scene) -> None:
        from rich.console import Console  # noqa: PLC0415  (plain output has no need of it)
        from rich.live import Live  # noqa: PLC0415

        console = Console()
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(self._picture(scene, console), refresh=True)
                await asyncio.sleep(REFRESH_S)

    def _picture(self, scene: Scene, console: "Console") -> "RenderableType":
        from rich.console import Group  # noqa: PLC0415
        from rich.panel import Panel  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        rows = max(console.size.height - _FRAME_LINES, 3)
        talk = Text("\n".join(list(scene.lines)[-rows:]), no_wrap=True, overflow="ellipsis")
        talk.highlight_regex(r"(?m)^ {7}-- .*$", "bold yellow")
        talk.highlight_regex(r"is the first$|finishes job \d+", "green")
        talk.highlight_regex(r"too late: .*$", "dim")
        robots = Text(no_wrap=True, overflow="ellipsis")
        for name, online in scene.online.items():
            robots.append("● " if online else "○ ", "green" if online else "red")
            robots.append(f"{name}  ")
        figures = Text(scene.figures())
        title = f"{scene.conv} at {self._url}"
        hint = Text("Ctrl-C ends it", "dim")
        return Group(Panel(talk, title=title, height=rows + 2), robots, figures, hint)


def view_for(url: str, *, is_terminal: bool) -> View:
    """Return the view that suits where standard output goes."""
    return LiveView(url) if is_terminal else PlainView()
