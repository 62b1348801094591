"""Reports as lists of blocks, rendered to Markdown, to one self-contained HTML file and to the terminal.

Names of models and files may hold anything: every text is escaped for the place where it goes.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Heading:
    """A heading of plain text; level 1 is the title of the whole report."""

    text: str
    level: int = 2

    def __post_init__(self):
        if self.level not in range(1, 7):
            raise ValueError(f"heading {self.text!r} has level {self.level}, expected 1 to 6")


@dataclass(frozen=True)
class Text:
    """A paragraph: plain text with `code` in backticks and **bold**, and no other markup."""

    text: str


@dataclass(frozen=True)
class Table:
    """Cells of plain text, the (row, column) of those to emphasise, and a caption with the markup of `Text`.

    Columns of numbers are aligned on the right. Raises ValueError when a row is not as long as the header or a cell
    in `best` does not exist.
    """

    header: list[str]
    rows: list[list[str]]
    caption: str = ""
    best: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self):
        for number, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise ValueError(f"row {number} has {len(row)} cells, the table's header {len(self.header)}: {row}")
        for row, column in self.best:
            if row not in range(len(self.rows)) or column not in range(len(self.header)):
                raise ValueError(f"best cell {row, column}: the table has {len(self.rows)} x {len(self.header)} cells")


@dataclass(frozen=True)
class Picture:
    """A PNG file, and a caption with the markup of `Text`."""

    path: Path
    caption: str


Block = Heading | Text | Table | Picture

MARKUP = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*")  # code or bold
NUMBER = re.compile(r"[-+\u2212\u00b1~<>\u2264\u2265\u2248]*\s*[\d.\u221e].*|[-\u2013\u2014]?|[-+]?(nan|inf)|n/a", re.I)


def printable(text: str) -> str:
    """Make text one line: no control or invisible characters, and none of a file name's undecodable bytes."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text).strip()


def marked_up(text: str, plain: Callable[[str], str], code: Callable[[str], str], bold: str) -> str:
    """Render a text with `code` and **bold**; `plain` and `code` escape, `bold` is a format."""
    text, result, end = printable(text), "", 0
    for match in MARKUP.finditer(text):
        result += plain(text[end : match.start()])
        result += code(match[1]) if match[1] else bold.format(plain(match[2]))
        end = match.end()
    return result + plain(text[end:])


def number_columns(table: Table) -> list[bool]:
    return [
        column > 0 and all(NUMBER.fullmatch(row[column].strip()) for row in table.rows)
        for column in range(len(table.header))
    ]


def to_markdown(blocks: list[Block]) -> str:
    """Render blocks as GitHub-flavoured Markdown; pictures are linked by file name, as they lie beside the report."""
    return "\n\n".join(map(_markdown_block, blocks)) + "\n"


def _markdown_block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_markdown_plain(printable(block.text))}"
    if isinstance(block, Text):
        return _markdown_text(block.text)
    if isinstance(block, Picture):
        target = quote(block.path.name, errors="surrogateescape")
        return f"![{_markdown_plain(printable(block.path.stem))}]({target})\n\n{_markdown_text(block.caption)}".strip()
    lines = [[_markdown_plain(printable(cell)) for cell in row] for row in [block.header, *block.rows]]
    for row, column in block.best:
        lines[row + 1][column] = f"**{lines[row + 1][column]}**"
    lines.insert(1, ["---:" if right else ":---" for right in number_columns(block)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{_markdown_text(block.caption)}\n\n{table}".strip()


def _markdown_plain(text: str) -> str:
    """Escape what Markdown takes for markup anywhere in a line; underscores inside words are none."""
    return re.sub(r"[\\`*\[\]<>|~$&#]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _markdown_text(text: str) -> str:
    line = marked_up(text, _markdown_plain, "`{}`".format, "**{}**")
    return re.sub(r"^(\d*)([-+.)])(?=[\s-]|$)", r"\1\\\2", line)  # would start a list or draw a rule


def to_terminal(table: Table) -> str:
    """Render a table as aligned plain text; the best cells carry a star."""
    lines = [[printable(cell) for cell in row] for row in [table.header, *table.rows]]
    for column, right in enumerate(number_columns(table)):
        stars = {row + 1 for row, best_column in table.best if best_column == column}
        cells = [line[column] + ("*" if i in stars else " " * bool(stars)) for i, line in enumerate(lines)]
        width = max(map(_width, cells))
        for line, cell in zip(lines, cells):
            padding = " " * (width - _width(cell))
            line[column] = padding + cell if right else cell + padding
    lines.insert(1, ["-" * _width(cell) for cell in lines[0]])
    legend = ["* best"] if table.best else []
    return "\n".join([printable(table.caption)] * bool(table.caption) + ["  ".join(x).rstrip() for x in lines] + legend)


def _width(text: str) -> int:
    """Count the terminal columns of a text: East Asian wide characters take two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)
