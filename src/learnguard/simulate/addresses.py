"""Which account, device, session, page and network a row of the log names."""

from __future__ import annotations

import polars as pl

from learnguard.simulate.platforms import Platform


def _by_slot(column: str, names: dict[int, pl.Expr]) -> pl.Expr:
    chosen = pl.lit(None, pl.String)
    for slot, value in names.items():
        chosen = pl.when(pl.col(column) == slot).then(value).otherwise(chosen)
    return chosen


def _mobile_ip() -> pl.Expr:
    """Addresses of a mobile network (100.64.0.0/10), which many people share and which change by the day."""
    number = (pl.col("account") * 7 + pl.col("day") * 13) % 200
    return pl.format("100.64.{}.{}", number // 50, number % 50 + 1)


def addressed(platform: Platform, rows: pl.DataFrame, blocks: pl.DataFrame, accounts: pl.DataFrame) -> pl.DataFrame:
    """Adds account_id, device_id, session_id, page_id, ip, user_agent and terminal to ``rows``.

    ``rows`` have account, block, task, device, page and ip (slots); ``blocks`` the day of each block. On some
    days a learner's second device is the usual one; in a training room the seat changes every day.
    """
    rows = rows.join(blocks.select("block", "day"), on="block", how="left", maintain_order="left").join(
        accounts.select(
            "account", "account_id", "room", "seat", "class", "device_0", "device_1", "device_2", "device_3", "ip_0",
            "ip_3", "household",
        ),
        on="account", how="left", maintain_order="left",
    )  # fmt: skip
    # A household's tablet is one member's on even days, and the other's on odd ones.
    own_turn = (pl.col("account") * 31 + pl.col("day") * 17) % 4 == 0
    shared_turn = (pl.col("account") + pl.col("day")) % 2 == 0
    swaps = pl.when(pl.col("household").is_not_null()).then(shared_turn).otherwise(own_turn) & pl.col("room").is_null()
    slot = pl.when(swaps & (pl.col("device") < 2)).then(1 - pl.col("device")).otherwise(pl.col("device"))
    rows = rows.with_columns(slot=slot)
    seat = pl.format("{}-room{}-pc{}", pl.lit(platform.account_prefix), "class", (pl.col("seat") + pl.col("day")) % 40)
    first = pl.when(pl.col("room").is_not_null()).then(seat).otherwise("device_0")
    is_small = pl.col("slot").is_in([1, 2])
    pc, phone = platform.terminals
    on_pc, on_phone = platform.user_agents
    return rows.with_columns(
        device_id=_by_slot("slot", {0: first, **{i: pl.col(f"device_{i}") for i in (1, 2, 3)}}),
        session_id=pl.format("{}-s{}-{}-{}", pl.lit(platform.account_prefix), "account", "day", "slot"),
        page_id=pl.format("{}-p{}-{}-{}", pl.lit(platform.account_prefix), "task", "page", "slot"),
        ip=_by_slot("ip", {0: pl.col("ip_0"), 1: _mobile_ip(), 3: pl.col("ip_3")}),
        terminal=pl.when(is_small).then(pl.lit(phone)).otherwise(pl.lit(pc)),
        user_agent=pl.when(is_small).then(pl.lit(on_phone)).otherwise(pl.lit(on_pc)),
    )
