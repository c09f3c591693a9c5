"""One decision per record: clear, review or withhold. The program never refuses a subsidy.

Frames in, frames out: no clock, no database, no settings. ``withhold`` needs proof by a stable detector above the
policy's thresholds; everything else that was found is for a person to look at first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import polars as pl

_MONEY: Final = pl.Decimal(14, 2)
_NO_REASONS: Final = ("platform_id", "record_id", "claimed_s", "credited_s", "struck_s", "unsupported_s")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The policy's numbers that part ``withhold`` from ``review``; ``basis`` is ``hours`` or ``record``."""

    min_struck_s: float
    min_struck_share: float
    basis: str
    label: str


def decide(
    claims: pl.DataFrame,
    ledger: pl.DataFrame,
    risks: pl.DataFrame,
    findings: pl.DataFrame,
    not_assessed: pl.DataFrame,
    thresholds: Thresholds,
) -> pl.DataFrame:
    """Decisions as in schema.RESULTS, without ``run_date``, in order of platform and record.

    ``claims``: schema.CONDENSED claims; ``ledger``: records of :class:`learnguard.hours.Ledger`, of which every column
    that is not named here is a reason's seconds; ``risks``: of
    :func:`learnguard.scoring.score_records`; ``findings``: schema.RESULTS findings; ``not_assessed``: (platform_id,
    record_id, detector, missing).
    """
    keys = ["platform_id", "record_id"]
    reasons = [c for c in ledger.columns if c not in _NO_REASONS]
    proof = (pl.col("strength") == "proof") & (pl.col("status") == "stable")
    per_record = (
        findings.filter(pl.col("record_id").is_not_null())
        .sort("score", "struck_s", "detector", "finding_id", descending=[True, True, False, False], nulls_last=True)
        .group_by(keys, maintain_order=True)
        .agg(
            reasons=pl.col("detector").unique(maintain_order=True),
            proofs=pl.col("detector").filter(proof).unique(maintain_order=True),
            # a proof that strikes no seconds is about the claim itself: it concerns the whole record
            has_whole=(proof & (pl.col("struck_s").fill_null(0) == 0)).any(),
        )
    )
    missing = (
        not_assessed.unique()
        .sort(*keys, "detector", "missing")
        .group_by(keys, maintain_order=True)
        .agg(missing=pl.struct("detector", "missing"))
    )
    frame = (
        claims.join(ledger, on=keys, how="left", suffix="_ledger")
        .join(risks, on=keys, how="left")
        .join(per_record, on=keys, how="left")
        .join(missing, on=keys, how="left")
        .sort(keys)
    )
    frame = frame.with_columns(
        proved_s=pl.sum_horizontal(
            [pl.when(pl.col("proofs").list.contains(r)).then(pl.col(r)).otherwise(0) for r in reasons]
        ),
        base_s=pl.coalesce("claimed_s_ledger", pl.col("credited_s") + pl.col("struck_s")),
        has_whole=pl.col("has_whole").fill_null(value=False),
    )
    enough = (pl.col("proved_s") >= thresholds.min_struck_s) & (
        pl.col("proved_s") >= thresholds.min_struck_share * pl.col("base_s")
    )
    frame = frame.with_columns(
        decision=pl.when(pl.col("has_whole") | (enough & (pl.col("proved_s") > 0)))
        .then(pl.lit("withhold"))
        .when(pl.col("reasons").is_not_null())
        .then(pl.lit("review"))
        .otherwise(pl.lit("clear")),
    )
    return frame.select(
        "platform_id", "record_id", "account_id", "learner_id", "institution_id", "class_id", "course_id",
        "decision", "risk",
        reasons=_json_list(frame["reasons"]),
        claimed_s=pl.col("claimed_s_ledger"),
        credited_s="credited_s",
        unsupported_s="unsupported_s",
        struck=_struck(frame, reasons),
        struck_s="struck_s",
        subsidy_cny=pl.col("subsidy_cny").cast(_MONEY),
        withheld_cny=_withheld(frame, thresholds),
        not_assessed=_json_list(frame["missing"]),
        policy=pl.lit(thresholds.label),
        note_zh=_note(thresholds, "zh"),
        note_en=_note(thresholds, "en"),
    )  # fmt: skip


