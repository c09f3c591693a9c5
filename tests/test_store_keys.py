"""The identity key, and what is made with it."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from learnguard import store
from learnguard.errors import StoreError
from learnguard.store import identity

KEY = bytes(range(32))


def test_a_key_is_made_once_and_kept_to_oneself(tmp_path: Path) -> None:
    file = tmp_path / "store" / "identity.key"
    key = store.load_key(file=file)
    assert len(key) == 32
    assert store.load_key(file=file) == key
    assert file.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in file.parent.iterdir()] == ["identity.key"]
    file.chmod(0o640)
    with pytest.raises(StoreError, match=r"can be read by other users \(mode 0640\)") as caught:
        store.load_key(file=file)
    assert "chmod 600" in caught.value.hint
    assert key.hex() not in str(caught.value)


def test_processes_that_make_a_key_at_once_agree(tmp_path: Path) -> None:
    file = tmp_path / "identity.key"
    code = (
        "import sys; from pathlib import Path; from learnguard.store import load_key; "
        "print(load_key(file=Path(sys.argv[1])).hex())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert len({p.communicate(timeout=60)[0] for p in running}) == 1


@pytest.mark.parametrize("text", ["short", "ab" * 31])
def test_weak_keys_are_refused(text: str) -> None:
    if len(text) < 32:
        with pytest.raises(StoreError, match="shorter than 32 bytes"):
            store.load_key(key=text)
    else:
        assert store.load_key(key=text) == text.encode()


def test_a_given_key_wins(tmp_path: Path) -> None:
    assert store.load_key(key="0f" * 32, file=tmp_path / "absent") == b"\x0f" * 32
    with pytest.raises(StoreError, match="no identity key"):
        store.load_key()
    (tmp_path / "broken").write_bytes(b"\xff" * 40)
    (tmp_path / "broken").chmod(0o600)
    with pytest.raises(StoreError, match="is not text"):
        store.load_key(file=tmp_path / "broken")


def test_known_check_characters() -> None:
    # The worked example of GB 11643-1999.
    assert identity.check_character("11010519491231002") == "X"
    assert identity.check_character("34052419800101001") == "X"


def test_sql_and_python_agree_on_the_pseudonym() -> None:
    con = duckdb.connect()
    for key in (KEY, b"k" * 64, b"a longer key than one block of the hash function takes, so that it is hashed first"):
        found = con.execute(
            f"SELECT {identity.pseudonym_sql('n')} FROM (SELECT '34082719900101061X' AS n)",
            identity.key_parameters(key),
        ).fetchone()
        want = "L" + hmac.new(key, b"34082719900101061X", hashlib.sha256).hexdigest()[:32]
        assert found == (want,)
