"""Offline uploads: rows that carry the time of the upload go back to when they happened.

Only ``events`` have both clocks. All of it is per device of an account (no device id: per account):

* The delay of a row is ``ts - client_ts``. Rows of one device that came in the same minute are one arrival; its
  delay is the smallest of its rows.
* The device's *offset* is the 5 % quantile of its arrivals' delays, if the device keeps to it: one arrival whose
  rows span no more than five minutes, or three arrivals, lie within five minutes of it. Then a constant skew of
  any size is the device's clock, and the rows stay. Otherwise the device was only ever heard in batches, whose
  delays say when it came back on line and nothing about its clock: offset 0.
* A row later than offset + five minutes happened at ``client_ts`` + offset; an offset within five minutes is
  nothing. ``logged_ts`` keeps what was delivered.
"""

from __future__ import annotations

from typing import Final

TOLERANCE_US: Final = 300_000_000
#: A row that seems later than this was not kept on a device for so long: its clock had been reset.
LONGEST_US: Final = 90 * 86_400_000_000
_MINUTE_US: Final = 60_000_000
_DEVICE: Final = "platform_id, account_id, device_id"


def offsets_sql(source: str) -> str:
    """SELECT of each device's usual delay (``baseline_us``) and of its offset where that counts (``offset_us``,
    else 0), in microseconds, from the good rows of ``source``. Takes $tolerance."""
    return f"""
        WITH arrivals AS (
            SELECT {_DEVICE}, min(epoch_us(ts) - epoch_us(client_ts)) AS delay,
                max(epoch_us(client_ts)) - min(epoch_us(client_ts)) AS span
            FROM {source} WHERE client_ts IS NOT NULL AND _fail IS NULL
            GROUP BY {_DEVICE}, epoch_us(ts) // {_MINUTE_US}
        ), typical AS (
            SELECT {_DEVICE}, quantile_disc(delay, 0.05) AS delay FROM arrivals GROUP BY {_DEVICE}
        )
        , devices AS (
            SELECT t.platform_id, t.account_id, t.device_id, CASE
                WHEN count(*) FILTER (a.delay - t.delay <= $tolerance AND a.span <= $tolerance) >= 1
                    OR count(*) FILTER (a.delay - t.delay <= $tolerance) >= 3 THEN any_value(t.delay)
                ELSE 0 END AS baseline_us
            FROM typical AS t JOIN arrivals AS a ON a.platform_id = t.platform_id AND a.account_id = t.account_id
                AND a.device_id IS NOT DISTINCT FROM t.device_id
            GROUP BY t.platform_id, t.account_id, t.device_id
        )
        SELECT *, CASE WHEN abs(baseline_us) > $tolerance THEN baseline_us ELSE 0 END AS offset_us FROM devices
    """


def corrected_sql(source: str, offsets: str) -> str:
    """SELECT of ``source`` with ``ts`` and ``logged_ts`` set right, by the devices' ``offsets``.

    Takes $tolerance and $longest."""
    late = "epoch_us(s.ts) - epoch_us(s.client_ts)"
    is_late = f"s._fail IS NULL AND {late} - o.baseline_us > $tolerance AND {late} <= $longest + o.baseline_us"
    moved = "make_timestamptz(epoch_us(s.client_ts) + o.offset_us)"
    return f"""
        SELECT s.* REPLACE (
            CASE WHEN {is_late} THEN {moved} ELSE s.ts END AS ts,
            CASE WHEN {is_late} THEN s.ts END AS logged_ts)
        FROM {source} AS s LEFT JOIN {offsets} AS o ON s.platform_id = o.platform_id
            AND s.account_id = o.account_id AND s.device_id IS NOT DISTINCT FROM o.device_id
    """
