"""A job on a Ray cluster: Ray Data moves parts of the input to actors, and answers come back here.

Only the machine of the command reads the input and writes the output. Ray answers a part again if
its actor or node dies; a part that comes twice is written once.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from t5engine.cpus import quota, usable_cores
from t5serve import __version__
from t5serve.commands.batch.actor import PartAnswerer, Task, read_part
from t5serve.commands.batch.formats import OutputFormat
from t5serve.commands.batch.identity import identify
from t5serve.commands.batch.journal import Paths
from t5serve.commands.batch.lifecycle import publish
from t5serve.commands.batch.parts import Part, Parts
from t5serve.commands.batch.progress import Progress
from t5serve.commands.batch.rows import Source
from t5serve.commands.request_options import request_values
from t5serve.errors import StartupError, excerpt
from t5serve.models.models_file import find_declaration
from t5serve.settings import Settings

if TYPE_CHECKING:
    import ray.data as ray_data

OBJECT_STORE_BYTES = 256 << 20  # of a cluster of this command's own; a part has less than a MB
CONNECT_SECONDS = 5.0
PARTS_PER_ACTOR = 2  # while the last queries of one are decoded, the next one fills the batch


def run_on_ray(
    settings: Settings,
    options: argparse.Namespace,
    source: Source,
    paths: Paths,
    output_format: OutputFormat,
) -> int:
    """Does the job; returns how many rows are bad.

    Raises:
        StartupError: there is no Ray, no cluster, or no model on the nodes.
    """
    ray = _import_ray()
    values = request_values(options)
    task = _make_task(settings, options, values, output_format)
    with Parts(paths, identify(options, values, model=""), source) as parts:
        if missing := parts.missing:
            done = source.total - sum(part.rows for part in missing)
            with _connect(ray, options.ray or os.environ.get("RAY_ADDRESS", "")):
                workers = _count_workers(ray, settings, task.declaration.threads or 1)
                with Progress(source.total, done) as progress:
                    answers = _answer(ray, missing, source, task, workers)
                    _write(ray, answers, parts, progress)
        bad = parts.join()
        publish(paths, bad, output_format)
        paths.remove_unfinished()
    return bad


def _write(ray: ModuleType, answers: ray_data.Dataset, parts: Parts, progress: Progress) -> None:
    """Writes parts as they come."""
    try:
        for table in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
            for answer in table.to_pylist():
                if answer["fault"]:
                    raise StartupError(answer["fault"])
                number, model = answer["number"], answer["model"]
                progress.add(parts.write(number, answer["rows"], answer["errors"], model))
    except ray.exceptions.RayError as error:
        raise StartupError(f"Ray: {_last_line(error)}; --resume continues") from error


def _answer(
    ray: ModuleType, missing: list[Part], source: Source, task: Task, workers: int
) -> ray_data.Dataset:
    """Returns the dataset of answers, a row per part."""
    rows = [
        {"number": part.number, "offset": part.start.offset, "row": part.start.number}
        | {"rows": part.rows}
        for part in missing
    ]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        read_part,
        batch_size=1,
        batch_format="pyarrow",
        fn_args=(source,),
        compute=ray.data.TaskPoolStrategy(size=1),
        num_cpus=0,  # else readers and actors could wait for each other's processors
        label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
    )
    return dataset.map_batches(
        PartAnswerer,
        batch_size=1,
        batch_format="pyarrow",
        fn_constructor_args=(task,),
        compute=ray.data.ActorPoolStrategy(
            size=workers,
            max_tasks_in_flight_per_actor=PARTS_PER_ACTOR,
            max_concurrent_calls_per_actor=PARTS_PER_ACTOR,
            enable_true_multi_threading=True,
        ),
        num_cpus=task.declaration.threads,
    )


def _make_task(
    settings: Settings,
    options: argparse.Namespace,
    values: dict[str, Any],
    output_format: OutputFormat,
) -> Task:
    """Returns what each actor is told: its threads, and paths that do not depend on a folder."""
    declaration = find_declaration(settings, options.model)
    changes: dict[str, object] = {"workers": 1, "threads": declaration.threads or 1}
    if Path(declaration.model).is_file():
        changes["model"] = str(Path(declaration.model).absolute())
    if declaration.lexicon is not None:
        changes["lexicon"] = declaration.lexicon.absolute()
    return Task(
        settings=settings.model_copy(update={"cpu_set": ()}),  # else all actors took its first core
        declaration=declaration.model_copy(update=changes),
        values={name: value for name, value in values.items() if name != "strict"},
        is_strict=bool(options.strict),
        output_format=output_format,
        shape=options.shape,
        version=__version__,
    )


def _count_workers(ray: ModuleType, settings: Settings, threads: int) -> int:
    """Returns how many actors there should be: those of the settings, or as many as fit.

    Raises:
        StartupError: none fits.
    """
    if settings.workers is not None:
        return settings.workers
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    if not (fitting := sum(int(cpus // threads) for cpus in nodes)):
        raise StartupError(
            f"no node of the cluster has {threads} CPUs; use fewer --threads,"
            " or say with --workers how many actors to wait for"
        )
    return fitting


def _import_ray() -> ModuleType:
    """Imports Ray, and makes it quiet: its processes inherit these variables."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import_module("ray.data")
        return import_module("ray")
    except ImportError as error:
        raise StartupError(f"--ray needs Ray ({error}); run: pip install 't5serve[ray]'") from error


@contextmanager
def _connect(ray: ModuleType, address: str) -> Iterator[None]:
    """Connects with a cluster; without an address starts one on this machine, and ends it.

    Raises:
        StartupError: there is no such cluster.
    """
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address in ("", "local"):
        cores = len(usable_cores())
        quiet |= {"num_cpus": min(cores, quota() or cores), "include_dashboard": False}
        quiet |= {"object_store_memory": OBJECT_STORE_BYTES}
    elif address != "auto":
        _check_address(address)
    try:
        with _silenced_stderr():
            ray.init(address=address or "local", **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        reason = ": ".join(excerpt(_last_line(cause)) for cause in _chain(error))
        raise StartupError(f"Ray at {address or 'local'}: {reason}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        # Ray prints there what it mends: deaths and retries, many lines each.
        with Path(os.devnull).open("w") as null, redirect_stdout(null):
            yield
    finally:
        ray.shutdown()


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Sends to nowhere what C++ writes to standard error, here and in processes started meanwhile.

    Ray's processes have log files; in here it says which log level it was given.
    """
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _check_address(address: str) -> None:
    """Checks that something listens there, since Ray itself takes half a minute to find out.

    Raises:
        StartupError: nothing does.
    """
    if "://" in address:
        raise StartupError(
            f"--ray {address}: run the command on a node of the cluster, or with `ray job submit`,"
            " and give HOST:PORT or auto"
        )
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise StartupError(
            f"--ray {address}: no Ray cluster answers there ({error}); the address is HOST:PORT,"
            " as `ray start --head` shows it"
        ) from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and the errors that led to it, the last one first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _last_line(error: BaseException) -> str:
    """Returns the last line of a message; Ray's have a traceback before it."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
