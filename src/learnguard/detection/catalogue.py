"""The catalogue: one Markdown page that says what each detector finds, how, and how it errs.

Generated from the packs, so that it cannot drift from what is run; a test holds the pages under docs/ to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from learnguard.detection.model import Detector, Lang, Param, Requirement
from learnguard.engines.local import MACROS

_WORDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "title": ("检测器目录", "Catalogue of detectors"),
        "intro": (
            "本页由检测器包自动生成，请勿手工修改。检测器只指出培训记录与日志相矛盾之处，是否扣发补贴由人核定。",
            "Generated from the detector packs. A detector says where a record contradicts the log; a person decides.",
        ),
        "detector": ("检测器", "Detector"),
        "behaviour": ("行为", "Behaviour"),
        "strength": ("证据强度", "Strength"),
        "version": ("版本", "Version"),
        "clause": ("依据", "Clause"),
        "status": ("状态", "Status"),
        "severity": ("严重程度", "Severity"),
        "reads": ("读取数据", "Reads"),
        "says": ("结论写法", "What a finding says"),
        "params": ("参数", "Parameters"),
        "no_params": ("无参数。", "None."),
        "param": ("参数名", "Parameter"),
        "value": ("默认值", "Default"),
        "range": ("可调范围", "Range"),
        "unit": ("单位", "Unit"),
        "why": ("理由", "Why"),
        "lookalikes": ("逐一检验的正当解释", "Honest look-alikes examined"),
        "errs": ("可能误判的情形", "How it errs"),
        "triage": ("核查步骤", "Triage"),
        "needs": ("所需日志（缺则列为未评估）", "What it needs (else: not assessed)"),
        "sql": ("查询语句（SQL）", "The SQL"),
        "macros": (
            "查询语句只用 DuckDB 自带函数与以下几个约定写法；`$名称` 为上表参数：",
            "The SQL uses DuckDB's own functions and these few words; `$name` is a parameter of the table:",
        ),
        "logs": ("客户端须记录其一：", "clients log one of: "),
        "table": ("须报送数据表：", "a table is handed over: "),
        "lesson": ("课节须有：", "lessons have: "),
        "claim": ("培训记录须有：", "the record has: "),
        "missing": ("，缺时记作 ", "; else it reads "),
    }
)
_VALUES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "proof": ("日志自证", "proof: a rule is broken on the log's own face"),
        "statistical": ("统计异常", "statistical: unlikely among comparable honest learners"),
        "high": ("高", "high"),
        "medium": ("中", "medium"),
        "low": ("低", "low"),
        "stable": ("正式（可导致扣留待核）", "stable (may lead to withholding)"),
        "experimental": ("试用（仅供分析人员参考）", "experimental (shown to analysts only)"),
        "s": ("秒", "s"),
        "share": ("比例", "share"),
        "beats": ("个心跳", "beats"),
        "times": ("倍", "times"),
        "checks": ("次", "checks"),
        "probability": ("概率", "probability"),
    }
)


def catalogue(detectors: Sequence[Detector], lang: Lang) -> str:
    """The catalogue of ``detectors`` in ``lang`` as one Markdown page, ending in a newline."""
    lines = [f"# {_word('title', lang)}", "", _word("intro", lang), ""]
    lines += _overview(detectors, lang)
    lines += ["", _word("macros", lang), "", "```sql", *(f"CREATE TEMP MACRO {m};" for m in MACROS), "```"]
    for detector in detectors:
        lines += _section(detector, lang)
    return "\n".join(lines) + "\n"


def _word(key: str, lang: Lang) -> str:
    return _WORDS[key][lang == "en"]


def _value(key: str, lang: Lang) -> str:
    return _VALUES[key][lang == "en"] if key in _VALUES else key


def _overview(detectors: Sequence[Detector], lang: Lang) -> list[str]:
    head = [_word(k, lang) for k in ("detector", "behaviour", "strength", "version")]
    strength = {d.id: _value(d.strength, lang).split(":")[0] for d in detectors}
    rows = [
        f"| [`{d.id}`](#{d.id}) | {_cell(d.title.text(lang))} | {strength[d.id]} | {d.version} |" for d in detectors
    ]
    return [f"| {' | '.join(head)} |", "| --- | --- | --- | --- |", *rows]


def _section(d: Detector, lang: Lang) -> list[str]:
    facts = [
        ("clause", d.clause),
        ("strength", _value(d.strength, lang)),
        ("severity", _value(d.severity, lang)),
        ("status", _value(d.status, lang)),
        ("version", f"{d.version} (`{d.fingerprint[:12]}`)"),
        ("reads", ", ".join(f"`{t}`" for t in d.reads)),
    ]
    lines = ["", f'<a id="{d.id}"></a>', "", f"## {d.title.text(lang)} · `{d.id}`", ""]
    lines += [f"- **{_word(k, lang)}**: {v}" for k, v in facts]
    lines += _list("says", [f"> {t.text(lang)}" for t in d.explain.values()], lang, mark="")
    lines += ["", f"### {_word('params', lang)}", "", *_params(d.params, lang)]
    lines += _list("lookalikes", [f"{t.text(lang)} (`{n}`)" for n, t in d.lookalikes.items()], lang)
    lines += _list("errs", d.false_positives.texts(lang), lang)
    lines += _list("triage", d.triage.texts(lang), lang, mark="1. ")
    lines += _list("needs", [_need(r, lang) for r in d.requires], lang)
    lines += ["", "<details>", f"<summary>{_word('sql', lang)}</summary>", "", "```sql", d.sql, "```", "", "</details>"]
    return lines


def _list(key: str, items: Sequence[str], lang: Lang, *, mark: str = "- ") -> list[str]:
    if not items:
        return []
    body = [f"{mark}{item}" for item in items]
    if not mark:
        body = [line for item in body for line in (item, "")][:-1]
    return ["", f"### {_word(key, lang)}", "", *body]


def _params(params: Sequence[Param], lang: Lang) -> list[str]:
    if not params:
        return [_word("no_params", lang)]
    head = [_word(k, lang) for k in ("param", "value", "range", "unit", "why")]
    joint = " – "
    rows = [
        f"| `{p.name}` | {p.value} | {p.low}{joint}{p.high} | {_value(p.unit, lang)} | {_cell(p.why.text(lang))} |"
        for p in params
    ]
    return [f"| {' | '.join(head)} |", "| --- | ---: | ---: | --- | --- |", *rows]


def _need(r: Requirement, lang: Lang) -> str:
    names = ", ".join(f"`{n}`" for n in r.names)
    return f"{_word(r.kind, lang)}{names}{_word('missing', lang)}`{r.missing}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
