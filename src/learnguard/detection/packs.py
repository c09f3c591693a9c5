"""Read packs: folders of detectors, checked strictly. Nothing is guessed: an unknown key is an error."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn, cast, get_args

from learnguard.detection.model import (
    Bilingual,
    BilingualList,
    Detector,
    Param,
    Requirement,
    Severity,
    Status,
    Strength,
)
from learnguard.engines.local import PARTITIONS
from learnguard.errors import PackError
from learnguard.schema import CONDENSED, DELIVERED, DETECTORS

#: Parameters that every detector may use beside its own: the run's date and the zone of its calendar days.
RUN_PARAMS: Final = ("run_date", "timezone")
#: What a detector's SELECT puts out (the last two are optional).
OUTPUT: Final = (
    "platform_id", "account_id", "record_id", "course_id", "started_at", "ended_at", "score", "struck_s", "strikes",
    "facts",
)  # fmt: skip
OPTIONAL_OUTPUT: Final = ("strength", "p_value")

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_REQUIRED: Final = frozenset(
    {"title", "clause", "strength", "severity", "status", "version", "reads", "partition_by", "false_positives",
     "triage", "explain"}
)  # fmt: skip
_OPTIONAL: Final = frozenset({"params", "requires", "lookalikes", "applies_to"})
_QUOTED: Final = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", re.DOTALL)
_PARAM: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_NUMBER: Final = re.compile(r"(?<![\w$.])(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)")


class _Place:
    """Where in a file we are, for errors that name file and key."""

    def __init__(self, file: Path, key: str = "") -> None:
        self.file, self.key = file, key

    def at(self, key: str) -> _Place:
        return _Place(self.file, f"{self.key}.{key}" if self.key else key)

    def fail(self, problem: str, hint: str = "Correct the file.") -> NoReturn:
        shown = "/".join(self.file.parts[-3:])
        where = f"{shown}, key {self.key}" if self.key else shown
        raise PackError(f"{where}: {problem}", hint=hint)


def default_root() -> Path:
    """The packs that come with LearnGuard: inside the installed package, else beside the source tree.

    Raises PackError when neither exists.
    """
    package = Path(__file__).resolve().parents[1]
    for root in (package / "_detectors", package.parents[1] / "detectors"):
        if root.is_dir():
            return root
    raise PackError("no detector packs are installed", hint="Reinstall learnguard, or name a folder of packs.")


def load_packs(roots: Sequence[Path] | None = None) -> tuple[Detector, ...]:
    """All detectors under ``roots`` (folders of packs; default: those shipped), in the order of the contract.

    Raises PackError, naming file and key, for anything that is missing, unknown or out of range, for SQL that has
    bare numbers or unbound parameters, and for one id in two packs.
    """
    found: dict[str, Detector] = {}
    for root in [default_root()] if roots is None else roots:
        if not root.is_dir():
            raise PackError(f"there is no folder of packs at {root}", hint="Correct the setting packs.")
        for file in sorted(root.glob("*/*/detector.toml")):
            detector = load_detector(file.parent)
            if detector.id in found:
                other = found[detector.id].folder
                _Place(file).fail(f"detector {detector.id} exists already in pack {other.parent.name}", "Rename one.")
            found[detector.id] = detector
    rank = {name: i for i, name in enumerate(DETECTORS)}
    return tuple(sorted(found.values(), key=lambda d: (rank.get(d.id, len(rank)), d.id)))


def load_detector(folder: Path) -> Detector:
    """The detector in ``folder`` (its name is the id). Raises PackError as :func:`load_packs` does."""
    file = folder / "detector.toml"
    place = _Place(file)
    if not _NAME.fullmatch(folder.name):
        place.fail(f"{folder.name} is not a detector id (small letters, digits, _)", "Rename the folder.")
    data = _read_toml(file)
    _check_keys(data, _REQUIRED, _OPTIONAL, place)
    params = _params(data.get("params", {}), place.at("params"))
    sql, bound = _sql(folder / "detector.sql", params)
    reads = _strings(data["reads"], place.at("reads"))
    partition_by = _choice(data["partition_by"], tuple(PARTITIONS), place.at("partition_by"))
    for table in reads:
        if table not in DELIVERED and table not in CONDENSED:
            place.at("reads").fail(f"there is no table {table}")
        if partition_by == "account" and _lacks_learner(table):
            place.at("partition_by").fail(f"{table} cannot be split by learner", "Use partition_by = 'login'.")
    applies_to = _choice(data.get("applies_to", "records"), ("records", "claims"), place.at("applies_to"))
    return Detector(
        id=folder.name,
        pack=folder.parent.name,
        folder=folder,
        title=_bilingual(data["title"], place.at("title")),
        clause=_string(data["clause"], place.at("clause")),
        strength=cast(Strength, _choice(data["strength"], get_args(Strength), place.at("strength"))),
        severity=cast(Severity, _choice(data["severity"], get_args(Severity), place.at("severity"))),
        status=cast(Status, _choice(data["status"], get_args(Status), place.at("status"))),
        version=_version(data["version"], place.at("version")),
        reads=reads,
        partition_by=partition_by,
        applies_to="claims" if applies_to == "claims" else "records",
        false_positives=_bilingual_list(data["false_positives"], place.at("false_positives")),
        triage=_bilingual_list(data["triage"], place.at("triage")),
        params=params,
        requires=_requires(data.get("requires", []), place.at("requires")),
        lookalikes=_named_texts(data.get("lookalikes", {}), place.at("lookalikes")),
        explain=_explain(data["explain"], place.at("explain")),
        sql=sql,
        bound=bound,
        fingerprint=_fingerprint(sql, params),
    )


def bare_numbers(sql: str) -> list[str]:
    """Number literals other than 0 and 1 in ``sql``, outside comments and quotes: they belong into parameters."""
    return [n for n in _NUMBER.findall(_QUOTED.sub(" ", sql)) if n not in {"0", "1"}]


def _fingerprint(sql: str, params: Sequence[Param]) -> str:
    defaults = json.dumps({p.name: p.value for p in params}, sort_keys=True)
    return hashlib.sha256(f"{sql}\n{defaults}".encode()).hexdigest()


def _sql(file: Path, params: Sequence[Param]) -> tuple[str, frozenset[str]]:
    place = _Place(file)
    if not file.is_file():
        place.fail("the file is missing", "A detector is detector.toml, detector.sql and cases.toml.")
    sql = file.read_text(encoding="utf-8").replace("\r\n", "\n").strip().removesuffix(";").rstrip()
    code = _QUOTED.sub(" ", sql)
    if ";" in code or not re.match(r"\s*(WITH|SELECT)\b", code, re.IGNORECASE):
        place.fail("must be exactly one SELECT")
    numbers = bare_numbers(sql)
    if numbers:
        place.fail(f"has bare numbers ({', '.join(sorted(set(numbers)))})", "Make each a parameter with a reason.")
    used, known = frozenset(_PARAM.findall(code)), {p.name for p in params}
    if used - known - set(RUN_PARAMS):
        place.fail(f"uses parameters that detector.toml does not give: {', '.join(sorted(used - known))}")
    if known - used:
        place.fail(f"does not use the parameters {', '.join(sorted(known - used))}", "Remove them from detector.toml.")
    return sql, used


def _lacks_learner(table: str) -> bool:
    names = (CONDENSED.get(table) or DELIVERED[table]).names
    return "account_id" in names and "learner_id" not in names


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        _Place(file).fail(f"cannot be read: {error}")


def _check_keys(data: Any, required: frozenset[str], optional: frozenset[str], place: _Place) -> None:
    if not isinstance(data, dict):
        place.fail("must be a table")
    if missing := sorted(required - set(data)):
        place.fail(f"lacks {', '.join(missing)}")
    if unknown := sorted(set(data) - required - optional):
        place.fail(f"has keys that are not known: {', '.join(unknown)}")


def _string(value: Any, place: _Place) -> str:
    if not isinstance(value, str) or not value.strip():
        place.fail("must be a text")
    return value.strip()


def _strings(value: Any, place: _Place) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        place.fail("must be a list of texts")
    return tuple(_string(v, place) for v in value)


def _choice(value: Any, choices: Sequence[str], place: _Place) -> str:
    if value not in choices:
        place.fail(f"must be one of {', '.join(choices)}, not {value!r}")
    return str(value)


def _version(value: Any, place: _Place) -> int:
    if type(value) is not int or value < 1:
        place.fail("must be a whole number from 1")
    return value


def _bilingual(value: Any, place: _Place) -> Bilingual:
    _check_keys(value, frozenset({"zh", "en"}), frozenset(), place)
    return Bilingual(_string(value["zh"], place.at("zh")), _string(value["en"], place.at("en")))


def _bilingual_list(value: Any, place: _Place) -> BilingualList:
    _check_keys(value, frozenset({"zh", "en"}), frozenset(), place)
    zh, en = _strings(value["zh"], place.at("zh")), _strings(value["en"], place.at("en"))
    if len(zh) != len(en):
        place.fail("zh and en must have the same number of texts")
    return BilingualList(zh, en)


def _named_texts(value: Any, place: _Place) -> Mapping[str, Bilingual]:
    if not isinstance(value, dict) or not all(_NAME.fullmatch(k) for k in value):
        place.fail("must be named tables with zh and en")
    return MappingProxyType({k: _bilingual(v, place.at(k)) for k, v in value.items()})


def _explain(value: Any, place: _Place) -> Mapping[str, Bilingual]:
    if isinstance(value, dict) and isinstance(value.get("zh"), str):
        return MappingProxyType({"": _bilingual(value, place)})
    texts = _named_texts(value, place)
    if not texts:
        place.fail("must have a text zh and en, or one pair per value of facts.variant")
    return texts


def _params(value: Any, place: _Place) -> tuple[Param, ...]:
    if not isinstance(value, dict):
        place.fail("must be a table")
    return tuple(_param(name, entry, place.at(name)) for name, entry in value.items())


def _param(name: str, entry: Any, place: _Place) -> Param:
    if not _NAME.fullmatch(name) or name in RUN_PARAMS:
        place.fail("is not a name for a parameter (small letters, digits, _)")
    _check_keys(entry, frozenset({"value", "min", "max", "unit", "why"}), frozenset(), place)
    for key in ("value", "min", "max"):
        if type(entry[key]) not in (int, float):
            place.at(key).fail("must be a number")
    value, low, high = entry["value"], entry["min"], entry["max"]
    if not low <= value <= high:
        place.fail(f"value {value} is not within {low} to {high}")
    why = _bilingual(entry["why"], place.at("why"))
    return Param(name, value, low, high, _string(entry["unit"], place.at("unit")), why, is_whole=type(value) is int)


def _requires(value: Any, place: _Place) -> tuple[Requirement, ...]:
    if not isinstance(value, list):
        place.fail("must be a list of tables ([[requires]])")
    return tuple(r for i, entry in enumerate(value, 1) for r in _requirement(entry, place.at(str(i))))


def _requirement(entry: Any, place: _Place) -> list[Requirement]:
    kinds = frozenset({"any", "all", "table", "lesson", "claim"})
    _check_keys(entry, frozenset(), kinds | {"missing", "gate"}, place)
    given = sorted(kinds & set(entry))
    is_gate = entry.get("gate", False)
    if not isinstance(is_gate, bool):
        place.at("gate").fail("must be true or false")
    if len(given) != 1:
        place.fail(f"must have exactly one of {', '.join(sorted(kinds))}")
    kind = given[0]
    if kind == "all":
        return [Requirement("logs", (n,), n, is_gate) for n in _strings(entry["all"], place.at("all"))]
    if kind == "any":
        names = _strings(entry["any"], place.at("any"))
        return [Requirement("logs", names, entry.get("missing", names[0]), is_gate)]
    name = _string(entry[kind], place.at(kind))
    tables: dict[str, Mapping[str, Any] | Sequence[str]] = {
        "table": {**DELIVERED, **CONDENSED},
        "lesson": DELIVERED["lessons"].names,
        "claim": CONDENSED["claims"].names,
    }
    if name not in tables[kind]:
        place.at(kind).fail(f"there is no {'table' if kind == 'table' else 'column'} {name}")
    missing = {"table": name, "lesson": f"lessons.{name}", "claim": name}[kind]
    if kind == "table":
        return [Requirement("table", (name,), entry.get("missing", missing), is_gate)]
    return [Requirement("lesson" if kind == "lesson" else "claim", (name,), entry.get("missing", missing), is_gate)]
