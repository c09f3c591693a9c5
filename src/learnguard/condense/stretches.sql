-- Pages that paused, jumped, hid or fell silent: walked row by row, in order of time, to stretches.
-- The rows are sorted once; every window below runs over that order as a stream (OVER () and running
-- aggregates), which costs a fraction of a sort per window.
CREATE OR REPLACE TEMP TABLE stretches AS
WITH rows_of_pages AS (
    SELECT
        p.page_no, p.gap_s, p.beat_s, p.is_player, p.may_bridge, e.is_tail, epoch_us(e.ts)            AS at_us,
        -- The order of rows of one instant: a page opens first and closes last; pause, seek and play is what a
        -- player says when its slider is moved; a page that hides and shows in one instant is in front.
        CASE e.verb WHEN 'page_open' THEN 0 WHEN 'heartbeat' THEN 1 WHEN 'rate_change' THEN 2 WHEN 'interaction' THEN 3
                    WHEN 'pause' THEN 4 WHEN 'seek' THEN 5 WHEN 'play' THEN 6 WHEN 'hidden' THEN 7 WHEN 'visible' THEN 8
                    WHEN 'complete' THEN 9 ELSE 10 END                                  AS verb,
        CASE WHEN e.verb = 'seek' AND e.to_position_s IS NULL THEN NULL ELSE e.position_s END AS before_s,
        coalesce(e.to_position_s, e.position_s)                                         AS after_s,
        CASE WHEN e.verb = 'hidden' THEN 0 WHEN e.verb = 'visible' THEN 1
             WHEN e.visible THEN 1 WHEN NOT e.visible THEN 0 END                        AS sight,
        CASE WHEN e.rate IS NOT NULL THEN (e.rate * $rate_scale)::BIGINT END            AS rate_code,
        e.logged_ts IS NOT NULL                                                         AS late
    FROM day_events AS e
    JOIN walked_pages AS p
      ON p.page_key = hash(e.account_id, e.device_id, coalesce(e.page_id, e.session_id), e.lesson_id)
    WHERE e.verb IN ('page_open', 'page_close', 'play', 'pause', 'heartbeat', 'seek', 'rate_change', 'hidden', 'visible',
                     'complete', 'interaction')
      AND e.lesson_id IS NOT NULL
      -- while a page beats, a touch only says that somebody was there: it is laid on the segments afterwards
      AND NOT (e.verb = 'interaction' AND p.is_beating)
),
sorted AS (
    -- page and time in one number: it grows from row to row
    SELECT * EXCLUDE (page_no), (page_no << $page_bits) + (at_us - $from_us) AS place_in_order,
        hash(verb, before_s, after_s, sight, rate_code) AS sameness
    FROM rows_of_pages
    ORDER BY place_in_order, verb, before_s, sameness
),
numbered AS (
    SELECT *, row_number() OVER () AS row_no, lag(place_in_order) OVER () AS last_in_order
    FROM sorted
    -- a row delivered twice stands beside itself
    QUALIFY (lag(place_in_order) OVER () = place_in_order AND lag(sameness) OVER () = sameness) IS NOT TRUE
),
opened AS (
    SELECT *,
        -- hundredths of a second; 0: not known any more (a page opened, or a seek to nowhere)
        CASE WHEN after_s IS NOT NULL THEN (after_s * 100)::BIGINT + 1 WHEN opens OR verb IN (0, 5) THEN 0 END AS place
    FROM (
        SELECT *, (place_in_order >> $page_bits) IS DISTINCT FROM (last_in_order >> $page_bits) AS opens FROM numbered
    )
),
-- What was last said of place, sight and rate, carried along: the running maximum of row number and value packed together.
carried AS (
    SELECT *,
        max(CASE WHEN place IS NOT NULL THEN row_no * $place_pack + place END) OVER (ROWS UNBOUNDED PRECEDING) AS place_mark,
        max(CASE WHEN place IS NOT NULL THEN place_in_order END) OVER (ROWS UNBOUNDED PRECEDING)               AS placed_in_order,
        max(CASE WHEN opens THEN row_no * $pack + coalesce(sight, 2) WHEN sight IS NOT NULL THEN row_no * $pack + sight END)
            OVER (ROWS UNBOUNDED PRECEDING) AS sight_mark,
        max(CASE WHEN opens THEN row_no * $pack + coalesce(rate_code, $no_rate)
                 WHEN rate_code IS NOT NULL THEN row_no * $pack + rate_code END)
            OVER (ROWS UNBOUNDED PRECEDING) AS rate_mark
    FROM opened
),
paired AS (
    SELECT *,
        lag(at_us) OVER ()                                     AS last_us,
        lag(verb) OVER ()                                      AS last_verb,
        lag(sight_mark) OVER () & $low                        AS was_sight,
        lag(rate_mark) OVER () & $low                         AS was_rate,
        (at_us - lag(at_us) OVER ()) / 1000000                 AS silence_s,
        -- the media's place when it was last known, and the time since
        CASE WHEN NOT opens THEN (nullif(lag(place_mark) OVER () & $low_place, 0) - 1) / 100 END AS known_s,
        (place_in_order - lag(placed_in_order) OVER ()) / 1000000 AS span_s
    FROM carried
),
moved AS (
    SELECT *,
        before_s - known_s                                                     AS advance_s,
        CASE WHEN was_rate = $no_rate THEN $rate_scale ELSE was_rate END       AS pace_code
    FROM paired
),
placed AS (
    SELECT *,
        -- A touch or a change of rate or sight that says no place, or the last beat's again, happened on the way.
        CASE WHEN verb IN (2, 3, 7, 8) AND coalesce(advance_s < $still_share * span_s, TRUE)
             THEN known_s + span_s * pace_code / $rate_scale ELSE before_s END AS reach_s,
        CASE WHEN verb IN (2, 3, 7, 8) AND coalesce(advance_s < $still_share * span_s, TRUE)
             THEN known_s + span_s * pace_code / $rate_scale ELSE after_s END  AS here_s,
        -- 1 playing, 0 not playing, 2 open (playing is not known yet); null: says nothing.
        CASE WHEN verb = 6 THEN 1
             -- a player that beats in the same place is not playing
             WHEN verb = 1 THEN CASE WHEN advance_s < $still_share * span_s AND span_s >= 1 THEN 0 ELSE 1 END
             WHEN verb IN (4, 10) OR (verb = 9 AND is_player) THEN 0
             WHEN verb = 0 OR opens THEN 2 END                                 AS state
    FROM moved
),
stated AS (
    SELECT *, lag(here_s) OVER () AS from_s, lag(state_mark) OVER () & $low AS was_state
    FROM (
        SELECT *, max(CASE WHEN state IS NOT NULL THEN row_no * $pack + state END) OVER (ROWS UNBOUNDED PRECEDING) AS state_mark
        FROM placed
    )
),
-- Each row closes the interval since the row before it. Is it activity, and of what kind?
judged AS (
    SELECT *,
        NOT opens AND coalesce(
            advance_s > $fastest_rate * span_s + greatest($slack_beats * beat_s, $jump_s)
            -- within a second of a seek the order of rows is not known
            AND NOT (silence_s < 1 AND (verb = 5 OR last_verb = 5)), FALSE)                            AS jumps,
        -- a page that opens or plays anew may start anywhere
        NOT opens AND coalesce(
            advance_s < -$backward_s AND silence_s >= 1 AND verb NOT IN (0, 5, 6) AND last_verb NOT IN (0, 5), FALSE)
            AS runs_back,
        coalesce(abs(advance_s - span_s * pace_code / $rate_scale)
                 <= greatest($line_tolerance_s, $line_share * span_s), FALSE)                          AS keeps_time,
        CASE WHEN was_sight = 0 AND (sight IS DISTINCT FROM 1 OR verb = 8) THEN 0
             WHEN was_sight = 2 THEN 2 ELSE 1 END                                                      AS hid
    FROM stated
),
active AS (
    SELECT *,
        NOT opens AND NOT jumps AND NOT runs_back
        -- not silent for longer than the platform's own beat explains, unless the media itself advanced as time did and
        -- no other page of the account could have carried it there;
        -- a page that opens or plays anew tells nothing of a long silence before
        AND (silence_s <= CASE WHEN verb IN (0, 6) THEN least(gap_s, $restart_s) ELSE gap_s END
             OR (keeps_time AND may_bridge))
        -- the media did not stand still
        AND (advance_s IS NULL OR silence_s < 1 OR advance_s >= $still_share * silence_s
             OR (verb IN (2, 3, 7, 8) AND silence_s <= gap_s))
        AND (was_state = 1
             OR (was_state = 2 AND (NOT is_player OR verb IN (1, 4, 9)))
             -- moving media is playing, whatever was said last; but what plays anew was not playing
             OR (verb <> 6 AND coalesce(advance_s >= $moving_share * span_s AND advance_s > 0, FALSE)))
            AS is_active
    FROM judged
),
broken AS (
    SELECT *,
        opens OR NOT is_active OR last_verb = 5
        -- not seen yet, and no rate yet, are no change
        OR (lag(is_active) OVER () AND ((lag(hid) OVER () = 0) <> (hid = 0) OR lag(pace_code) OVER () <> pace_code)) AS breaks
    FROM active
),
walked AS (
    SELECT *, is_active AND NOT is_tail AS counts, count(*) FILTER (WHERE breaks) OVER (ROWS UNBOUNDED PRECEDING) AS stretch
    FROM broken
),
grouped AS (
    SELECT
        place_in_order >> $page_bits                                                    AS page_no,
        -- intervals that ended on the day before belong to that day
        coalesce(min(last_us) FILTER (WHERE counts), max(at_us))                        AS from_us,
        coalesce(max(at_us) FILTER (WHERE counts), max(at_us))                          AS to_us,
        coalesce(min(from_s) FILTER (WHERE counts), min(reach_s) FILTER (WHERE counts)) AS media_from_s,
        coalesce(max(reach_s) FILTER (WHERE counts), max(from_s) FILTER (WHERE counts)) AS media_to_s,
        sum(CASE WHEN jumps AND NOT is_tail THEN advance_s END)                         AS skipped_s,
        min(was_rate) FILTER (WHERE is_active AND was_rate <> $no_rate)                 AS rate_code,
        min(hid) FILTER (WHERE is_active)                                               AS hid,
        count_if(NOT is_tail)                                                           AS n,
        count_if(verb = 3 AND NOT is_tail)                                              AS n_touches,
        count_if(runs_back AND NOT is_tail)                                             AS n_back,
        count_if(advance_s IS NOT NULL AND NOT is_tail)                                 AS n_advances,
        max(late AND NOT is_tail)                                                       AS is_late_upload,
        list(struct_pack(from_us := last_us, to_us := at_us)) FILTER (WHERE counts AND silence_s > gap_s) AS bridges
    FROM walked
    GROUP BY page_no, stretch
    -- rows of the day before are there to give the first rows their past
    HAVING count_if(NOT is_tail) > 0
)
SELECT p.page_key, g.* EXCLUDE (page_no)
FROM grouped AS g
JOIN walked_pages AS p USING (page_no);
