"""Inline SVG: the hour ledger as a bar and the timeline of a record. Geometry only; colours are the style sheet's.

No style attributes and no scripts inside, so that a strict content security policy can hold. Patterns ``k0`` to ``k7``
and ``unsupported``, ``hidden`` are defined once per page by the template.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Final

from markupsafe import Markup

from learnguard.report.model import Check, Detail, Stretch
from learnguard.report.words import Lang

#: One pattern per reason that takes seconds; reasons that never meet may share one.
PATTERN: Final[Mapping[str, int]] = MappingProxyType(
    {
        "concurrent_sessions": 0,
        "background_playback": 1,
        "course_skipping": 2,
        "idle_playback": 3,
        "proxy_attendance": 4,
        "anomalous_completion_time": 6,
        "policy_limit": 7,
    }
)
_OTHER_PATTERN: Final = 5

LANES_PER_DAY: Final = 8
_WIDTH, _LEFT, _RIGHT = 1000, 196, 990
_HEAD, _LANE, _BAR, _GAP, _AXIS = 20, 17, 11, 8, 22
_WEEKDAYS: Final = (
    ("周一", "Mon"),
    ("周二", "Tue"),
    ("周三", "Wed"),
    ("周四", "Thu"),
    ("周五", "Fri"),
    ("周六", "Sat"),
    ("周日", "Sun"),
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Lane = tuple[str, str, str]


def pattern(reason: str) -> str:
    """The class that gives ``reason`` its hatching and colour."""
    return f"k{PATTERN.get(reason, _OTHER_PATTERN)}"


@dataclass(frozen=True, slots=True)
class Part:
    """One account of the hour ledger: ``key`` is credited, unsupported or a reason; ``x``/``width`` in per cent."""

    key: str
    css: str
    seconds: float
    share: float
    x: float
    width: float


def ledger_parts(credited_s: float, struck: Mapping[str, float], unsupported_s: float) -> tuple[Part, ...]:
    """The ledger as parts of a whole, in the order credited, struck by reason, unsupported (seconds)."""
    accounts = [("credited", "credited", credited_s), *((k, pattern(k), v) for k, v in struck.items())]
    accounts.append(("unsupported", "unsupported", unsupported_s))
    total = sum(max(s, 0) for _, _, s in accounts)
    parts, x = [], 0.0
    for key, css, seconds in accounts:
        share = max(seconds, 0) / total if total else 0.0
        parts.append(Part(key, css, seconds, share, x * 100, share * 100))
        x += share
    return tuple(parts)


def ledger_bar(parts: Iterable[Part], *, label: str, height: int) -> Markup:
    """The ledger as one horizontal bar, as wide as its place."""
    rects = Markup("").join(
        Markup('<rect class="{}" x="{:.2f}%" width="{:.2f}%" height="{}"/>').format(p.css, p.x, p.width, height)
        for p in parts
        if p.width > 0
    )
    return Markup('<svg class="bar" role="img" aria-label="{}" width="100%" height="{}">{}</svg>').format(
        label, height, rects
    )


def day_label(day: str, lang: Lang) -> str:
    """An ISO date as people write it, with the day of the week."""
    d = date.fromisoformat(day)
    if lang == "zh":
        return f"{d.month}月{d.day}日 {_WEEKDAYS[d.weekday()][0]}"
    return f"{_WEEKDAYS[d.weekday()][1]} {d.day} {_MONTHS[d.month - 1]}"


def clock(seconds: float) -> str:
    """Seconds since midnight as HH:MM (24:00 at the end of the day)."""
    minutes = int(seconds // 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def shortened(text: str, most: int) -> str:
    """``text`` with its middle left out where it is longer than ``most`` characters."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[-(most - 1 - head) :]}"


def lane_names(stretches: Sequence[Stretch], *, unknown: str) -> dict[Lane, str]:
    """A name for each account, device and page, in order of appearance; the account only where there are several."""
    several = len({s.account_id for s in stretches}) > 1
    names: dict[Lane, str] = {}
    for stretch in stretches:
        account, device, page = stretch.lane
        parts = [*([account] if several else []), device or unknown, *([page] if page else [])]
        names.setdefault(stretch.lane, " · ".join(shortened(p, 24) for p in parts))
    return names


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a day: an account's device, with pages that never overlap on it."""

    account: str
    device: str
    pages: set[Lane]
    busy: list[Stretch]


def _overlap(one: Iterable[Stretch], other: Sequence[Stretch]) -> bool:
    return any(a.start_s < b.end_s and b.start_s < a.end_s for a in one for b in other)


def _rows(stretches: Sequence[Stretch]) -> list[_Row]:
    """Lines for one day: pages of one device share a line until they play at once, so that overlaps stand out."""
    by_page: dict[Lane, list[Stretch]] = {}
    for s in stretches:
        by_page.setdefault(s.lane, []).append(s)
    rows: list[_Row] = []
    for lane, mine in by_page.items():
        account, device, _ = lane
        row = next((r for r in rows if (r.account, r.device) == (account, device) and not _overlap(mine, r.busy)), None)
        if row is None:
            row = _Row(account, device, set(), [])
            rows.append(row)
        row.pages.add(lane)
        row.busy.extend(mine)
    return rows


@dataclass(frozen=True, slots=True)
class _Scale:
    first_h: int
    last_h: int

    def x(self, seconds: float) -> float:
        share = (seconds / 3600 - self.first_h) / (self.last_h - self.first_h)
        return round(_LEFT + min(max(share, 0), 1) * (_RIGHT - _LEFT), 1)

    def hours(self) -> range:
        span = self.last_h - self.first_h
        return range(self.first_h, self.last_h + 1, 1 if span <= 10 else 2 if span <= 16 else 3)


