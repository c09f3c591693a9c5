-- The platform's own beat, per kind of client: the median silence between two heartbeats of one page, over a
-- sample of accounts drawn by hash (the same accounts every time). Silences longer than $longest_beat_s are pauses.
CREATE OR REPLACE TEMP TABLE sampled_beats AS
WITH sampled AS (
    SELECT
        coalesce(terminal, '') AS terminal,
        (epoch_us(ts) - lag(epoch_us(ts)) OVER (
            PARTITION BY account_id, device_id, coalesce(page_id, session_id), lesson_id ORDER BY ts
        )) / 1000000 AS silence_s
    FROM day_events
    WHERE verb = 'heartbeat' AND lesson_id IS NOT NULL AND hash(account_id) % $one_in::UBIGINT = 0
)
SELECT terminal, median(silence_s) AS beat_s
FROM sampled
WHERE silence_s >= 1 AND silence_s <= $longest_beat_s
GROUP BY terminal
HAVING count(*) >= $fewest_beats;

CREATE OR REPLACE TEMP TABLE clients AS
SELECT DISTINCT coalesce(terminal, '') AS terminal FROM day_events;

-- A kind of client too rare for the sample: all of its accounts.
INSERT INTO sampled_beats
WITH rest AS (
    SELECT
        coalesce(terminal, '') AS terminal,
        (epoch_us(ts) - lag(epoch_us(ts)) OVER (
            PARTITION BY account_id, device_id, coalesce(page_id, session_id), lesson_id ORDER BY ts
        )) / 1000000 AS silence_s
    FROM day_events
    WHERE $one_in > 1 AND verb = 'heartbeat' AND lesson_id IS NOT NULL
      AND coalesce(terminal, '') IN (SELECT terminal FROM clients EXCEPT SELECT terminal FROM sampled_beats)
)
SELECT terminal, median(silence_s) AS beat_s
FROM rest
WHERE silence_s >= 1 AND silence_s <= $longest_beat_s
GROUP BY terminal
HAVING count(*) >= $fewest_beats;

CREATE OR REPLACE TEMP TABLE beats AS
SELECT
    c.terminal,
    b.beat_s,
    CASE WHEN b.beat_s IS NULL THEN $silent_gap_s ELSE $gap_beats * b.beat_s + $gap_extra_s END AS gap_s
FROM clients AS c
LEFT JOIN sampled_beats AS b USING (terminal);
