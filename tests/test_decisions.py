"""Decisions: what withholds, what is reviewed, what is clear, and how much money waits."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnguard.decisions import Thresholds, decide
from learnguard.schema import CONDENSED, RESULTS, STRIKE_ORDER, Table
from learnguard.scoring import EXPERIMENTAL_WEIGHT, PRIOR_UPHELD, score_records

KINDS: dict[str, Any] = {
    "text": pl.String, "time": pl.Datetime("us", "UTC"), "number": pl.Float64, "integer": pl.Int64,
    "boolean": pl.Boolean, "money": pl.Decimal(14, 2), "json": pl.String, "date": pl.Date,
}  # fmt: skip
POLICY = Thresholds(min_struck_s=900, min_struck_share=0.05, basis="hours", label="default@1")
MISSING = {"platform_id": pl.String, "record_id": pl.String, "detector": pl.String, "missing": pl.String}
Row = dict[str, Any]


def frame(table: Table, rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={c.name: KINDS[c.kind] for c in table.columns})


def finding(detector: str, *, struck_s: float | None = 0.0, score: float | None = 1.0, **more: Any) -> Row:
    return {
        "finding_id": f"{detector}-{score}-{struck_s}", "detector": detector, "platform_id": "p", "record_id": "r",
        "strength": "proof", "status": "stable", "score": score, "struck_s": struck_s, **more,
    }  # fmt: skip


def decided(
    findings: list[Row],
    *,
    struck: dict[str, int] | None = None,
    claimed: int | None = 36_000,
    credited: int = 0,
    cny: str | None = "1000.00",
    policy: Thresholds = POLICY,
    missing: list[Row] | None = None,
) -> Row:
    """The decision on one record with this ledger and these findings."""
    struck = struck or {}
    taken = sum(struck.values())
    claims = frame(
        CONDENSED["claims"],
        [
            {
                "platform_id": "p",
                "record_id": "r",
                "account_id": "a",
                "claimed_s": claimed,
                "subsidy_cny": cny and Decimal(cny),
            }
        ],
    )
    reasons = [*STRIKE_ORDER[:-1], *(set(struck) - set(STRIKE_ORDER)), STRIKE_ORDER[-1]]
    ledger = pl.DataFrame(
        {
            "platform_id": "p", "record_id": "r", "claimed_s": claimed, "credited_s": credited, "struck_s": taken,
            "unsupported_s": 0 if claimed is None else claimed - credited - taken,
            **{r: struck.get(r, 0) for r in reasons},
        },
        schema_overrides={"claimed_s": pl.Int64},
    )  # fmt: skip
    found = frame(RESULTS["findings"], findings)
    lacking = pl.DataFrame(missing or [], schema=MISSING)
    return decide(claims, ledger, score_records(claims, found), found, lacking, policy).row(0, named=True)


def test_nothing_found_is_clear() -> None:
    row = decided([], credited=36_000)
    assert (row["decision"], row["risk"], row["withheld_cny"]) == ("clear", 0.0, Decimal("0.00"))
    assert [json.loads(row[c]) for c in ("reasons", "struck", "not_assessed")] == [[], {}, []]
    assert (row["claimed_s"], row["credited_s"], row["unsupported_s"], row["policy"]) == (
        36_000,
        36_000,
        0,
        "default@1",
    )


def test_unsupported_time_alone_is_clear() -> None:
    assert decided([], credited=0)["decision"] == "clear", "what no log covers is never withheld for that alone"


@pytest.mark.parametrize(
    ("struck", "claimed", "decision"),
    [
        (900, 18_000, "withhold"),  # both thresholds met to the second
        (899, 900, "review"),  # under the least time
        (1000, 20_001, "review"),  # under the least share
        (1000, 20_000, "withhold"),
        (0, 36_000, "review"),  # all of it beyond the claim
    ],
)
def test_proof_withholds_only_above_both_thresholds(struck: int, claimed: int, decision: str) -> None:
    row = decided([finding("course_skipping", struck_s=5000)], struck={"course_skipping": struck}, claimed=claimed)
    assert row["decision"] == decision
    assert (row["withheld_cny"] > 0) == (decision == "withhold")


@pytest.mark.parametrize(("strength", "status"), [("statistical", "stable"), ("proof", "experimental")])
def test_suspicion_and_experimental_detectors_never_withhold(strength: str, status: str) -> None:
    row = decided(
        [finding("idle_playback", struck_s=30_000, strength=strength, status=status)], struck={"idle_playback": 30_000}
    )
    assert (row["decision"], row["withheld_cny"]) == ("review", Decimal("0.00"))
    whole = decided([finding("duplicate_claim", strength=strength, status=status)])
    assert (whole["decision"], whole["withheld_cny"]) == ("review", Decimal("0.00"))


@pytest.mark.parametrize("struck_s", [0.0, None])
def test_a_proof_about_the_claim_itself_holds_all_of_it(struck_s: float | None) -> None:
    row = decided([finding("duplicate_claim", struck_s=struck_s)], credited=36_000)
    assert (row["decision"], row["withheld_cny"]) == ("withhold", Decimal("1000.00"))


def test_only_the_disproved_part_waits() -> None:
    struck = {"course_skipping": 3600, "idle_playback": 9000, "policy_limit": 3000}
    found = [finding("course_skipping", struck_s=3600), finding("idle_playback", struck_s=9000, strength="statistical")]
    row = decided(found, struck=struck, credited=20_400)
    assert (row["decision"], row["withheld_cny"]) == ("withhold", Decimal("100.00")), "a tenth is proved"
    assert json.loads(row["struck"]) == struck
    assert row["struck_s"] == 15_600
    record = Thresholds(900, 0.05, "record", "strict@1")
    assert decided(found, struck=struck, policy=record)["withheld_cny"] == Decimal("1000.00")


def test_a_regions_own_detector_withholds_too() -> None:
    row = decided([finding("village_rule", struck_s=3600)], struck={"village_rule": 3600})
    assert (row["decision"], json.loads(row["struck"])) == ("withhold", {"village_rule": 3600})


def test_without_a_claim_or_a_subsidy_there_is_no_money_to_hold() -> None:
    row = decided(
        [finding("course_skipping", struck_s=3600)],
        struck={"course_skipping": 3600},
        claimed=None,
        credited=400,
        cny=None,
    )
    assert (row["decision"], row["claimed_s"], row["withheld_cny"], row["subsidy_cny"]) == (
        "withhold",
        None,
        Decimal("0.00"),
        None,
    )


def test_reasons_are_the_detectors_strongest_first_and_findings_of_no_record_are_not_theirs() -> None:
    found = [
        finding("late_claim", score=0.5), finding("course_skipping", score=0.9, struck_s=10),
        finding("idle_playback", score=0.9, struck_s=20),
        finding("course_skipping", score=0.1), finding("collusion_ring", record_id=None),
        finding("exam_brushing", record_id="other"),
    ]  # fmt: skip
    assert json.loads(decided(found)["reasons"]) == ["idle_playback", "course_skipping", "late_claim"]


def test_what_was_not_assessed_is_said_once_and_in_order() -> None:
    lacking = {"platform_id": "p", "record_id": "r"}
    rows = [
        {**lacking, "detector": d, "missing": m}
        for d, m in [("b", "visible"), ("a", "rate"), ("a", "events"), ("b", "visible")]
    ]
    assert json.loads(decided([], missing=rows)["not_assessed"]) == [
        {"detector": "a", "missing": "events"}, {"detector": "a", "missing": "rate"},
        {"detector": "b", "missing": "visible"},
    ]  # fmt: skip


def test_risk_grows_with_evidence_and_never_reaches_beyond_one() -> None:
    weak = decided([finding("idle_playback", score=0.5, strength="statistical")])["risk"]
    assert weak == round(PRIOR_UPHELD["statistical"] * 0.5, 4)
    assert decided([finding("idle_playback", score=0.5, strength="statistical", status="experimental")])[
        "risk"
    ] == round(weak * EXPERIMENTAL_WEIGHT, 4)
    both = decided([finding("idle_playback", score=0.5, strength="statistical"), finding("course_skipping")])["risk"]
    assert weak < PRIOR_UPHELD["proof"] < both <= 1
    many = decided([finding(d, score=None) for d in STRIKE_ORDER])["risk"]
    assert many <= 1


@settings(max_examples=60, deadline=None)
@given(
    cents=st.one_of(st.integers(0, 5_000_000), st.just(10**14 - 1)),
    claimed=st.one_of(st.integers(900, 500_000), st.just(270_000_000)),
    share=st.floats(0, 1),
)
def test_money_is_exact_in_cents(cents: int, claimed: int, share: float) -> None:
    struck = round(claimed * share)
    row = decided(
        [finding("course_skipping", struck_s=float(struck) or None)],
        struck={"course_skipping": struck},
        claimed=claimed,
        cny=f"{cents // 100}.{cents % 100:02d}",
        policy=Thresholds(0, 0, "hours", "any@1"),
    )
    half_up = (2 * cents * struck + claimed) // (2 * claimed)
    assert row["withheld_cny"] == Decimal(half_up if struck else cents) / 100
    assert row["subsidy_cny"] == Decimal(cents) / 100


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_each_decision_says_why(lang: str) -> None:
    notes = [
        decided([])[f"note_{lang}"],
        decided([finding("idle_playback", strength="statistical")])[f"note_{lang}"],
        decided([finding("course_skipping", struck_s=3600)], struck={"course_skipping": 3600})[f"note_{lang}"],
        decided([finding("late_claim")])[f"note_{lang}"],
    ]
    assert len(set(notes)) == 4
    assert "60" in notes[2]
    assert "15" in notes[2], "the threshold in minutes"


def test_no_records_and_no_findings_make_an_empty_frame() -> None:
    claims = frame(CONDENSED["claims"], [])
    found = frame(RESULTS["findings"], [])
    ledger = pl.DataFrame(schema={"platform_id": pl.String, "record_id": pl.String} | dict.fromkeys(
        ("claimed_s", "credited_s", "struck_s", "unsupported_s", *STRIKE_ORDER), pl.Int64))  # fmt: skip
    out = decide(claims, ledger, score_records(claims, found), found, pl.DataFrame(schema=MISSING), POLICY)
    assert out.height == 0
    assert [c for c in RESULTS["decisions"].names if c != "run_date"] == out.columns