def _scale(stretches: Sequence[Stretch]) -> _Scale:
    first = int(min(s.start_s for s in stretches) // 3600)
    last = -int(-max(s.end_s for s in stretches) // 3600)
    return _Scale(max(min(first, last - 2), 0), min(max(last, first + 2), 24))


def _css(stretch: Stretch) -> str:
    return "so" if not stretch.is_own else "sh" if stretch.is_hidden else "sf"


def _boxes(stretches: Iterable[Stretch], y: float, scale: _Scale) -> Markup:
    paths: dict[str, list[str]] = {}
    for s in stretches:
        x0, x1 = scale.x(s.start_s), scale.x(s.end_s)
        width = round(max(x1 - x0, 1), 1)
        paths.setdefault(_css(s), []).append(f"M{x0:g} {y:g}h{width:g}v{_BAR}h-{width:g}z")
    return Markup("").join(
        Markup('<path class="{}" d="{}"/>').format(css, "".join(d)) for css, d in sorted(paths.items())
    )


def _ticks(checks: Iterable[Check], y: float, scale: _Scale) -> Markup:
    passed, missed = [], []
    for c in checks:
        x = scale.x(c.at_s)
        if c.result == "pass":
            passed.append(f"M{x:g} {y:g}v8")
        else:
            missed.append(f"M{x - 3:g} {y + 1:g}l6 6m0-6l-6 6")
    out = Markup("")
    if passed:
        out += Markup('<path class="cp" d="{}"/>').format("".join(passed))
    if missed:
        out += Markup('<path class="cx" d="{}"/>').format("".join(missed))
    return out


@dataclass(frozen=True, slots=True)
class Legend:
    """The words of a drawing: detectors' titles, what stands for an unknown device, and notes (``{n}``: a number)."""

    lang: Lang
    label: str
    titles: Mapping[str, str]
    unknown: str
    more_lanes: str
    has_accounts: bool

    def row(self, row: _Row, nth: int) -> str:
        """What stands before a line; the second and later lines of one device are numbered."""
        parts = [*([row.account] if self.has_accounts else []), row.device or self.unknown]
        name = " · ".join(shortened(p, 26 if len(parts) == 1 else 13) for p in parts)
        return f"{name} ({nth})" if nth > 1 else name


def timeline(detail: Detail, legend: Legend) -> Markup:
    """The days of ``detail`` as bands, one lane per account, device and page; struck parts hatched.

    Empty where there is nothing to draw.
    """
    if not detail.stretches:
        return Markup("")
    scale = _scale(detail.stretches)
    body, y = [], float(_AXIS)
    for day in sorted({s.day for s in detail.stretches}):
        drawn, y = _day(day, detail, y, scale, legend)
        body.append(drawn)
    height = y + _AXIS - _GAP
    hour = Markup(
        '<path class="tg" d="M{x:g} {top}V{foot:g}"/><text x="{x:g}" y="13">{h:02d}</text>'
        '<text x="{x:g}" y="{low:g}">{h:02d}</text>'
    )
    grid = Markup("").join(
        hour.format(x=scale.x(h * 3600), top=_AXIS - 4, foot=height - 18, low=height - 5, h=h) for h in scale.hours()
    )
    return Markup(
        '<svg class="tl" role="img" aria-label="{}" viewBox="0 0 {} {:g}"><g class="ta">{}</g>{}</svg>'
    ).format(legend.label, _WIDTH, height, grid, Markup("").join(body))


_DAY: Final = Markup('<path class="td" d="M0 {:g}H{}"/><text class="th" x="0" y="{:g}">{}</text>')
_NAME: Final = Markup('<text class="tt" x="10" y="{:g}">{}</text>')
_MARK: Final = Markup('<rect class="tm {}" x="{:g}" y="{:g}" width="{:g}" height="{}"><title>{} {}–{}</title></rect>')


def _day(day: str, detail: Detail, y: float, scale: _Scale, legend: Legend) -> tuple[Markup, float]:
    """One day's band from ``y`` downwards, and where the next one starts."""
    of_day = [s for s in detail.stretches if s.day == day]
    marks = [m for m in detail.marks if m.day == day]
    struck = {m.lane for m in marks}
    rows = sorted(_rows(of_day), key=lambda r: (not r.pages & struck, r.account, r.device))
    shown = sorted(rows[:LANES_PER_DAY], key=lambda r: (r.account, r.device, r.busy[0].start_s))
    title = day_label(day, legend.lang)
    out = [
        _DAY.format(y, _WIDTH, y + 15, title),
        _ticks((c for c in detail.checks if c.day == day), y + 7, scale),
    ]
    at = y + _HEAD
    before: list[tuple[str, str]] = []
    for row in shown:
        before.append((row.account, row.device))
        name = legend.row(row, before.count(before[-1]))
        out.append(_NAME.format(at + 9.5, name))
        out.append(_boxes(row.busy, at, scale))
        for m in marks:
            if m.lane in row.pages:
                x0, x1 = scale.x(m.start_s), scale.x(m.end_s)
                said = legend.titles.get(m.detector, m.detector), clock(m.start_s), clock(m.end_s)
                out.append(_MARK.format(pattern(m.detector), x0, at - 1.5, max(x1 - x0, 1.5), _BAR + 3, *said))
        at += _LANE
    if len(rows) > len(shown):
        out.append(_NAME.format(at + 9.5, legend.more_lanes.replace("{n}", str(len(rows) - len(shown)))))
        at += _LANE
    return Markup("").join(out), at + _GAP
