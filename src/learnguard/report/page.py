"""The report as one page that opens anywhere: no network, no script needed to read it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import duckdb
from markupsafe import Markup

from learnguard.report.data import DETAIL_LIMIT, load_report
from learnguard.report.drawing import Legend, clock, day_label, lane_names, ledger_bar, ledger_parts, pattern, timeline
from learnguard.report.model import Detail, Flag, ReportData, Stretch
from learnguard.report.shown import MISSING, Shown
from learnguard.report.templating import asset, digest, environment
from learnguard.report.words import Lang, change_title, reason_title, texts

#: Institutions and platforms listed on the page; the exported files hold all.
GROUP_ROWS: Final = 15
_PACKAGE: Final = "learnguard.report"
#: Rows of merged learning time that are written out per record.
LEARNING_ROWS: Final = 40


def content_security_policy() -> str:
    """The policy that the page carries: nothing from outside, only its own style and script, by their hashes."""
    return (
        f"default-src 'none'; style-src '{digest(asset(_PACKAGE, 'report.css'))}'; "
        f"script-src '{digest(asset(_PACKAGE, 'report.js'))}'; base-uri 'none'; form-action 'none'"
    )


class _View:
    """What the template asks for: the report's data with words, numbers and drawings for one language."""

    def __init__(self, data: ReportData, lang: Lang) -> None:
        self.data = data
        self.lang = lang
        self.words = texts(lang)
        self.shown = Shown(lang, data.run.timezone, data.run.class_hour_s)
        self.titles = {k: r.title for k, r in data.rules.items()}

    def title(self, reason: str) -> str:
        return self.titles.get(reason) or reason_title(reason, self.lang)

    def decision(self, decision: str, form: str = "") -> str:
        return self.words.get(f"decision_{decision}{form}", decision)

    def account(self, key: str) -> str:
        return self.words[key] if key in {"credited", "unsupported"} else self.title(key)

    def said(self, key: str, **values: object) -> str:
        return self.words[key].format(**values)

    def word(self, key: str, fallback: str = "") -> str:
        return self.words.get(key, fallback)

    def bar(self, parts: Iterable[Any], height: int) -> Markup:
        parts = tuple(parts)
        label = "; ".join(f"{self.account(p.key)} {self.shown.share(p.share)}" for p in parts if p.seconds)
        return ledger_bar(parts, label=label, height=height)

    def timeline(self, detail: Detail) -> Markup:
        days = len({s.day for s in detail.stretches})
        legend = Legend(
            lang=self.lang,
            label=self.said("timeline_label", n=days),
            unknown=self.words["device_unknown"],
            has_accounts=len({s.account_id for s in detail.stretches}) > 1,
            titles={m.detector: self.title(m.detector) for m in detail.marks},
            more_lanes=self.words["timeline_lanes_cap"],
        )
        return timeline(detail, legend)

    def state(self, stretch: Stretch) -> str:
        if not stretch.is_own:
            return self.words["state_other"]
        return self.words[{None: "state_unknown", True: "state_hidden", False: "state_front"}[stretch.is_hidden]]

    def learning(self, detail: Detail) -> list[dict[str, str]]:
        """Stretches merged by day, lane, lesson and state, as rows of text."""
        names = lane_names(detail.stretches, unknown=self.words["device_unknown"])
        merged: dict[tuple[object, ...], list[Stretch]] = {}
        for s in detail.stretches:
            merged.setdefault((s.day, s.lane, s.lesson, s.is_hidden, s.is_own, s.rate, s.source), []).append(s)
        return [
            {
                "day": day_label(group[0].day, self.lang),
                "clock": f"{clock(group[0].start_s)}–{clock(max(s.end_s for s in group))}",
                "lane": names[group[0].lane],
                "lesson": group[0].lesson or MISSING,
                "state": self.state(group[0]),
                "active": self.shown.duration(sum(s.active_s or 0 for s in group)),
                "rate": MISSING if group[0].rate is None else f"{self.shown.number(group[0].rate)}×",
                "source": self.word(f"source_{group[0].source}", group[0].source or MISSING),
            }
            for group in list(merged.values())
        ]

    def facts(self, facts: dict[str, Any]) -> list[tuple[str, str]]:
        # a fact of another variant of the finding is null: nothing to read
        return [(self.shown.fact_label(k), self.shown.fact(k, v)) for k, v in facts.items() if v is not None]

    def examined(self, finding: Any) -> list[tuple[str, str, str]]:
        """Look-alike, result and how it is marked: those of the rule first, then what else was reported."""
        rule = self.data.rules.get(finding.detector)
        names = dict(rule.lookalikes if rule else {})
        names |= {k: self.shown.fact_label(k) for k in finding.examined if k not in names}
        return [(text, *self._result(finding.examined.get(name))) for name, text in names.items()]

    def _result(self, result: Any) -> tuple[str, str]:
        if isinstance(result, bool):
            result = {"found": result}
        if not isinstance(result, dict) or not isinstance(result.get("found"), bool):
            return self.words["examined_not"], "open"
        # What was not seen needs no numbers.
        more = {k: v for k, v in result.items() if k != "found" and v} if result["found"] else {}
        text = self.words["examined_found" if result["found"] else "examined_absent"]
        if more:
            numbers = ("；" if self.lang == "zh" else "; ").join(f"{k} {v}" for k, v in self.facts(more))
            text += f"（{numbers}）" if self.lang == "zh" else f" ({numbers})"
        return text, "seen" if result["found"] else "absent"

    def params(self, params: dict[str, Any]) -> list[tuple[str, str, str]]:
        """A rule's parameters: name, value with unit, reason."""
        rows = []
        for name, said in params.items():
            given = said if isinstance(said, dict) else {"value": said}
            value = given.get("value")
            text = (
                value
                if isinstance(value, str)
                else self.shown.number(value)
                if isinstance(value, int | float)
                else str(value)
            )
            why = given.get(f"why_{self.lang}") or given.get("why") or ""
            rows.append((name, f"{text} {given.get('unit') or ''}".strip(), str(why)))
        return rows

    def changed_from(self) -> str:
        """The version that a re-run replaces."""
        version = re.search(r"\.v(\d+)\.", self.data.run.changed_from)
        return self.said("version", n=version[1]) if version else self.data.run.changed_from or MISSING

    def changes(self) -> list[tuple[str, str]]:
        """What a re-run counts, nested counts written out."""
        rows: list[tuple[str, str]] = []
        for key, value in self.data.run.changes.items():
            inner = value if isinstance(value, dict) else {"": value}
            for sub, count in inner.items():
                name = change_title(key, self.lang) + (f" · {self.title(sub)}" if sub else "")
                rows.append((name, self.shown.number(count) if isinstance(count, int | float) else str(count)))
        return rows

    def made_at(self) -> str:
        """When the run was made, in its own zone."""
        try:
            at = datetime.fromisoformat(self.data.run.created_at)
        except ValueError:
            return self.data.run.created_at
        return at.astimezone(ZoneInfo(self.data.run.timezone)).strftime("%Y-%m-%d %H:%M") if at.tzinfo else str(at)

    def options(self, name: str) -> list[str]:
        """The values of a column of the list of flags, for its filter."""
        return sorted({getattr(f, name) for f in self.data.flags})

    def reasons_seen(self) -> list[str]:
        seen = {r for f in self.data.flags for r in f.reasons}
        return [g.id for g in self.data.behaviours if g.id in seen] + sorted(
            seen - {g.id for g in self.data.behaviours}
        )


