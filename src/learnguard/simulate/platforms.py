"""The training platforms of the made-up province: what each one logs, and how.

A new platform is one more :class:`Platform` in :data:`PLATFORMS`; nothing else names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

#: What may interrupt an honest learner in the middle of a lesson.
Interruption = Literal["pause", "seek_back", "switch_away", "auto_pause", "network", "reload", "hand_over"]


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform.

    ``share`` is its part of the accounts; ``cadence_s`` the beat of its player (None: it sends none and
    delivers ``sessions``); ``prompt_every_s`` the mean distance of presence checks (None: it shows none);
    ``complete_at`` the share of a lesson after which it counts as learned; ``kinds`` the mix of lessons;
    ``max_rates`` what its courses permit; ``interruptions`` the mix of what happens within lessons; ``terminals``
    and ``user_agents`` those of the usual and of the second device.
    """

    platform_id: str
    title: str
    share: float
    account_prefix: str
    cadence_s: int | None
    prompt_every_s: int | None
    complete_at: float
    kinds: Mapping[str, float]
    max_rates: tuple[float, ...]
    interruptions: Mapping[Interruption, float]
    terminals: tuple[str, str]
    user_agents: tuple[str, str]
    log_format: Literal["parquet", "csv", "jsonl.gz"]
    table_format: Literal["csv", "jsonl"]
    is_zipped: bool = False
    has_visibility: bool = False
    has_pages: bool = False
    has_event_ids: bool = False
    has_interactions: bool = False
    has_client_clock: bool = False

    @property
    def logs_events(self) -> bool:
        """Whether it delivers events (else sessions only)."""
        return self.cadence_s is not None


_CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36"
_PHONE = "Mozilla/5.0 (Linux; Android 13) AppleWebKit/537.36 Chrome/125.0 Mobile Safari/537.36"

PLATFORMS: Final[tuple[Platform, ...]] = (
    Platform(
        platform_id="muke",
        title="示例慕课（虚构）",
        share=0.45,
        account_prefix="mk",
        cadence_s=30,
        prompt_every_s=900,
        complete_at=0.95,
        kinds={"video": 0.72, "audio": 0.10, "reading": 0.10, "exercise": 0.08},
        max_rates=(2.0,),
        interruptions={
            "pause": 0.36,
            "seek_back": 0.16,
            "switch_away": 0.24,
            "auto_pause": 0.12,
            "network": 0.04,
            "reload": 0.05,
            "hand_over": 0.03,
        },
        terminals=("pc", "mobile"),
        user_agents=(_CHROME, _PHONE),
        log_format="parquet",
        table_format="csv",
        has_visibility=True,
        has_pages=True,
        has_event_ids=True,
        has_interactions=True,
    ),
    Platform(
        platform_id="zhangxue",
        title="示例掌学（虚构）",
        share=0.30,
        account_prefix="zx",
        cadence_s=60,
        prompt_every_s=1200,
        complete_at=0.90,
        kinds={"video": 0.85, "audio": 0.15},
        max_rates=(1.5, 2.0),
        interruptions={"pause": 0.55, "seek_back": 0.20, "network": 0.20, "hand_over": 0.05},
        terminals=("app", "app"),
        user_agents=("ZhangXue/3.2.1 (Android 13)", "ZhangXue/3.2.0 (iPadOS 17)"),
        log_format="jsonl.gz",
        table_format="jsonl",
        has_client_clock=True,
    ),
    Platform(
        platform_id="peixun",
        title="示例培训网（虚构）",
        share=0.25,
        account_prefix="px",
        cadence_s=None,
        prompt_every_s=None,
        complete_at=0.95,
        kinds={"video": 0.85, "audio": 0.05, "reading": 0.10},
        max_rates=(1.0, 1.5),
        interruptions={"pause": 0.85, "seek_back": 0.10, "hand_over": 0.05},
        terminals=("pc", "mobile"),
        user_agents=(_CHROME, _PHONE),
        log_format="csv",
        table_format="csv",
        is_zipped=True,
    ),
)
BY_ID: Final[Mapping[str, Platform]] = {p.platform_id: p for p in PLATFORMS}
