"""Draw the rooms, their folders and the arrows between them, from the imports in the code.

``python docs/architecture_picture.py`` writes ``docs/images/architecture/``: ``house.svg`` with the
rooms, and one picture a room with its folders and files. An arrow runs from what imports to what is
imported. Arrows that follow from others (a to c, where a to b and b to c are drawn) are left out.
Where folders import one another in a circle, the arrow with the fewest imports is drawn in red.
"""

import ast
import math
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs/images/architecture"
ROOMS = ("workflows", "pathology", "retina", "evaluation", "training", "preprocessing")
GROUND = "ground floor"
FRONT = "front door"
"""Files of `offsite/` itself: those with an underscore serve `import offsite`."""

Arrow = tuple[str, str]
"""From what imports to what is imported."""

_FONT = 'font-family="Helvetica, Arial, sans-serif"'
_CHARACTER, _BOX, _GAP, _ROW, _EDGE = 7.4, 30, 22, 78, 20
_FOLDER, _FILE = ("#dce9f5", "#3b6c9d"), ("#f4f1e6", "#9a8c5c")


def main() -> None:
    """Write every picture, and remove those of rooms that are gone."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    drawn = pictures()
    for name, svg in drawn.items():
        (PICTURES / name).write_text(svg, encoding="utf-8")
    for old in PICTURES.glob("*.svg"):
        if old.name not in drawn:
            old.unlink()


def pictures() -> dict[str, str]:
    """Return the SVG of each picture by its file's name."""
    modules = read_imports()
    house = Counter(
        (_room(importer), _room(imported))
        for importer, several in modules.items()
        for imported in several
        if _room(importer) != _room(imported)
    )
    drawn = {"house.svg": draw({*ROOMS, GROUND, FRONT}, house, folders={*ROOMS})}
    for room in ROOMS:
        nodes, folders, arrows = _inside(room, modules)
        drawn[f"{room}.svg"] = draw(nodes, arrows, folders)
    return drawn


