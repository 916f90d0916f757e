"""The beginning and the end of a job, wherever its queries are answered."""

from __future__ import annotations

import argparse

from t5serve.commands.batch.formats import FileFormat, OutputFormat, format_of
from t5serve.commands.batch.journal import Paths
from t5serve.commands.batch.parquet import ParquetFile, write_parquet
from t5serve.commands.batch.rows import LineFile, Source
from t5serve.errors import StartupError


def open_source(options: argparse.Namespace) -> Source:
    """Returns the input.

    Raises:
        StartupError: it can't be read, or an option is not for its format.
    """
    source_format: FileFormat = options.source or format_of(options.input)
    if source_format == "parquet":
        return ParquetFile(options.input, options.column, options.id_column, options.shard)
    if options.column or options.id_column:
        raise StartupError("--column and --id-column are for Parquet files")
    return LineFile(options.input, source_format, options.shard)


def prepare(paths: Paths, options: argparse.Namespace) -> bool:
    """Makes way for the output; returns whether anything is left to do.

    Raises:
        StartupError: the output or an unfinished one exists.
    """
    if not paths.out.parent.is_dir():
        raise StartupError(f"{paths.out.parent}: there is no such directory")
    unfinished, other, option = paths.journal, paths.parts, "with --ray"
    if options.ray is not None:
        unfinished, other, option = paths.parts, paths.journal, "without --ray"
    if options.force:
        paths.remove_unfinished()
    elif other.exists():
        raise StartupError(
            f"{other} is of a job that was begun {option}; continue it so, or --force begins anew"
        )
    elif unfinished.exists():
        if not options.resume:
            raise StartupError(
                f"{unfinished} is of a job that was stopped; --resume continues it,"
                " --force begins anew"
            )
    elif paths.out.exists():
        if options.resume:
            return False
        raise StartupError(f"{paths.out} exists; --force replaces it")
    return True


def publish(paths: Paths, bad: int, output_format: OutputFormat) -> None:
    """Puts the files in their places; may be done again after a kill in between.

    Args:
        paths: the files.
        bad: how many bad rows there are.
        output_format: the format of the output; that of its rows is JSON lines for Parquet.
    """
    if bad:
        if paths.errors_part.exists():
            paths.errors_part.replace(paths.errors)
    else:
        paths.errors.unlink(missing_ok=True)
    if paths.rows.exists():
        if output_format == "parquet":
            whole = paths.out.with_name(f"{paths.out.name}.parquet.part")
            write_parquet(paths.rows, whole)
            whole.replace(paths.out)
        else:
            paths.rows.replace(paths.out)
