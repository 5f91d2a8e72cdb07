"""``python -m bench.publish FOLDER``: put a bench's results into their page of docs/, between its marks.

Those of clusters go into docs/scaling.md, with the model that is fitted to them; all others into
docs/performance.md.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.peers.program import ROOT
from bench.report import report
from bench.results import Results
from bench.scenarios.cluster import SCENARIOS
from bench.sizing.page import section

PAGE: Final = ROOT / "docs" / "performance.md"
SCALING: Final = ROOT / "docs" / "scaling.md"
BEGIN: Final = "<!-- results: begin -->"
END: Final = "<!-- results: end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the page; return 2 if there are no results or the page has no place for them."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if len(words) != 1 or not (Path(words[0]) / "runs.jsonl").exists():
        print("bench.publish: name one folder of results, such as bench/results/standard-…")
        return 2
    results = Results(Path(words[0]))
    text, page = report(results, ()), PAGE
    if any(scenario.cluster and scenario.name in results.scenarios() for scenario in SCENARIOS):
        text, page = f"{text}\n{section(results)}\n", SCALING
    page.write_text(placed(page.read_text(), text))
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
