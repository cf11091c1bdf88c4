"""A page that several scripts write, each its own part under a second heading."""

import re
from pathlib import Path

COVERAGE = Path(__file__).parents[1] / "docs" / "evaluation" / "coverage.md"
TITLE = "# Coverage of the intervals"


def put_part(page: Path, number: int, heading: str, text: str) -> None:
    """Write part ``number`` of a page in place of the one of that heading; the others stay."""
    held = page.read_text(encoding="utf-8") if page.is_file() else ""
    parts = {
        found[1]: found[0].rstrip()
        for found in re.finditer(r"^## (.+)\n(?:(?!## ).*\n?)*", held, re.MULTILINE)
    }
    order = [name for name in parts if name != heading]
    order.insert(number, heading)
    parts[heading] = f"## {heading}\n\n{text.strip()}"
    page.write_text("\n\n".join([TITLE, *(parts[name] for name in order), ""]), encoding="utf-8")
