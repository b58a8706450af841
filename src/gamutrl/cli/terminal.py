"""How prompts, turns and rewards are shown in a terminal: words, pictures in half blocks, tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console
    from rich.text import Text

    from gamutrl.core import Message, Part, Turn

MOST_WORDS = 1200
"""Characters of one text that are shown."""
SHADES = " .:-=+*#%@"
MARK = (255, 64, 64)


def console_for_output() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def thumbnail(picture: Image.Image, columns: int = 48, rows: int = 24, colour: bool = True) -> Text:
    """A picture in so many columns and rows at most: two pixels a character, or grey letters without colours."""
    from PIL import Image
    from rich.style import Style
    from rich.text import Text

    width, height = picture.size
    scale = min(columns / width, 2 * rows / height)
    size = (max(1, round(width * scale)), max(2, 2 * round(height * scale / 2)))
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    pixels = picture.convert("RGB").resize(size, how)
    drawn = Text(no_wrap=True)
    for y in range(0, size[1], 2):
        for x in range(size[0]):
            upper, lower = (pixels.getpixel((x, y + k)) for k in (0, 1))
            if colour:
                drawn.append("▀", Style(color=_hex(upper), bgcolor=_hex(lower)))
            else:
                grey = (sum(upper) + sum(lower)) / (6 * 256)  # type: ignore[arg-type]
                drawn.append(SHADES[int(grey * len(SHADES))])
        drawn.append("\n")
    return drawn


def _hex(pixel: Any) -> str:
    return "#{:02x}{:02x}{:02x}".format(*pixel)


class Shown:
    """Pictures on their way to a terminal: each is written to a folder, named, and drawn small."""

    def __init__(self, console: Console, folder: Path, columns: int = 48, drawn: bool = True) -> None:
        self.console, self.folder, self.columns, self.drawn = console, folder, columns, drawn
        self.count = 0

    def messages(self, messages: Iterable[Message]) -> None:
        """A conversation as the model sees it."""
        for message in messages:
            self.console.print(f"[bold]{message.role}[/bold]")
            self.parts(message.parts)

    def parts(self, parts: Iterable[Part]) -> None:
        for part in parts:
            if part.kind == "text":
                if part.value.strip():
                    self.console.print(indented(part.value))
            elif part.kind in ("image", "video"):
                self.picture(part.value, part.kind)
            else:
                self.console.print(f"  [dim]({part.kind})[/dim]")

    def picture(self, value: Any, kind: str = "image", name: str = "") -> None:
        """One picture, or the frames of a clip side by side."""
        from PIL import Image

        frames = [frame for frame in (value if kind == "video" else [value]) if isinstance(frame, Image.Image)]
        if not frames:
            self.console.print(f"  [dim]({kind})[/dim]")
            return
        self.count += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{name or f'{self.count:03d}'}.png"
        sheet = frames[0] if len(frames) == 1 else filmstrip(frames)
        sheet.convert("RGB").save(file)
        width, height = frames[0].size
        what = f"{len(frames)} frames of {width} × {height}" if kind == "video" else f"{width} × {height}"
        self.console.print(f"  [cyan]picture {self.count}[/cyan] [dim]{what}[/dim]  ", end="")
        self.console.print(str(file), markup=False, soft_wrap=True)
        if self.drawn:
            columns = min(self.columns * (2 if len(frames) > 1 else 1), max(16, self.console.width - 4))
            small = thumbnail(sheet, columns, self.columns // 2, self.console.color_system is not None)
            for line in small.split("\n"):
                if line:
                    self.console.print("  ", line, sep="", no_wrap=True, overflow="crop")


def filmstrip(frames: Sequence[Image.Image], most: int = 16) -> Image.Image:
    """Frames side by side, at most so many, evenly chosen."""
    from PIL import Image

    from gamutrl.data.media import even_indices

    chosen = [frames[k].convert("RGB") for k in even_indices(len(frames), min(most, len(frames)))]
    width, height = chosen[0].size
    sheet = Image.new("RGB", (len(chosen) * (width + 2) - 2, height), "white")
    for k, frame in enumerate(chosen):
        sheet.paste(frame, (k * (width + 2), 0))
    return sheet


def indented(said: str, style: str = "", by: int = 2) -> Any:
    """Words as they are, moved in; a very long text is cut, and says so."""
    from rich.padding import Padding
    from rich.text import Text

    more = len(said) - MOST_WORDS
    shown = said if more <= 0 else f"{said[:MOST_WORDS]} … {more:,} more characters"
    return Padding(Text(_printable(shown), style=style), (0, 0, 0, by))


def _printable(said: str) -> str:
    """Without control characters: what a model writes must not steer the terminal."""
    return "".join(c if c == "\n" or c.isprintable() else " " if c == "\t" else "�" for c in said)


def calls_of(turn: Turn) -> list[tuple[str, str]]:
    """What a turn asked for in words, and why it was refused, if it was."""
    told = []
    for call in turn.calls:
        arguments = ", ".join(f"{name}={value}" for name, value in dict(call.arguments).items())
        told.append((f"{call.name or 'unreadable'}({arguments})"[:300], call.error or ""))
    return told


def print_calls(console: Console, turn: Turn) -> None:
    """A turn's calls, and where they looked."""
    for said, error in calls_of(turn):
        console.print(indented(f"→ {said}", "yellow"))
        if error:
            console.print(indented(f"  refused: {error}", "red"))
    for shown in turn.info.get("shown", ()):
        if told := where(shown):
            console.print(indented(f"  {told}", "dim"))


def where(shown: Mapping[str, Any]) -> str:
    """What one call brought, in words: `box` is on the full picture `picture`, numbered from 0."""
    parts = []
    if "page" in shown:
        parts.append(str(shown["page"]))
    if "box" in shown:
        on = f" of picture {shown['picture'] + 1}" if "picture" in shown else ""
        parts.append(f"the part {list(shown['box'])}{on}")
    parts += [f"{name} {shown[name]}" for name in ("point", "frames", "title", "entry") if name in shown]
    return ", ".join(parts)


def print_rewards(
    console: Console, values: Mapping[str, float | None], weights: Mapping[str, float], missing: Mapping[str, str]
) -> None:
    """Each reward with its weight; `total` in the last line. missing: what could not be scored, and why."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("", style="dim")
    for name, value in values.items():
        weight = weights.get(name, 1.0)
        note = "does not apply" if value is None else f"weight {weight:g}" if weight != 1 else ""
        table.add_row(name, "–" if value is None else f"{value:.3f}", note, style="bold" if name == "total" else "")
    console.print(table)
    for name, why in missing.items():
        console.print(indented(f"{name} could not be scored here: {why}", "dim", 0))
