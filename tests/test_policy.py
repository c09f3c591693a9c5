"""The policy file: the shipped one is sound, and every fault names file and key."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path

import pytest

from learnguard import policy
from learnguard.errors import PolicyError
from learnguard.policy import load_policy

DEFAULT = "".join(
    line
    for line in Path(policy.__file__).with_name("default.toml").read_text(encoding="utf-8").splitlines(keepends=True)
    if not line.startswith("#")
)
NIGHT = '\n[closed_night]\nvalue = ["22:00", "08:00"]\nunit = "local time"\nclause = "c"\nwhy = "w"\n'
CAP = '\n[daily_cap_s]\nvalue = 28800\nunit = "s"\nclause = "c"\nwhy = "w"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "county.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_shipped_policy() -> None:
    shipped = load_policy()
    assert (shipped.label, shipped.effective_from, shipped.class_hour_s) == ("default@1", date(2024, 1, 3), 2700)
    assert (shipped.withhold_min_struck_s, shipped.withhold_min_struck_share, shipped.withhold_basis) == (
        900,
        0.05,
        "hours",
    )
    assert (shipped.daily_cap_s, shipped.closed_night) == (None, None), "limits are a region's to set"
    assert set(shipped.clauses) == {
        "class_hour",
        "withhold_min_struck_s",
        "withhold_min_struck_share",
        "withhold_basis",
    }


def test_a_regions_policy(tmp_path: Path) -> None:
    read = load_policy(written(tmp_path, DEFAULT.replace("value  = 45", "value  = 50") + NIGHT + CAP))
    assert (read.class_hour_s, read.daily_cap_s, read.closed_night) == (3000, 28800, (time(22), time(8)))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id             = "default"', "id = 3", "id is missing or not a text"),
        ('id             = "default"', 'id = ""', "id is missing or not a text"),
        ("version        = 1", "version = true", "version is missing or not a whole number"),
        ("2024-01-03", "2024-01-03T00:00:00", "effective_from is missing or not a date"),
        ("[class_hour]", "[clas_hour]", "unknown entries clas_hour"),
        ("[withhold_basis]", "[title2]", "unknown entries title2"),
        ("value  = 45", "value  = 0.75", r"\[class_hour\] value must be a number from 30 to 60, got 0.75"),
        ("value  = 45", "value  = true", r"\[class_hour\] value"),
        ("value  = 45", "value  = nan", r"\[class_hour\] value"),
        ("value  = 45", 'value  = "45"', r"\[class_hour\] value"),
        ('unit   = "min"', 'unit   = "h"', r"\[class_hour\] unit must be 'min', got 'h'"),
        ("value  = 0.05", "value  = 5", r"\[withhold_min_struck_share\] value must be a number from 0 to 1, got 5"),
        ('value  = "hours"', 'value  = "all"', r"\[withhold_basis\] value must be 'hours' or 'record', got 'all'"),
        ('value  = "hours"', "value  = [1]", r"\[withhold_basis\] value"),
        ("why    = ", "wy     = ", r"\[class_hour\] lacks why"),
        ('unit   = "min"', 'unit   = ""', r"\[class_hour\] unit must be a text"),
        ('clause = "c"', "clause = 1", r"\[closed_night\] clause must be a text"),
        ('["22:00", "08:00"]', '"22:00"', r"\[closed_night\] value must be two local times"),
        ('["22:00", "08:00"]', '["22:00"]', r"\[closed_night\] value must be two local times"),
        ('["22:00", "08:00"]', '["22:00", 8]', r"\[closed_night\] value must be two local times"),
        ('["22:00", "08:00"]', '["22:00:30", "08:00"]', r"\[closed_night\] value must be two local times"),
        ('["22:00", "08:00"]', '["22:00+08:00", "08:00"]', r"\[closed_night\] value must be two local times"),
        ('["22:00", "08:00"]', '["08:00", "08:00"]', r"\[closed_night\] begins and ends at 08:00"),
        ("value  = 45", "value  = ", "is not valid TOML"),
    ],
)
def test_a_fault_names_file_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = DEFAULT + NIGHT
    assert old in text
    with pytest.raises(PolicyError, match=said) as raised:
        load_policy(written(tmp_path, text.replace(old, new, 1)))
    assert "county.toml" in str(raised.value)
    assert raised.value.hint


def test_an_entry_left_out_is_named(tmp_path: Path) -> None:
    head, _, tail = DEFAULT.partition("[withhold_min_struck_s]")
    with pytest.raises(PolicyError, match=r"county.toml: \[withhold_min_struck_s\] is missing"):
        load_policy(written(tmp_path, head + tail[tail.index("[withhold_min_struck_share]") :]))
    rest = DEFAULT[DEFAULT.index("[withhold_min_struck_s]") :]
    with pytest.raises(PolicyError, match=r"county.toml: \[class_hour\] lacks clause, unit, value, why"):
        load_policy(written(tmp_path, DEFAULT[: DEFAULT.index("[class_hour]")] + "class_hour = 45\n" + rest))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none.toml cannot be read"):
        load_policy(tmp_path / "none.toml")
    (tmp_path / "county.toml").write_bytes(b"id = '\xff'")
    with pytest.raises(PolicyError, match=r"county.toml is not valid TOML"):
        load_policy(tmp_path / "county.toml")
