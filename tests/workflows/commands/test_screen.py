"""The first screen, the spellings of before, and what every help text says."""

import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from offsite.workflows.cli import app
from offsite.workflows.commands.screen import ALIASES, SCREEN, command_named
from tests.workflows.job_files import write_job

ROOT = typer.main.get_command(app)
GROUPS = {
    "demo": {"pathology", "retina", "features"},
    "cohort": {"read", "check", "doubts"},
    "workflow": {
        "check", "run", "status", "report", "tile", "embed", "prepare", "track", "settings",
        "schema",
    },
    "encoder": {"list", "check", "twins", "vocabulary"},
    "model": {
        "register", "plan-gate", "promote", "info", "verify", "export", "sign", "serve",
    },
    "site": {"plan", "calibrate", "sums", "join", "leave"},
    "patient": {"find", "forget"},
}  # fmt: skip


def commands(group: object = ROOT, above: str = "") -> Iterator[tuple[str, TyperCommand, bool]]:
    """Every command with its spelling, and whether it is hidden."""
    assert isinstance(group, TyperGroup)
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            for spelling, inner, hidden in commands(command, f"{above}{name} "):
                yield spelling, inner, hidden or command.hidden
        else:
            assert isinstance(command, TyperCommand)
            yield f"{above}{name}", command, command.hidden


SHOWN = {spelling: command for spelling, command, hidden in commands() if not hidden}


def test_the_first_screen_has_its_entries_in_four_groups() -> None:
    assert isinstance(ROOT, TyperGroup)
    named = [name for names in SCREEN.values() for name in names]
    assert {name for name, command in ROOT.commands.items() if not command.hidden} == set(named)
    assert len(named) <= 12
    for name, wanted in GROUPS.items():
        group = ROOT.commands[name]
        assert isinstance(group, TyperGroup)
        assert set(group.commands) == wanted
        for word in wanted - {"settings", "schema"}:
            assert word in (group.help or ""), f"the first screen does not say '{name} {word}'"


@pytest.mark.parametrize(("old", "new"), ALIASES.items())
def test_every_spelling_of_before_does_what_its_new_one_does(old: str, new: str) -> None:
    every = {spelling: (command, hidden) for spelling, command, hidden in commands()}
    command, hidden = every[old]
    assert hidden
    assert not every[new][1]
    assert command_named(app, new) is command_named(app, old)
    assert [p.opts for p in command.params] == [p.opts for p in every[new][0].params]
    assert f"offsite {new}" in (command.epilog or "")


@pytest.mark.parametrize("spelling", SHOWN)
def test_a_help_text_says_what_goes_in_what_comes_out_and_shows_an_example(spelling: str) -> None:
    text = SHOWN[spelling].help or ""
    first, *others = text.split("\n\n")
    assert len(first) < 100
    assert any(re.match(r"Takes .+?; gives .+", part) for part in others), text
    example = next(part for part in others if part.startswith("Example: "))
    words = shlex.split(example.removeprefix("Example: "))
    assert words[0] == "offsite"
    assert " ".join(words[1:]).startswith(spelling)
    options = {name for param in SHOWN[spelling].params for name in param.opts}
    used = {word for word in words[1:] if word.startswith("-")}
    assert used <= options
    needed = [param for param in SHOWN[spelling].params if param.required]
    for param in needed:
        if param.param_type_name == "option":
            assert used & set(param.opts), f"the example lacks {param.opts[0]}"


def test_an_option_is_spelt_alike_everywhere() -> None:
    spellings: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for command in SHOWN.values():
        for param in command.params:
            if param.param_type_name == "option":
                spellings[param.opts[0]].add(tuple(param.opts))
    assert spellings["--model"] == {("--model", "-m")}
    assert spellings["--output"] == {("--output", "-o")}
    assert {"--tracking-uri", "--device", "--set"} <= spellings.keys()
    assert {name: found for name, found in spellings.items() if len(found) > 1} == {}
    short = [opts[1] for (opts,) in spellings.values() if len(opts) > 1]
    assert sorted(short) == sorted(set(short))


@pytest.mark.parametrize(
    "spelling", [s for s in SHOWN if any(p.name == "config" for p in SHOWN[s].params)]
)
def test_whatever_takes_a_job_takes_overrides(spelling: str) -> None:
    assert "--set" in {name for param in SHOWN[spelling].params for name in param.opts}


def completions(line: str) -> list[str]:
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", "from offsite.workflows.cli import app; app(prog_name='offsite')"],
        capture_output=True, text=True,
        env={
            **os.environ, "_OFFSITE_COMPLETE": "complete_bash", "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.split()


def test_a_shell_completes_sites_and_methods_of_the_job(tmp_path: Path) -> None:
    (tmp_path / "cohort").mkdir()
    table = tmp_path / "cohort" / "cohort.csv"
    table.write_text("image,patient,site,label\na.svs,a,aster,\nb.svs,b,birch,\nc.svs,c,arum,\n")
    job = write_job(tmp_path, cells={"methods": ["focal", "cross_entropy"]})
    assert completions(f"offsite train {job} --held-out a") == ["arum", "aster"]
    assert completions(f"offsite site calibrate {table} --site b") == ["birch"]
    assert completions(f"offsite compare {job} --baseline ") == ["focal", "cross_entropy"]
    every = completions(f"offsite train {job} --method ")
    assert every[:2] == ["focal", "cross_entropy"]
    assert {"sc_mil", "two_stage"} <= set(every)
    assert completions("offsite encoder check phikon") == ["phikon", "phikon_v2"]
    assert completions(f"offsite train {tmp_path / 'none.yaml'} --held-out ") == []
    assert "train" in completions("offsite tr")
