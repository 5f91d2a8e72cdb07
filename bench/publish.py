"""``python -m bench.publish FOLDER``: put a bench's results into docs/performance.md, between its marks."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.peers.program import ROOT
from bench.report import report
from bench.results import Results

PAGE: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- results: begin -->"
END: Final = "<!-- results: end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the page; return 2 if there are no results or the page has no place for them."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if len(words) != 1 or not (Path(words[0]) / "runs.jsonl").exists():
        print("bench.publish: name one folder of results, such as bench/results/standard-…")
        return 2
    PAGE.write_text(placed(PAGE.read_text(), report(Results(Path(words[0])), ())))
    return 0


def placed(page: str, text: str) -> str:
    """Return the page with a report in it, its headings one level lower and without its own title.

    Raises:
        ValueError: the page has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    body = text.partition("\n")[2]
    lowered = "\n".join("#" + line if line.startswith("##") else line for line in body.split("\n"))
    return f"{before}{BEGIN}\n{lowered.strip()}\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
