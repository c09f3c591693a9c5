"""A world's deliveries read back as they stand on disk, without the store: for tests and for looking around."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator

import polars as pl

from learnguard import schema
from learnguard.simulate.schedule import TIMEZONE
from learnguard.simulate.world import World
from learnguard.simulate.writing import Delivery


def files_of(delivery: Delivery) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file of ``delivery``, delivery.toml included, in order of name."""
    if delivery.path.suffix == ".zip":
        with zipfile.ZipFile(delivery.path) as archive:
            for name in sorted(archive.namelist()):
                yield name, archive.read(name)
    else:
        for path in sorted(delivery.path.iterdir()):
            yield path.name, path.read_bytes()


def read_table(world: World, table: str) -> pl.DataFrame:
    """All delivered rows of the contract's ``table``: times in UTC, numbers as floats, plus ``delivered_on`` (a date).

    Nothing is checked, corrected or taken out: doubled rows are there twice.
    """
    frames = [
        _typed(table, _frame(name, content)).with_columns(delivered_on=delivery.day)
        for delivery in world.deliveries
        for name, content in files_of(delivery)
        if name.split(".")[0] == table
    ]
    return pl.concat(frames, how="diagonal_relaxed")


def _frame(name: str, content: bytes) -> pl.DataFrame:
    if name.endswith(".parquet"):
        return pl.read_parquet(io.BytesIO(content))
    if name.endswith(".xlsx"):
        return pl.read_excel(io.BytesIO(content), infer_schema_length=0)
    if name.endswith(".csv"):
        return pl.read_csv(io.BytesIO(content), infer_schema=False)
    plain = gzip.decompress(content) if name.endswith(".gz") else content
    return pl.read_ndjson(io.BytesIO(plain), infer_schema_length=None)


def _typed(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    made = []
    for c in schema.DELIVERED[table].columns:
        if c.name not in frame.columns:
            continue
        column = pl.col(c.name)
        if c.kind == "time" and frame.schema[c.name] == pl.String:
            if frame[c.name].str.contains(r"[+-]\d\d:\d\d$").any():
                moment = column.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_zone="UTC")
            else:
                moment = column.str.to_datetime("%Y-%m-%d %H:%M:%S").dt.replace_time_zone(TIMEZONE)
            made.append(moment.dt.convert_time_zone("UTC").dt.cast_time_unit("us"))
        elif c.kind in {"number", "integer", "money"}:
            made.append(column.cast(pl.Float64))
    return frame.with_columns(made)
