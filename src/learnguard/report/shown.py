"""Numbers, times and facts as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from learnguard.report.words import Lang, fact_words

MISSING: Final = "—"
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")

#: Parts of a fact's name that only tell its unit.
_UNITS: Final = frozenset({"s", "at", "n", "cny", "is", "has", "id", "min", "per"})


@dataclass(frozen=True, slots=True)
class Shown:
    """How numbers look in one language, one time zone and one length of class hour (seconds)."""

    lang: Lang
    zone: str = "Asia/Shanghai"
    class_hour_s: int = 2700

    def hours(self, seconds: float | None) -> str:
        """Seconds as class hours with one decimal."""
        return MISSING if seconds is None else f"{seconds / self.class_hour_s:,.1f}"

    def duration(self, seconds: float | None) -> str:
        """Seconds as hours and minutes (seconds below one minute, with a decimal below ten)."""
        if seconds is None:
            return MISSING
        sign, left = ("-" if seconds < 0 else ""), abs(seconds)
        hour, minute, second = ("小时", "分", "秒") if self.lang == "zh" else ("h", "min", "s")
        if left < 59.5:
            number = f"{left:.1f}".removesuffix(".0") if left < 10 else f"{left:.0f}"
            return f"{sign}{number} {second}"
        h, m = divmod(round(left / 60), 60)
        return f"{sign}{h:,} {hour} {m} {minute}" if h and m else f"{sign}{h:,} {hour}" if h else f"{sign}{m} {minute}"

    def money(self, amount: Decimal | None) -> str:
        """Yuan with two decimals and thousands."""
        return MISSING if amount is None else f"{amount:,.2f}"

    def count(self, number: float | None) -> str:
        """A whole number with thousands."""
        return MISSING if number is None else f"{number:,.0f}"

    def share(self, part: float | None, digits: int = 1) -> str:
        """A share (0 to 1) as per cent; what is not nothing never reads 0, what is not all never 100."""
        if part is None:
            return MISSING
        low = 10.0**-digits
        if 0 < part * 100 < low / 2:
            return f"<{low:.{digits}f}%"
        if 100 - low / 2 < part * 100 < 100:
            return f">{100 - low:.{digits}f}%"
        return f"{part * 100:.{digits}f}%"

    def number(self, number: float | None) -> str:
        """Any number, at most three decimals."""
        if number is None:
            return MISSING
        if number and abs(number) < 0.001:
            return f"{number:.1e}"
        return f"{number:,.3f}".rstrip("0").rstrip(".")

    def time(self, text: str) -> str:
        """An ISO time as local date and time (UTC where it has no offset)."""
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            return text
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return at.astimezone(ZoneInfo(self.zone)).strftime("%Y-%m-%d %H:%M")

    def fact_label(self, name: str) -> str:
        """A fact's name in words: as listed, else from its parts where every part is known, else the name itself."""
        names, _, parts = fact_words(self.lang)
        if name in names:
            return names[name]
        words = [w for w in name.split("_") if w not in _UNITS]
        known = [parts[w] for w in words if w in parts]
        if not known or len(known) != len(words):
            return name if self.lang == "zh" else name.replace("_", " ")
        if self.lang == "en":
            return known[0][:1].upper() + " ".join(known)[1:]
        tail = "时间" if name.endswith("_at") else "时长" if name.endswith("_s") and "时长" not in known[-1] else ""
        return "".join(known) + ("数" if name.startswith("n_") and not known[-1].endswith("数") else tail)

    def fact(self, name: str, value: Any) -> str:
        """A fact's value with its unit, told from the name: ``_s``, ``_cny``, ``share``, ``_at``."""
        if value is None:
            return MISSING
        if isinstance(value, bool):
            return ("是" if value else "否") if self.lang == "zh" else ("yes" if value else "no")
        if isinstance(value, int | float):
            return self._quantity(name, value)
        if isinstance(value, str):
            return self.time(value) if _TIME.match(value) else fact_words(self.lang)[1].get(f"{name}.{value}", value)
        if isinstance(value, Mapping):
            colon = "：" if self.lang == "zh" else ": "
            return "；".join(f"{self.fact_label(str(k))}{colon}{self.fact(str(k), v)}" for k, v in value.items())
        comma = "、" if self.lang == "zh" else ", "
        return comma.join(self.fact(name, v) for v in value)

    def _quantity(self, name: str, value: float) -> str:
        if name.endswith("_s") or name == "seconds":
            return self.duration(value)
        if name.endswith("_cny"):
            return self.money(Decimal(str(value)))
        if name.endswith(("share", "coverage")) and 0 <= value <= 1:
            return self.share(value)
        if name.endswith("_min"):
            return self.duration(value * 60)
        if name.endswith("rate"):
            return f"{self.number(value)}×"
        return self.number(value)