def _json_list(column: pl.Series) -> pl.Series:
    """Lists as JSON text; a null list is an empty one. Equal lists are written once."""
    distinct = column.unique()
    texts = [json.dumps(v or [], ensure_ascii=False) for v in distinct.to_list()]
    table = pl.DataFrame({"value": distinct, "text": texts})
    return pl.DataFrame({"value": column}).join(table, on="value", how="left", nulls_equal=True, maintain_order="left")[
        "text"
    ]


def _struck(frame: pl.DataFrame, reasons: list[str]) -> pl.Series:
    """``{reason: seconds}`` of the reasons that took any, as JSON text, in the ledger's order."""
    parts = [pl.when(pl.col(r) > 0).then(pl.format('"{}": {}', pl.lit(r), pl.col(r))).otherwise(None) for r in reasons]
    inside = pl.concat_str(parts, separator=", ", ignore_nulls=True)
    return frame.select(struck=pl.concat_str([pl.lit("{"), inside, pl.lit("}")]))["struck"]


def _withheld(frame: pl.DataFrame, thresholds: Thresholds) -> pl.Series:
    """Yuan that wait: the subsidy's share of disproved time, or all where the record as such is contradicted.

    Counted in whole cents (half a cent rounds up), so never through a float.
    """
    # As wide as cents times seconds of the dearest and longest record can get.
    cents = (pl.col("subsidy_cny").cast(_MONEY) * 100).cast(pl.Int64).fill_null(0).cast(pl.Int128)
    base = pl.col("base_s").fill_null(0).cast(pl.Int128)
    whole = pl.col("has_whole") | pl.lit(thresholds.basis == "record") | (base <= 0)
    part = (2 * cents * pl.min_horizontal(pl.col("proved_s").cast(pl.Int128), base) + base) // (2 * base)
    held = pl.when(pl.col("decision") != "withhold").then(0).when(whole).then(cents).otherwise(part)
    return frame.select(withheld_cny=(held.cast(pl.Decimal(18, 2)) / 100).cast(_MONEY))["withheld_cny"]


def _note(thresholds: Thresholds, lang: str) -> pl.Expr:
    """Why this decision, in one sentence."""
    minutes = (pl.col("proved_s") / 60).round(0).cast(pl.Int64)
    limit = f"{thresholds.min_struck_s / 60:g}"
    share = f"{thresholds.min_struck_share * 100:g}"
    above = f"above the policy's threshold ({limit} min and {share} % of the claim):"
    whole, part, look, clear = {
        "zh": (
            "规则认定针对整条记录，扣留待人工核定。",
            f"申报学时中有 {{}} 分钟与平台日志相矛盾，达到政策门槛（{limit} 分钟且占申报 {share}%），扣留待人工核定。",
            "有发现，但未达到扣留门槛（日志自证 {} 分钟），请人工复核；不扣留。",
            "未发现与记录相矛盾之处。",
        ),
        "en": (
            "A rule on the claim itself is broken: the record waits for a person's decision.",
            f"{{}} minutes are contradicted by the log itself, {above} they wait for a person's decision.",
            "Something was found, below the threshold to withhold ({} min): a person should look; nothing waits.",
            "Nothing was found that contradicts the record.",
        ),
    }[lang]
    return (
        pl.when((pl.col("decision") == "withhold") & pl.col("has_whole"))
        .then(pl.lit(whole))
        .when(pl.col("decision") == "withhold")
        .then(pl.format(part, minutes))
        .when(pl.col("decision") == "review")
        .then(pl.format(look, minutes))
        .otherwise(pl.lit(clear))
        .alias(f"note_{lang}")
    )
