"""Write rows of cells as text, Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]  # the first is the header
BOLD = re.compile(r"\*\*(.+?)\*\*")
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "–": "--",
    "λ": r"$\lambda$",
    "<": "$<$",
    ">": "$>$",
}


def markdown_table(rows: Rows) -> str:
    """Return an aligned pipe table with its first column to the left.

    A pipe inside a cell is escaped, and a line break becomes a space.

    Example:
        >>> print(markdown_table([["name", "P@5"], ["triplet", "0.5"]]).rstrip())
        | name    | P@5 |
        | ------- | --- |
        | triplet | 0.5 |
    """
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(cells[0]))]
    rule = ["-" * width for width in widths]
    lines = [
        [cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in [cells[0], rule, *cells[1:]]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def latex_table(rows: Rows, *, caption: str, notes: Sequence[str] = ()) -> str:
    """Return a ``table`` of booktabs with its caption, and with notes in small print below.

    ``**bold**`` becomes bold.
    """
    header, *body = ([latex(cell) for cell in row] for row in rows)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{latex(caption)}}}",
        f"\\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}",
        "\\toprule",
        " & ".join(header) + r" \\",
        "\\midrule",
        *(" & ".join(row) + r" \\" for row in body),
        "\\bottomrule",
        "\\end{tabular}",
        *(f"\\par\\footnotesize {latex(note)}" for note in notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex(text: str) -> str:
    """Return a text with LaTeX's special characters escaped and ``**bold**`` as bold."""
    parts = BOLD.split(text)  # every second one was bold
    escaped = ["".join(LATEX.get(sign, sign) for sign in part) for part in parts]
    return "".join(f"\\textbf{{{part}}}" if i % 2 else part for i, part in enumerate(escaped))


def csv_table(rows: Sequence[Sequence[object]]) -> str:
    """Return values separated by commas and quoted where needed. None becomes an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
