"""Pseudonyms: how an identity number becomes a ``learner_id`` that does not reveal it.

``learner_id`` is ``L`` and the first 32 hex digits of HMAC-SHA256 over the number in its normal form, under a
key that only the authority has. All of it happens inside the first query over a file, so that the number is
written nowhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from learnguard.errors import StoreError

KEY_BYTES: Final = 32
_BLOCK: Final = 64
_WIDE: Final = ("０１２３４５６７８９Ｘ", "0123456789X")
#: GB 11643-1999: weights of the first 17 digits, and the check character for each remainder modulo 11.
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK: Final = "10X98765432"
_FORM: Final = "[1-9][0-9]{16}[0-9X]"
#: What looks like an identity number inside other text (18 characters, or 15 as before 1999).
_LOOKS_LIKE: Final = (
    r"([1-9][0-9]{5})(?:(?:1[89]|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])|"
    r"(?:[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])))([0-9]{2,3}[0-9Xx])"
)


def load_key(*, key: str = "", file: Path | None = None) -> bytes:
    """The 32 or more bytes behind all pseudonyms: from the text ``key`` (hex, or at least 32 characters), else
    from ``file``, which is made with mode 0600 on first use (safe with several processes at once).

    Raises StoreError where the key is too weak, the file can be read by others, or neither is given.
    """
    if key:
        return _decoded(key.strip(), "the identity key")
    if file is None:
        raise StoreError("no identity key is set", hint="Set LEARNGUARD_IDENTITY_KEY or identity_key_file.")
    if not file.exists():
        _create(file)
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        raise StoreError(
            f"the identity key {file} can be read by other users (mode {mode:04o})", hint=f"Run: chmod 600 {file}"
        )
    try:
        return _decoded(file.read_text(encoding="ascii").strip(), f"the identity key {file}")
    except UnicodeDecodeError:
        text = f"the identity key {file} is not text"
    raise StoreError(text, hint="Restore the file from its backup: without the same key, pseudonyms do not match.")


def _decoded(text: str, what: str) -> bytes:
    if re.fullmatch(r"(?:[0-9a-fA-F]{2}){32,}", text):
        return bytes.fromhex(text)
    data = text.encode()
    if len(data) < KEY_BYTES:
        raise StoreError(
            f"{what} is shorter than {KEY_BYTES} bytes",
            hint="Use 64 random hex digits, for example of: openssl rand -hex 32",
        )
    return data


def _create(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(KEY_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        # A link appears whole or not at all, and never over a key that another process has just made.
        try:
            os.link(draft, file)
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)


def key_parameters(key: bytes) -> dict[str, object]:
    """The two padded key blocks that the SQL of :func:`pseudonym_sql` takes as $hmac_inner and $hmac_outer."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    return {"hmac_inner": bytes(b ^ 0x36 for b in block), "hmac_outer": bytes(b ^ 0x5C for b in block)}


def normal_sql(value: str) -> str:
    """SQL: the number in its normal form (no spaces, ASCII digits, capital X; null when empty)."""
    bare = f"upper(regexp_replace(CAST({value} AS VARCHAR), '[\\s　]', '', 'g'))"
    return f"nullif(translate({bare}, '{_WIDE[0]}', '{_WIDE[1]}'), '')"


def pseudonym_sql(normal: str) -> str:
    """SQL: the ``learner_id`` of a number in normal form."""
    return f"'L' || substr(sha256($hmac_outer || unhex(sha256($hmac_inner || encode({normal})))), 1, 32)"


def length_sql(normal: str) -> str:
    """SQL, true where the number is not of the form: 17 digits, then a digit or X."""
    return f"{normal} IS NOT NULL AND NOT regexp_full_match({normal}, '{_FORM}')"


def birth_sql(normal: str) -> str:
    """SQL, true where digits 7 to 14 are no date of birth between 1900 and $today."""
    born = f"CAST(try_strptime(substr({normal}, 7, 8), '%Y%m%d') AS DATE)"
    return f"{normal} IS NOT NULL AND NOT coalesce({born} BETWEEN DATE '1900-01-01' AND $today, false)"


def check_digit_sql(normal: str) -> str:
    """SQL, true where the last character is not the check character of the first 17 (ISO 7064, MOD 11-2)."""
    total = " + ".join(f"(ascii(substr({normal}, {i}, 1)) - 48) * {w}" for i, w in enumerate(_WEIGHTS, 1))
    return f"{normal} IS NOT NULL AND substr({normal}, 18, 1) <> substr('{_CHECK}', ({total}) % 11 + 1, 1)"


def valid_sql(normal: str) -> str:
    """SQL, true where the number passes all three checks; false or null otherwise."""
    return (
        f"coalesce(CASE WHEN length({normal}) = 18 AND regexp_full_match({normal}, '{_FORM}') "
        f"THEN NOT ({birth_sql(normal)}) AND NOT ({check_digit_sql(normal)}) END, false)"
    )


def mask_sql(normal: str) -> str:
    """SQL: what people may see of a number: 6 first and 4 last of 18 characters, less of shorter text."""
    return (
        f"CASE WHEN length({normal}) >= 18 THEN substr({normal}, 1, 6) || '********' || right({normal}, 4) "
        f"WHEN length({normal}) >= 10 THEN substr({normal}, 1, 3) || '***' || right({normal}, 2) "
        f"WHEN {normal} IS NOT NULL THEN '***' END"
    )


def redact_sql(text: str) -> str:
    """SQL: ``text`` with everything that looks like an identity number masked."""
    return f"regexp_replace({text}, '{_LOOKS_LIKE}', '\\1********\\2', 'g')"


def redact(text: str) -> str:
    """``text`` with everything that looks like an identity number masked."""
    return re.sub(_LOOKS_LIKE, r"\1********\2", text)


def check_character(first17: str) -> str:
    """The check character of 17 digits (GB 11643), for tests and invented data."""
    return _CHECK[sum(int(d) * w for d, w in zip(first17, _WEIGHTS, strict=True)) % 11]


def today() -> date:
    """Today in UTC: no one is born later."""
    return datetime.now(UTC).date()