def _render(data: ReportData, lang: Lang, template: str, **more: Any) -> str:
    view = _View(data, lang)
    return (
        environment(_PACKAGE)
        .get_template(template)
        .render(
            v=view,
            d=data,
            t=view.words,
            s=view.shown,
            pattern=pattern,
            parts=ledger_parts,
            css=Markup(asset(_PACKAGE, "report.css")),  # noqa: S704  the package's own file
            js=Markup(asset(_PACKAGE, "report.js")),  # noqa: S704  the package's own file
            csp=content_security_policy(),
            missing=MISSING,
            **more,
        )
    )


def render_data(data: ReportData) -> str:
    """The page for a report already loaded."""
    lang: Lang = "zh" if data.lang == "zh" else "en"
    return _render(data, lang, "report.html", group_rows=GROUP_ROWS, learning_rows=LEARNING_ROWS)


def render_html(con: duckdb.DuckDBPyConnection, lang: Lang, *, detail_limit: int = DETAIL_LIMIT) -> str:
    """The report of the run that ``con`` shows, as one HTML page in ``lang``.

    The grounds of the first ``detail_limit`` flags are on the page. Raises ReportError like :func:`load_report`.
    """
    return render_data(load_report(con, lang=lang, detail_limit=detail_limit))


def render_record(con: duckdb.DuckDBPyConnection, platform_id: str, record_id: str, *, lang: Lang) -> str:
    """One record of the run, flagged or not, as a page of its own. Raises ReportError when the run lacks it."""
    data = load_report(con, lang=lang, only=(platform_id, record_id))
    flag: Flag = data.flags[0]
    return _render(data, lang, "record.html", flag=flag, learning_rows=LEARNING_ROWS)
