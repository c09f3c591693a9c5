"""Text files of a delivery: compression, encoding and line-wise reading.

DuckDB reads a cut-off .gz or .zst as far as it goes without a word, and a file that is not UTF-8 may abort
its whole database. So every text file is read through once, decompressed, before DuckDB sees it.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from learnguard.errors import DeliveryError
from learnguard.sources.delivery import DeliveredFile

COMPRESSION: Final = {".gz": "gzip", ".zst": "zstd"}
#: No line of a log is longer than this (bytes); the engine holds a few buffers of the second size.
MAX_LINE: Final = 16 << 20
BUFFER: Final = 2 * MAX_LINE
#: Four control characters that no text holds in a row: they make the CSV reader take a whole line as one field.
NO_DELIMITER: Final = "\x1f\x1e\x1f\x1e"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file that DuckDB can read: UTF-8 at ``path``, with DuckDB's name of its ``compression``."""

    name: str
    path: Path
    compression: str

    def head(self, size: int = 1 << 16) -> str:
        """The first ``size`` bytes as text, without a byte order mark."""
        with _stream(self.path, self.compression) as stream:
            return codecs.getincrementaldecoder("utf-8")("replace").decode(stream.read(size)).removeprefix("\ufeff")


def suffixes(name: str) -> tuple[str, str]:
    """The format and the compression that a file name tells: ``events-1.CSV.gz`` gives (``.csv``, ``.gz``)."""
    path = Path(name.lower())
    if path.suffix in COMPRESSION:
        return Path(path.stem).suffix, path.suffix
    return path.suffix, ""


def first_bytes(file: DeliveredFile, size: int = 1 << 16) -> bytes:
    """The first ``size`` bytes, decompressed; empty where they cannot be read."""
    try:
        with _stream(file.path, COMPRESSION.get(suffixes(file.name)[1], "none")) as stream:
            return bytes(stream.read(size))
    except (OSError, pa.ArrowException):
        return b""


def open_text(file: DeliveredFile, workdir: Path) -> TextFile:
    """``file`` as UTF-8: itself where it is, else a converted copy in ``workdir`` (GB18030/GBK or UTF-16).

    Raises DeliveryError where the compressed stream is broken or the bytes are no known encoding.
    """
    compression = COMPRESSION.get(suffixes(file.name)[1], "none")
    try:
        start = first_bytes(file, 4)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return _converted(file, compression, "utf-16", workdir)
        offset = _undecodable(file.path, compression, "utf-8")
        if offset is None:
            return TextFile(file.name, file.path, compression)
        if start.startswith(codecs.BOM_UTF8) or _undecodable(file.path, compression, "gb18030") is not None:
            raise DeliveryError(
                f"{file.name} is neither UTF-8 (broken near byte {offset}) nor GB18030/GBK",
                hint="Save it as UTF-8 and deliver it again.",
            )
        return _converted(file, compression, "gb18030", workdir)
    except (OSError, pa.ArrowException) as error:
        raise DeliveryError(
            f"{file.name} cannot be read to its end: {error}", hint="The file is cut off or broken: transfer it again."
        ) from error


def _stream(path: Path, compression: str) -> pa.NativeFile:
    return pa.input_stream(str(path), compression=None if compression == "none" else compression)


def _undecodable(path: Path, compression: str, encoding: str) -> int | None:
    """The offset of about the first byte that is not in ``encoding``; None when all are."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    with _stream(path, compression) as stream:
        while True:
            chunk = stream.read(_CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return offset + error.start
            if not chunk:
                return None
            offset += len(chunk)


def _converted(file: DeliveredFile, compression: str, encoding: str, workdir: Path) -> TextFile:
    folder = workdir / "utf8"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{len(list(folder.iterdir()))}.txt"
    decoder = codecs.getincrementaldecoder(encoding)()
    with _stream(file.path, compression) as stream, target.open("xb") as out:
        while chunk := stream.read(_CHUNK):
            out.write(decoder.decode(chunk).encode("utf-8"))
        out.write(decoder.decode(b"", final=True).encode("utf-8"))
    return TextFile(file.name, target, "none")


def lines_sql(file: TextFile) -> tuple[str, dict[str, object]]:
    """A SELECT of ``line`` (VARCHAR, null when empty) in the file's order, and its parameters."""
    sql = (
        "SELECT line FROM read_csv($path, delim=$delim, quote='', escape='', comment='', header=false, "
        "auto_detect=false, columns={'line': 'VARCHAR'}, max_line_size=$max_line, buffer_size=$buffer, "
        "compression=$compression)"
    )
    return sql, {
        "path": str(file.path),
        "delim": NO_DELIMITER,
        "max_line": MAX_LINE,
        "buffer": BUFFER,
        "compression": file.compression,
    }


def quiet(error: Exception) -> str:
    """The first line of an error of DuckDB, without the row that it may quote (rows hold personal data)."""
    first = str(error).split("\n", 1)[0]
    return first.removeprefix("Invalid Input Error: ").removeprefix("IO Error: ")


def query(con: duckdb.DuckDBPyConnection, file: str, sql: str, params: dict[str, object]) -> list[tuple[object, ...]]:
    """All rows of ``sql``; what DuckDB cannot read becomes a DeliveryError that names ``file``."""
    try:
        rows: list[tuple[object, ...]] = con.execute(sql, params).fetchall()
    except duckdb.Error as error:
        text = quiet(error)
    else:
        return rows
    raise DeliveryError(
        f"{file} cannot be read: {text}", hint="The file is broken or of another format: deliver it again."
    )
