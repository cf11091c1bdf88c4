"""The pages of the repository: links lead somewhere, and the commands that they name exist."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from offsite.pathology.tile_encoders.names import GROUP as ENCODERS
from offsite.workflows.cli import app
from offsite.workflows.jobs.own_modalities import GROUP as MODALITIES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Of prose ("offsite trains for that") only what stands in code counts.
CODE = re.compile(r"^ *```.*?\n(.*?)^ *```|`([^`]+)`", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|[\s(|])offsite ([a-z]+)(?: ([a-z]+(?:-[a-z]+)*))?(.*)")
# Folders of results and groups of settings have the names of rooms.
RESULTS = (".json", ".csv", ".html", ".parquet", ".png", ".yaml", ".smk", ".md", ".log", ".db")
SETTINGS = ("training.", "evaluation.")
SCRIPT = re.compile(r"(?:python (?:-m )?|\b)(benchmarks(?:/[\w/]+\.py|\.\w+))")
ROOMS = "preprocessing|training|evaluation|pathology|retina|workflows"
MODULE = re.compile(rf"(?<![\w./-])((?:offsite|{ROOMS}|tests)(?:[./][\w-]+)+(?:/|\.py)?)")


def code_of(page: Path) -> Iterator[str]:
    """Lines of code on a page, remarks included."""
    for block, inline in CODE.findall(page.read_text(encoding="utf-8")):
        yield from (block or inline.replace("\n", " ")).splitlines()


def commands_on_pages() -> list[tuple[str, str, str, str]]:
    found = []
    for page in PAGES:
        for line in code_of(page):
            if match := COMMAND.search(line):
                found.append((page.name, match[1], match[2] or "", match[3]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert missing == []


def test_every_command_and_option_on_the_pages_exists() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    named = commands_on_pages()
    assert {"workflow", "train", "evaluate", "predict", "site"} <= {name for _, name, *_ in named}
    for page, name, second, rest in named:
        assert name in root.commands, f"{page}: offsite {name}"
        command = root.commands[name]
        assert not command.hidden, f"{page}: offsite {name} is the spelling of before"
        if isinstance(command, TyperGroup):
            assert second in command.commands, f"{page}: offsite {name} {second}"
            command = command.commands[second]
        options = {option for parameter in command.params for option in parameter.opts}
        ours = re.split(r"(?<!\S)--(?!\S)", rest)[0]  # what follows a bare -- is Snakemake's
        for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", ours):
            assert option in options, f"{page}: offsite {name} {option}"


def test_every_script_on_the_pages_exists() -> None:
    named = {name for page in PAGES for line in code_of(page) for name in SCRIPT.findall(line)}
    assert named
    for name in named:
        path = name if name.endswith(".py") else name.replace(".", "/") + ".py"
        assert (ROOT / path).is_file(), name


def test_anchors_lead_to_headings() -> None:
    missing = []
    for page in PAGES:
        for link, anchor in re.findall(r"\]\(([^)#\s]*)#([\w-]+)\)", page.read_text("utf-8")):
            if re.match(r"[a-z]+:", link):
                continue
            target = (page.parent / link) if link else page
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            if anchor not in {_anchor(heading) for heading in headings}:
                missing.append(f"{page.name}: {link}#{anchor}")
    assert missing == []


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def test_every_module_on_the_pages_exists() -> None:
    # The names of settings begin with rooms too.
    named = [
        (page.name, name)
        for page in PAGES
        if page.name != "settings.md"
        for line in code_of(page)
        if "entry-points" not in line  # a group's name is no module
        for name in MODULE.findall(line)
        if not name.endswith(RESULTS) and not name.startswith(SETTINGS)
    ]
    assert len(named) > 60
    assert [f"{page}: {name}" for page, name in named if not _stands(name)] == []


def _stands(name: str) -> bool:
    """Whether a path is there, or a dotted name whose last parts may be a module's content."""
    if name in (ENCODERS, MODALITIES):  # groups of entry points
        return True
    if "/" in name:
        return any((ROOT / f"{name.rstrip('/')}{end}").exists() for end in ("", ".py"))
    parts = name.split(".")
    for stop in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:stop])
        if path.with_suffix(".py").is_file():
            content = path.with_suffix(".py").read_text("utf-8")
            return stop == len(parts) or re.search(rf"\b{parts[stop]}\b", content) is not None
        if path.is_dir():
            front = (path / "__init__.py").read_text("utf-8")
            return stop == len(parts) or f'"{parts[stop]}"' in front or name in _tags()
    return False


@functools.cache
def _tags() -> str:
    """The code that names tags of the registry, which begin with the package's name."""
    files = sorted((ROOT / "evaluation/tracking").glob("*.py"))
    return "".join(path.read_text("utf-8") for path in files)


def test_the_make_targets_on_the_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    lines = [line for page in PAGES for line in code_of(page)]
    named = {name for line in lines for name in re.findall(r"(?:^|[;&] )make ([a-z][\w-]*)", line)}
    assert {"demo", "test", "pages"} <= named <= targets
