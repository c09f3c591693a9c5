"""From findings to one number per record: the risk that a person would uphold a finding.

Frames in, frames out: no clock, no database, no settings. The number ranks the day's list; it never decides.
"""

from __future__ import annotations

from typing import Final

import polars as pl

#: How often people are expected to uphold a finding of full score, before any of their decisions are known.
#: Proof is arithmetic on the log's own face, yet logs and rosters have faults of their own.
PRIOR_UPHELD: Final = {"proof": 0.95, "statistical": 0.60}
#: An experimental detector has not earned its weight yet.
EXPERIMENTAL_WEIGHT: Final = 0.3


def score_records(claims: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """Risk of every record in ``claims``: (platform_id, record_id, risk 0 to 1, rounded to 4 places).

    Findings of different detectors are taken as independent pieces of evidence:
    ``risk = 1 - Π (1 - prior * score)`` over the strongest finding of each detector. A record without findings has
    risk 0. The priors are stated above and are not fitted: treat the number as an order, not as a frequency.
    """
    keys = ["platform_id", "record_id"]
    prior = pl.col("strength").replace_strict(
        PRIOR_UPHELD, default=PRIOR_UPHELD["statistical"], return_dtype=pl.Float64
    )
    weight = pl.when(pl.col("status") == "stable").then(1.0).otherwise(EXPERIMENTAL_WEIGHT)
    risk = (
        findings.filter(pl.col("record_id").is_not_null())
        .with_columns(belief=(prior * weight * pl.col("score").fill_null(1.0)).clip(0, 1))
        .group_by(*keys, "detector")
        .agg(pl.col("belief").max())
        .sort(*keys, "detector")
        .group_by(keys, maintain_order=True)
        .agg(risk=1 - (1 - pl.col("belief")).product())
    )
    return (
        claims.select(keys)
        .join(risk, on=keys, how="left")
        .with_columns(pl.col("risk").fill_null(0.0).round(4))
        .sort(keys)
    )
