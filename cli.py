"""`openltx …`: the command line. Parsing and printing; the work is done by what the commands import."""

from __future__ import annotations

import argparse
import codecs
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .commands import (
    adopt,
    cache,
    doctor,
    download,
    headless,
    inspect,
    plan,
    queue,
    reproduce,
    shots,
    sign,
    train,
    verify,
)
from .commands.given import PREFIX, exposed_values, settings

if TYPE_CHECKING:
    from .nodes.host.standalone.workflow import Exposed

DONE, OURS, USERS, INTERRUPTED = 0, 1, 2, 130
DEFAULT_WORKFLOW = "text_to_av"
MODULES: dict[str, Any] = {
    "adopt": adopt,
    "inspect": inspect,
    "doctor": doctor,
    "download": download,
    "plan": plan,
    "train": train,
    "reproduce": reproduce,
    "sign": sign,
    "verify": verify,
}
Commands = Any  # argparse names the type of its sub-commands only privately


def parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """All commands. The options of `generate` and `run` are those that the workflow in `argv` exposes."""
    root = _Parser(
        prog="openltx", description="Video with sound from LTX-2 models.", allow_abbrev=False, formatter_class=_Help
    )
    root.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_generate(commands, argv)
    _add_run(commands, argv)
    _add_queue(commands, argv)
    _add_workflows(commands)
    for name, module in MODULES.items():
        _add_module(commands, name, module)
    _add_conformance(commands)
    _add_bench(commands)
    return root


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 our fault, 2 the user's mistake, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    _plain_consoles()
    with warnings.catch_warnings(), _log_shown():
        warnings.showwarning = _show_warning
        try:
            arguments = parser(argv).parse_args(argv)
            return int(arguments.run(arguments))
        except ValueError as error:
            return _failed(error, USERS)
        except KeyboardInterrupt:
            return _failed("interrupted; nothing was written", INTERRUPTED)
        except BrokenPipeError:
            return DONE
        except (RuntimeError, OSError, MemoryError) as error:
            return _failed(error or type(error).__name__, OURS)


class _Parser(argparse.ArgumentParser):
    """A mistake in the options is one line too, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(USERS, f"openltx: {message}; see '{self.prog} --help'\n")


class _Help(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from .api import version

        print(version())
        parser.exit()


def _failed(reason: object, code: int) -> int:
    print(f"openltx: {reason}", file=sys.stderr)
    return code


@contextmanager
def _log_shown() -> Iterator[None]:
    """The package's own log on the console, warnings and notes: in ComfyUI its console shows it."""
    logger, handler = logging.getLogger(__package__), _Console()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Console(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        warning = "warning: " if record.levelno >= logging.WARNING else ""
        print(f"openltx: {warning}{record.getMessage()}", file=sys.stderr)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"openltx: warning: {message}", file=sys.stderr)


def _plain_consoles() -> None:
    """A console that cannot show a character gets ASCII in its place, never a UnicodeEncodeError."""
    plain = {"…": "...", "→": "->", "×": "x", "–": "-", "—": "-", "’": "'"}

    def replace(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        return "".join(plain.get(c, "?") for c in error.object[error.start : error.end]), error.end

    codecs.register_error("openltx.plain", replace)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="openltx.plain")


def _add(commands: Commands, name: str, help: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=help, allow_abbrev=False, formatter_class=_Help
    )
    return command


def _add_module(commands: Commands, name: str, module: Any) -> argparse.ArgumentParser:
    command = _add(commands, name, module.HELP)
    module.add(command)
    command.set_defaults(run=module.run)
    return command


# generate and run


def _add_generate(commands: Commands, argv: Sequence[str]) -> None:
    command = _add(commands, "generate", "make a video with sound from a prompt, or a film from a shot list")
    command.add_argument("prompt", metavar="PROMPT", nargs="?")
    command.add_argument("--workflow", metavar="NAME", help=f"default: {DEFAULT_WORKFLOW}, of shot lists: {shots.FILM}")
    _add_run_options(command)
    shots.add(command)
    if argv[:1] == ["generate"]:
        usual = shots.workflow_of(argv) or DEFAULT_WORKFLOW
        _add_exposed(command, _option_value(argv, "--workflow") or usual, leave_out=("prompt", *shots.OWN))
    command.set_defaults(run=_generate)