def read_imports() -> dict[str, set[str]]:
    """Return the modules of the house, each with those of its own that it imports."""
    files = [*(ROOT / "offsite").glob("*.py")]
    files += [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    paths = {
        _module(path): path for path in files if path.name not in ("__init__.py", "__main__.py")
    }
    return {name: _imported(path) & paths.keys() - {name} for name, path in paths.items()}


def draw(nodes: set[str], arrows: Counter[Arrow], folders: set[str]) -> str:
    """Return an SVG: nodes in rows, each above all that it imports.

    Parameters
    ----------
    nodes : set of str
        Labels; those in ``folders`` are drawn as folders, the others as files.
    arrows : Counter of (str, str)
        How many imports each arrow stands for.
    """
    downward = without_circles(arrows)
    rows = _rows(nodes, downward)
    widths = {node: len(node) * _CHARACTER + 20 for node in nodes}
    total = max(sum(widths[n] for n in row) + _GAP * (len(row) - 1) for row in rows) + 2 * _EDGE
    centres: dict[str, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        x = (total - sum(widths[n] for n in row) - _GAP * (len(row) - 1)) / 2
        for node in row:
            centres[node] = (x + widths[node] / 2, _EDGE + _BOX / 2 + level * _ROW)
            x += widths[node] + _GAP
    height = 2 * _EDGE + _BOX + (len(rows) - 1) * _ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total:.0f}" height="{height}"'
        f' viewBox="0 0 {total:.0f} {height}" {_FONT} font-size="13">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#666"/></marker></defs>',
        f'<rect width="{total:.0f}" height="{height}" fill="white"/>',
    ]
    lines += [_arrow(centres[a], centres[b], "#666") for a, b in sorted(needed(downward))]
    lines += [_upward(centres[a], centres[b]) for a, b in sorted(arrows.keys() - downward)]
    lines += [
        _box(node, *centres[node], widths[node], _FOLDER if node in folders else _FILE)
        for node in sorted(nodes)
    ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def without_circles(arrows: Counter[Arrow]) -> set[Arrow]:
    """Return the arrows without the lightest one of every circle."""
    kept: set[Arrow] = set()
    for arrow in sorted(arrows, key=lambda arrow: (-arrows[arrow], arrow)):
        if not _leads(kept, arrow[1], arrow[0]):
            kept.add(arrow)
    return kept


def needed(arrows: set[Arrow]) -> set[Arrow]:
    """Return the arrows that do not follow from others; there must be no circle."""
    return {arrow for arrow in arrows if not _leads(arrows - {arrow}, *arrow)}


def _leads(arrows: set[Arrow], start: str, goal: str) -> bool:
    reached, before = {start}, set[str]()
    while reached != before:
        before = set(reached)
        reached |= {imported for importer, imported in arrows if importer in before}
    return goal in reached


def _inside(room: str, modules: dict[str, set[str]]) -> tuple[set[str], set[str], Counter[Arrow]]:
    """Return a room's nodes, which of them are folders, and the arrows between them."""
    names = {module: _inner(module) for module in modules if _room(module) == room}
    arrows = Counter(
        (label, names[imported])
        for module, label in names.items()
        for imported in modules[module]
        if imported in names and names[imported] != label
    )
    nodes = set(names.values())
    return nodes, {node for node in nodes if not node.endswith(".py")}, arrows


def _rows(nodes: set[str], arrows: set[Arrow]) -> list[list[str]]:
    """Part the nodes in rows; what is imported lies lower, near the middle of its importers."""
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for importer, imported in arrows:
            depth[imported] = max(depth[imported], depth[importer] + 1)
    rows: list[list[str]] = []
    position: dict[str, float] = {}
    for level in sorted(set(depth.values())):
        row = sorted(node for node in nodes if depth[node] == level)
        row.sort(
            key=lambda node: _mean(position[a] for a, b in arrows if b == node and a in position)
        )
        for index, node in enumerate(row):
            position[node] = (index + 0.5) / len(row)
        rows.append(row)
    return rows


def _mean(values: Iterable[float]) -> float:
    listed = list(values)  # in any order, which the sum must not depend on
    return math.fsum(listed) / len(listed) if listed else 0.5


def _box(label: str, x: float, y: float, width: float, colours: tuple[str, str]) -> str:
    fill, line = colours
    return (
        f'<g><rect x="{x - width / 2:.1f}" y="{y - _BOX / 2:.1f}" width="{width:.1f}"'
        f' height="{_BOX}" rx="5" fill="{fill}" stroke="{line}"/>'
        f'<text x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle">{escape(label)}</text></g>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    (x, y), (to_x, to_y) = start, end
    y, to_y = y + _BOX / 2, to_y - _BOX / 2
    bend = (to_y - y) / 2
    return (
        f'<path d="M{x:.1f} {y:.1f}C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f}'
        f' {to_x:.1f} {to_y:.1f}" fill="none" stroke="{colour}" stroke-opacity="0.65"'
        ' marker-end="url(#tip)"/>'
    )


def _upward(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Draw an arrow of a circle, a little to the right of those that lead down."""
    (x, y), (to_x, to_y) = start, end
    side = 14
    return (
        f'<path d="M{x + side:.1f} {y - _BOX / 2:.1f}L{to_x + side:.1f} {to_y + _BOX / 2:.1f}"'
        ' fill="none" stroke="#c0392b" stroke-dasharray="5 3" marker-end="url(#tip)"/>'
    )


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "offsite" else ("offsite", *parts))


def _room(module: str) -> str:
    name = module.split(".")[1]
    if name in ROOMS:
        return name
    return FRONT if name.startswith("_") else GROUND


def _inner(module: str) -> str:
    """Return the folder of a module within its room, or its file where it lies in none."""
    parts = module.split(".")[2:]
    return parts[0] + ("/" if len(parts) > 1 else ".py")


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


if __name__ == "__main__":
    main()
