"""What the documentation says is true: links resolve, codes exist, commands are real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from neurodeploy import errors
from neurodeploy.cli import main
from neurodeploy.errors import CODES

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
SOURCES = sorted(ROOT.glob("neurodeploy/**/*.py"))

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


@every_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@every_page
def test_commands_exist_with_their_options(page):
    found = 0
    fenced = "\n".join(re.findall(r"```\w*\n(.*?)```", page.read_text(), re.DOTALL))
    for line in re.findall(r"^\$ (neurodeploy .*)$", fenced, re.MULTILINE):
        words = shlex.split(line.replace("\\", ""), comments=True)[1:]
        command = main
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        known = {name for param in command.params for name in param.opts} | {"--help", "--version"}
        for word in words:
            assert not word.startswith("-") or word.split("=")[0] in known, line
        found += 1
    assert found or page != ROOT / "README.md"


def test_every_error_code_is_documented_and_used():
    text = (ROOT / "docs" / "errors.md").read_text()
    table = dict(re.findall(r"^\| (E\d+) \| \d \| ([^|]+?) \|", text, re.MULTILINE))
    assert table == CODES
    exits = dict(re.findall(r"^\| (E\d+) \| (\d) \|", text, re.MULTILINE))
    used = {}
    for path in SOURCES:
        for kind, code in re.findall(r"(\w+Error)\(\s*\"(E\d+)\"", path.read_text()):
            used.setdefault(code, set()).add(str(getattr(errors, kind).exit_code))
        for code in re.findall(r"\"(E3\d\d)\"", path.read_text()):
            used.setdefault(code, set()).add("4")
    assert set(used) == set(CODES)
    assert all({exits[code]} == kinds for code, kinds in used.items())


def test_the_change_log_has_a_section_for_what_is_to_come():
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_what_it_is(path):
    first = path.read_text().lstrip().split("\n", 1)[0]
    assert re.match(r'(r?"""|#)', first), first


def test_files_stay_small():
    """One file, one job; the shipped template counts like the rest."""
    long = {str(p.relative_to(ROOT)): n for p in SOURCES if (n := p.read_text().count("\n")) > 450}
    assert long == {}
