"""The documents against the repository: links, names of files and code, records of decisions."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    chain(
        ROOT.glob("*.md"),
        ROOT.glob("docs/**/*.md"),
        ROOT.glob("gguf/*.md"),
        ROOT.glob("gguf/models/*.md"),
    )
)
RECORDS = sorted(set(ROOT.glob("docs/decisions/*.md")) - {ROOT / "docs/decisions/README.md"})
NAMING = [
    ROOT / "docs/architecture.md",
    ROOT / "CONTRIBUTING.md",
    *ROOT.glob("docs/decisions/*.md"),
]
NOT_WRAPPED = {  # for people who see it rendered; written by scripts
    ROOT / "README.md",
    ROOT / "docs/quality.md",
    ROOT / "docs/quality-lost.md",
    ROOT / "gguf/models/tiny-t5.md",
}
WRAPPED = [page for page in PAGES if page not in NOT_WRAPPED]
SOURCES = ("", "service", "service/t5serve", "service/t5engine", "gguf", "gguf/t5gguf", "tests")
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*(?:/|\.(?:py|c|h|js|sh|md|toml|json|yaml|txt|cfg|conf))")
PACKAGES = ("t5engine", "t5serve", "t5gguf")
HEADINGS = ["Context", "Decision", "What was measured", "What would change it"]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def spans(page: Path) -> set[str]:
    """The pieces of inline code of a page."""
    return set(re.findall(r"`([^`\n]+)`", without_code(page.read_text(encoding="utf-8"))))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(
        r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@cache
def tracked_names() -> frozenset[str]:
    """The names of the files of the source folders."""
    folders = ("service", "gguf", "scripts", "tests", "docker", "docs")
    return frozenset(path.name for name in folders for path in (ROOT / name).rglob("*.*"))


def exists(path: str) -> bool:
    """Whether a path, or a bare name of a file, is one of this repository."""
    if any((ROOT / source / path).exists() for source in SOURCES):
        return True
    return "/" not in path and path in tracked_names()


@cache
def defined(file: Path) -> frozenset[str]:
    """The names that a module defines, those of classes with their members."""
    names: set[str] = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            members = (ast.FunctionDef, ast.AsyncFunctionDef)
            names |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, members)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    names |= {alias.asname or alias.name for node in imports for alias in node.names}
    return frozenset(names)


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name that a module defines."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        for source in ("service", "gguf"):
            place = ROOT.joinpath(source, *parts[:count])
            rest = ".".join(parts[count:])
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if file.exists():
                    return not rest or rest in defined(file)
    return False


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links(page: Path) -> None:
    """Each link leads to a file that is there, and to a heading of it."""
    text = re.sub(r"`[^`\n]*`", "", without_code(page.read_text(encoding="utf-8")))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", NAMING, ids=name_of)
def test_names_of_files_and_code(page: Path) -> None:
    """Each path in code style is in the repository, and each dotted name in its modules."""
    for span in spans(page):
        if PATH.fullmatch(span) and "NAME" not in span:
            assert exists(span), span
        if re.fullmatch(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+", span):
            assert resolves(span), span


def test_traced_request() -> None:
    """Each row of the trace names code that its file defines."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| `([^`]+)` \| `([^`]+)` \|", page, re.MULTILINE)
    assert len(rows) > 20
    for path, name in rows:
        (file,) = [ROOT / one / path for one in SOURCES if one and (ROOT / one / path).exists()]
        assert name in defined(file), f"{path}: {name}"


@pytest.mark.parametrize("package", ["t5serve", "t5engine"])
def test_every_module_is_listed(package: str) -> None:
    """The tables of modules have each module, itself or by its folder."""
    listed = {span.removeprefix(f"{package}/") for span in spans(ROOT / "docs/architecture.md")}
    folder = ROOT / "service" / package
    for file in folder.rglob("*.py"):
        path = file.relative_to(folder)
        parents = {f"{parent}/" for parent in path.parents}
        assert path.name == "__init__.py" or listed & {str(path), *parents}, path


def test_records_are_listed() -> None:
    """The index has each record, under its title."""
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| \[([^\]]+)\]\(([\w.-]+)\)", index, re.MULTILINE))
    titles = {record.read_text(encoding="utf-8").splitlines()[0]: record.name for record in RECORDS}
    assert {f"# {title}": name for title, name in listed.items()} == titles


@pytest.mark.parametrize("record", RECORDS, ids=name_of)
def test_record(record: Path) -> None:
    """A record has a status and the four sections, in their order."""
    text = record.read_text(encoding="utf-8")
    assert re.search(r"^Status: ", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("page", WRAPPED, ids=name_of)
def test_prose_is_wrapped(page: Path) -> None:
    """No line of prose has more than 120 columns; tables, code and inserted tables may."""
    text = without_code(page.read_text(encoding="utf-8"))
    text = re.sub(r"<!-- bench: begin.*<!-- bench: end", "", text, flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "<!--", "!["))]
    assert [line for line in lines if len(line) > 120] == []