def _add_run(commands: Commands, argv: Sequence[str]) -> None:
    command = _add(commands, "run", "execute a workflow file")
    command.add_argument(
        "workflow",
        metavar="WORKFLOW.json",
        help="a file in API format (with --host comfyui also in UI format), or a bundled name",
    )
    _add_run_options(command)
    if argv[:1] == ["run"] and _exposes(argv):
        _add_exposed(command, argv[1])
    command.set_defaults(run=_run)


def _add_queue(commands: Commands, argv: Sequence[str]) -> None:
    command = _add_module(commands, "queue", queue)
    if argv[:1] == ["queue"] and _exposes(argv):
        _add_exposed(command, argv[1])


def _exposes(argv: Sequence[str]) -> bool:
    """Whether the word after the command is a workflow that can have options."""
    return len(argv) > 1 and not argv[1].startswith("-") and not queue.is_ui_file(argv[1])


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output", metavar="FILE", help="the file to write; default: numbered, in ./output")
    command.add_argument("--output-folder", metavar="DIR", help="where numbered files go")
    command.add_argument("--set", action="append", default=[], metavar="NODE.INPUT=VALUE", help="any other input")
    command.add_argument("--models", action="append", default=[], metavar="DIR", help="folder with checkpoints/ …")
    command.add_argument("--device", help="cpu, cuda, mps; default: an accelerator if there is one")
    command.add_argument(
        "--attention",
        default="auto",
        metavar="NAME",
        help="torch, flash2, flash3, flash4, sage, sage3; default: the fastest exact one that is installed and works",
    )
    command.add_argument("--host", choices=("standalone", "comfyui"), help="what executes it; default: standalone")
    command.add_argument("--comfyui", metavar="DIR", help="checkout for --host comfyui; default: COMFYUI_PATH")
    command.add_argument("--no-metadata", action="store_true", help="leave workflow and run manifest out of the file")
    command.add_argument(
        "--resume", action="store_true", help="go on from the steps that a killed run of the same work has finished"
    )
    command.add_argument(
        "--keep-after",
        type=float,
        metavar="SECONDS",
        help="keep finished steps of stages that are expected to take longer; 0: all, -1: none; default: 60",
    )
    command.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_exposed(command: argparse.ArgumentParser, workflow: str, leave_out: Sequence[str] = ()) -> None:
    group = command.add_argument_group(f"inputs of {workflow}")
    for option, exposed in _exposed(workflow).items():
        if option in leave_out:
            continue
        try:
            group.add_argument(
                f"--{option}",
                dest=PREFIX + option,
                metavar="VALUE",
                default=argparse.SUPPRESS,
                help=f"default: {exposed.value}".replace("%", "%%"),
            )
        except argparse.ArgumentError as error:
            raise ValueError(
                f"{workflow}: it exposes an input as {option!r}, a word of ours; rename it there"
            ) from error


def _exposed(workflow: str) -> Mapping[str, Exposed]:
    from .api import load_workflow
    from .nodes.host.standalone.workflow import exposed_inputs

    return exposed_inputs(load_workflow(workflow))


def _option_value(argv: Sequence[str], option: str) -> str | None:
    for position, word in enumerate(argv):
        if word == option and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def _generate(arguments: argparse.Namespace) -> int:
    if arguments.shots is not None:
        return _execute(arguments, shots.prepare(arguments))
    if arguments.prompt is None or arguments.plan:
        raise ValueError("generate: expected a PROMPT, or --shots FILE (with it --plan, too), found neither")
    arguments.workflow = arguments.workflow or DEFAULT_WORKFLOW
    if "prompt" not in _exposed(arguments.workflow):
        raise ValueError(f"workflow {arguments.workflow!r}: it exposes no prompt; use 'openltx run'")
    return _execute(arguments, {"prompt": arguments.prompt})


def _run(arguments: argparse.Namespace) -> int:
    return _execute(arguments, {})


def _execute(arguments: argparse.Namespace, inputs: dict[str, str]) -> int:
    in_comfyui = arguments.host == "comfyui" or (arguments.host is None and arguments.comfyui)
    execute = headless.execute if in_comfyui else _standalone
    files = [str(file) for file in execute(arguments, inputs | exposed_values(arguments))]
    told = shots.plan_of(files) if getattr(arguments, "plan", False) else {}
    print(json.dumps({"files": files, **told}) if arguments.json else "\n".join([*told.values(), *files]))
    return DONE


def _standalone(arguments: argparse.Namespace, inputs: dict[str, str]) -> Sequence[Path]:
    from . import api
    from .nodes.host.standalone.bars import Bars
    from .nodes.host.standalone.runtime import Interrupted, stopped_by_ctrl_c

    stop = threading.Event()
    with stopped_by_ctrl_c(stop), Bars() as bars:
        try:
            return api.run(
                arguments.workflow,
                output=arguments.output,
                output_folder=arguments.output_folder,
                settings=settings(arguments.set),
                models=arguments.models,
                device=arguments.device,
                attention=arguments.attention,
                metadata=not arguments.no_metadata,
                observer=bars,
                stop=stop,
                resume=arguments.resume,
                keep_after=arguments.keep_after,
                **inputs,
            ).files
        except Interrupted:
            raise KeyboardInterrupt from None


# workflows


def _add_workflows(commands: Commands) -> None:
    command = _add(commands, "workflows", "list the bundled workflows and what they expose; their cache")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_workflows)
    cache.add(command.add_subparsers(dest="what", metavar="cache"))


def _workflows(arguments: argparse.Namespace) -> int:
    from .api import workflow_names
    from .nodes.help.recipes import RECIPES

    rows = {name: {option: row.value for option, row in _exposed(name).items()} for name in workflow_names()}
    if arguments.json:
        print(json.dumps(rows))
        return DONE
    for name, options in rows.items():
        print(f"{name}: {RECIPES[name]}")
        for option, value in options.items():
            print(f"  --{option:<14} {value}")
    return DONE


# conformance


def _add_conformance(commands: Commands) -> None:
    command = _add(commands, "conformance", "run golden cases and compare")
    command.add_argument("folders", nargs="*", metavar="DIR")
    command.add_argument("--device", default="cpu")
    command.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    command.add_argument("--filter", default="", metavar="TEXT", help="only paths that contain TEXT")
    command.add_argument("--generation", choices=("2", "2.3", "2.5"))
    command.add_argument("--list", action="store_true", help="show the kinds that can be run")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_conformance)


def _conformance(arguments: argparse.Namespace) -> int:
    import torch

    from .conformance import registry, runner

    if arguments.list:
        for component, op in registry.known_kinds():
            print(component if op is None else f"{component} / {op}")
        return DONE
    if not arguments.folders:
        raise ValueError("conformance: expected at least one folder with golden cases, found none")
    results = []
    for case in runner.find_cases(arguments.folders, text=arguments.filter, generation=arguments.generation):
        result = runner.run_case(case, device=arguments.device, dtype=getattr(torch, arguments.dtype))
        results.append(result)
        print(json.dumps(runner.as_json(result)) if arguments.json else runner.report_line(result), flush=True)
    passed = sum(result.passed for result in results)
    print(f"{passed} passed, {len(results) - passed} failed", file=sys.stderr if arguments.json else sys.stdout)
    return DONE if results and passed == len(results) else OURS


# bench


def _add_bench(commands: Commands) -> None:
    command = _add(commands, "bench", "measure speed and memory (from a checkout)")
    command.add_argument(
        "name",
        choices=(
            "demo",
            "networks",
            "growth",
            "media",
            "embedded",
            "load",
            "fuzz",
            "plan",
            "generate",
            "decode",
            "shots",
            "soak",
        ),
    )
    command.add_argument("--json", action="store_true")
    command.add_argument("options", nargs=argparse.REMAINDER, help="of the benchmark itself: bench networks --help")
    command.set_defaults(run=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    import subprocess

    script = Path(__file__).parent / "benchmarks" / f"{arguments.name}.py"
    if not script.is_file():
        raise ValueError("bench: the benchmarks are not in the installed package; run it in a clone of the repository")
    command = [sys.executable, str(script), *(["--json"] if arguments.json else []), *arguments.options]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
