-- Lessons counted as learned whose media was not played, or was played faster than permitted.
-- What counts as played is the union of the media intervals in the log, never a position or a percentage.
WITH
media AS (
    SELECT platform_id, course_id, lesson_id, duration_s, coalesce(nullif(max_rate, 0), $default_max_rate) AS permitted
    FROM lessons
    WHERE duration_s > 0 AND coalesce(kind, 'video') IN ('video', 'audio', 'live')
),
played AS (
    SELECT
        s.platform_id, s.account_id, s.record_id, s.course_id, s.lesson_id, s.device_id, s.page_id, s.session_id,
        s.started_at, s.ended_at, s.rate, m.permitted, m.duration_s,
        exact(s.media_from_s) AS media_from_s, exact(s.media_to_s) AS media_to_s,
        seconds_between(s.started_at, s.ended_at) AS wall_s,
        exact(s.media_to_s - s.media_from_s) AS span_s,
        coalesce(s.cadence_s, 0) AS cadence_s,
        CASE WHEN s.source = 'sessions' THEN $sessions_slack_s ELSE $slack_beats * coalesce(s.cadence_s, 0) END AS slack_s,
        -- more media than the permitted rate fits into the time; whether an outage explains it is asked below
        CASE WHEN s.media_to_s > s.media_from_s
             THEN s.media_to_s - s.media_from_s
                  > m.permitted * $rate_tolerance * seconds_between(s.started_at, s.ended_at)
             ELSE coalesce(s.rate > m.permitted * $rate_tolerance, FALSE) END
        -- where the order of time cannot be trusted, neither can a rate
        AND NOT coalesce(s.is_late_upload, FALSE) AND NOT coalesce(s.is_clock_suspect, FALSE) AS is_above,
        coalesce(s.is_clock_suspect, FALSE) AS is_suspect
    FROM segments AS s
    JOIN media AS m USING (platform_id, course_id, lesson_id)
    WHERE s.active_s > 0 AND s.ended_at > s.started_at
),
counted AS (
    SELECT c.platform_id, c.account_id, c.record_id, c.course_id, c.lesson_id, c.completed_at, m.permitted,
        c.source = 'sessions' AS is_of_sessions,
        exact(least(coalesce(c.counted_s, m.duration_s), m.duration_s)) AS counted_s
    FROM completions AS c
    JOIN media AS m USING (platform_id, course_id, lesson_id)
    WHERE coalesce(c.counted_s, m.duration_s) > 0
),

-- Most lessons were played in one piece at a permitted rate: only the rest is looked at closely -------------------
in_short AS (
    SELECT platform_id, account_id, course_id, lesson_id, max(span_s) FILTER (WHERE NOT is_above) AS longest_s,
        bool_or(is_above) AS is_above, bool_or(is_suspect) AS is_suspect
    FROM played
    GROUP BY ALL
),
in_question AS (
    SELECT c.platform_id, c.account_id, c.course_id, c.lesson_id
    FROM counted AS c
    LEFT JOIN in_short AS i USING (platform_id, account_id, course_id, lesson_id)
    WHERE coalesce(i.longest_s, 0) < $min_coverage * c.counted_s
    UNION
    SELECT platform_id, account_id, course_id, lesson_id FROM in_short WHERE is_above
),
in_turn AS (
    SELECT p.*,
        lag(ended_at) OVER page_order AS was_until,
        lag(media_to_s) OVER page_order AS was_at_s
    FROM played AS p
    SEMI JOIN in_question USING (platform_id, account_id, course_id, lesson_id)
    WINDOW page_order AS (PARTITION BY platform_id, account_id, course_id, lesson_id, device_id, page_id, session_id
        ORDER BY started_at, ended_at)
),
timed AS (
    SELECT *,
        -- silence of the page just before; longer than an outage it tells nothing
        CASE WHEN seconds_between(was_until, started_at) <= $max_outage_s
             THEN greatest(0, seconds_between(was_until, started_at)) ELSE 0 END AS silence_s
    FROM in_turn
),

-- Rates ------------------------------------------------------------------------------------------------------------
rated AS (
    SELECT *,
        -- in a silence the player may have gone on: then the media goes on where it would have got to
        coalesce(media_from_s > was_at_s AND media_from_s - was_at_s <= silence_s * permitted * $rate_tolerance, FALSE)
            AS is_bridged,
        -- a logged rate says it outright; a computed one must exceed what late beats can explain
        is_above AND (coalesce(rate > permitted * $rate_tolerance, FALSE)
            OR span_s > permitted * $rate_tolerance * (wall_s + slack_s + silence_s)) AS is_over,
        CASE WHEN span_s > 0 THEN span_s / wall_s ELSE rate END AS pace
    FROM timed
),
paced AS (
    SELECT *,
        is_over AND sum(wall_s) FILTER (WHERE is_over) OVER (PARTITION BY platform_id, account_id, course_id, lesson_id)
            >= $min_rate_stretch_s AS is_fast
    FROM rated
),

-- Coverage ---------------------------------------------------------------------------------------------------------
-- Where nobody says when the learner began, what a lesson was first resumed from may have been watched before.
resumed AS (
    SELECT p.platform_id, p.account_id, p.course_id, p.lesson_id, arg_min(p.media_from_s, p.started_at) AS resumed_s
    FROM paced AS p
    JOIN claims AS l ON l.platform_id = p.platform_id AND l.record_id = p.record_id AND l.has_begun_before IS NULL
    GROUP BY ALL
    HAVING arg_min(p.media_from_s, p.started_at) > 0
),
-- Media intervals of a lesson, each stretched by the beats that may have got lost at its end.
intervals AS (
    SELECT platform_id, account_id, course_id, lesson_id, span_s,
        CASE WHEN is_bridged THEN media_from_s - was_at_s ELSE 0 END AS bridged_s,
        CASE WHEN is_bridged THEN was_at_s ELSE media_from_s END AS from_s,
        exact(greatest(media_to_s, least(duration_s, media_to_s + $slack_beats * cadence_s))) AS to_s
    FROM paced
    WHERE span_s >= 0 AND NOT is_fast
    UNION ALL BY NAME
    SELECT platform_id, account_id, course_id, lesson_id, 0 AS span_s, 0 AS bridged_s, 0 AS from_s, resumed_s AS to_s
    FROM resumed
),
swept AS (
    SELECT *,
        max(to_s) OVER (PARTITION BY platform_id, account_id, course_id, lesson_id ORDER BY from_s, to_s
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached_s
    FROM intervals
),
covered AS (
    SELECT platform_id, account_id, course_id, lesson_id,
        sum(greatest(0, to_s - greatest(from_s, coalesce(reached_s, from_s)))) AS union_s,
        sum(span_s) AS spans_s, sum(bridged_s) AS bridged_s
    FROM swept
    GROUP BY ALL
),
-- Where positions are not logged, no more can have been played than the time gives at the permitted rate.
bounded AS (
    SELECT platform_id, account_id, course_id, lesson_id, sum(exact(wall_s * permitted)) AS bound_s
    FROM paced
    -- a session that ends further back than it began tells as little
    WHERE (span_s IS NULL OR span_s < 0) AND NOT is_fast
    GROUP BY ALL
),
-- A lesson without any playing counts against the learner only where playing is logged by every client that completes.
beats_logged AS (
    SELECT platform_id, terminal,
        bool_or("column" IN ('heartbeat', 'position_s', 'sessions')) AS has_playing, bool_or("column" = 'complete') AS has_calls
    FROM capabilities
    GROUP BY ALL
),
platforms AS (
    SELECT platform_id
    FROM beats_logged
    GROUP BY platform_id
    HAVING bool_or(has_playing) AND NOT bool_or(has_calls AND NOT has_playing AND terminal IS NOT NULL)
),
compared AS (
    SELECT c.*,
        least(c.counted_s,
            -- sessions count time, and time spent again: what they count is compared with all that was played
            CASE WHEN c.is_of_sessions THEN coalesce(v.spans_s, 0) ELSE coalesce(v.union_s, 0) END + coalesce(b.bound_s, 0)
        ) AS covered_s,
        coalesce(l.has_begun_before, FALSE) AS has_begun_before,
        coalesce(i.is_suspect, FALSE) AS is_suspect
    FROM counted AS c
    SEMI JOIN in_question USING (platform_id, account_id, course_id, lesson_id)
    LEFT JOIN covered AS v USING (platform_id, account_id, course_id, lesson_id)
    LEFT JOIN bounded AS b USING (platform_id, account_id, course_id, lesson_id)
    LEFT JOIN in_short AS i USING (platform_id, account_id, course_id, lesson_id)
    LEFT JOIN claims AS l ON l.platform_id = c.platform_id AND l.record_id = c.record_id
    WHERE c.platform_id IN (SELECT platform_id FROM platforms)
),
short AS (
    SELECT *, counted_s - covered_s AS shortfall_s
    FROM compared
    -- what was learned before the first delivery left no log: never held against the learner;
    -- where rows of a lesson stand in the wrong order, what was played of it is not known
    WHERE NOT has_begun_before AND NOT is_suspect
      AND covered_s < $min_coverage * counted_s AND counted_s - covered_s >= $min_shortfall_s
),
short_records AS (
    SELECT platform_id, record_id, count(*) AS lessons, count_if(covered_s = 0) AS untouched,
        sum(counted_s) AS counted_s, sum(covered_s) AS covered_s, sum(shortfall_s) AS shortfall_s
    FROM short
    GROUP BY ALL
    HAVING sum(shortfall_s) >= $min_record_s
),
fast_records AS (
    SELECT platform_id, record_id, sum(wall_s) AS fast_s, max(pace) AS top_rate, min(permitted) AS permitted
    FROM paced
    WHERE is_fast
    GROUP BY ALL
),

-- Strikes: seconds of lessons that were not played; stretches of time played too fast ----------------------------
struck AS (
    SELECT s.platform_id, s.account_id, s.record_id, s.course_id, s.completed_at AS started_at, s.completed_at AS ended_at,
        s.shortfall_s AS seconds, strike_seconds(s.lesson_id, s.completed_at, s.completed_at, s.shortfall_s) AS strike
    FROM short AS s
    SEMI JOIN short_records USING (platform_id, record_id)
    UNION ALL
    -- a lesson that is struck for its media is not counted a second time for its rate
    SELECT p.platform_id, p.account_id, p.record_id, p.course_id, p.started_at, p.ended_at,
        CASE WHEN h.lesson_id IS NULL THEN p.wall_s ELSE 0 END AS seconds,
        strike_time(p.lesson_id, p.started_at, p.ended_at) AS strike
    FROM paced AS p
    LEFT JOIN (SELECT * FROM short SEMI JOIN short_records USING (platform_id, record_id)) AS h
        ON h.platform_id = p.platform_id AND h.account_id = p.account_id AND h.course_id = p.course_id
       AND h.lesson_id = p.lesson_id
    WHERE p.is_fast
),
records AS (
    SELECT platform_id, record_id, min(account_id) AS account_id, min(course_id) AS course_id,
        min(started_at) AS first, max(ended_at) AS last,
        sum(seconds) AS struck_s, list(strike ORDER BY strike) AS strikes
    FROM struck
    GROUP BY ALL
),

-- The honest explanations ------------------------------------------------------------------------------------------
seen AS (
    SELECT p.platform_id, p.record_id,
        max(pace) FILTER (WHERE NOT is_above) AS honest_rate,
        coalesce(sum(wall_s) FILTER (WHERE is_above AND NOT is_over), 0) AS flushed_s
    FROM paced AS p
    SEMI JOIN records USING (platform_id, record_id)
    GROUP BY ALL
),
known AS (
    SELECT c.platform_id, c.record_id,
        count_if(c.covered_s >= $min_coverage * c.counted_s AND c.covered_s < c.counted_s) AS near_lessons,
        sum(greatest(0, v.spans_s - v.union_s)) AS again_s,
        sum(v.bridged_s) AS bridged_s,
        bool_or(c.has_begun_before) AS has_begun_before, sum(e.resumed_s) AS resumed_s,
        count_if(c.is_suspect) AS suspect_lessons
    FROM compared AS c
    LEFT JOIN covered AS v USING (platform_id, account_id, course_id, lesson_id)
    LEFT JOIN resumed AS e USING (platform_id, account_id, course_id, lesson_id)
    SEMI JOIN records ON records.platform_id = c.platform_id AND records.record_id = c.record_id
    GROUP BY ALL
),
totals AS (
    SELECT c.platform_id, c.record_id, sum(c.counted_s) AS counted_s
    FROM counted AS c
    SEMI JOIN records USING (platform_id, record_id)
    GROUP BY ALL
)
SELECT
    r.platform_id, r.account_id, r.record_id, r.course_id, r.first AS started_at, r.last AS ended_at,
    least(1, r.struck_s / greatest(1, coalesce(t.counted_s, r.struck_s))) AS score, r.struck_s, r.strikes,
    {
        'variant': CASE WHEN h.record_id IS NULL THEN 'fast' WHEN f.record_id IS NULL THEN 'unplayed' ELSE 'both' END,
        'lessons': coalesce(h.lessons, 0),
        'untouched': coalesce(h.untouched, 0),
        'counted_s': coalesce(h.counted_s, 0),
        'covered_s': coalesce(h.covered_s, 0),
        'shortfall_s': coalesce(h.shortfall_s, 0),
        'coverage': h.covered_s / h.counted_s,
        'fast_s': coalesce(f.fast_s, 0),
        'top_rate': f.top_rate,
        'permitted_rate': f.permitted,
        'first': r.first,
        'last': r.last,
        'examined': {
            'watched_before': {
                'found': coalesce(k.has_begun_before, FALSE) OR coalesce(k.resumed_s > 0, FALSE),
                'seconds': coalesce(k.resumed_s, 0)
            },
            'rewatching': {'found': coalesce(k.again_s > 0, FALSE), 'seconds': coalesce(k.again_s, 0)},
            'permitted_rate': {'found': coalesce(s.honest_rate > 1, FALSE), 'rate': s.honest_rate},
            'end_credits': {'found': coalesce(k.near_lessons > 0, FALSE), 'lessons': coalesce(k.near_lessons, 0)},
            'lost_beats': {'found': coalesce(k.bridged_s > 0, FALSE), 'seconds': coalesce(k.bridged_s, 0)},
            'wrong_clock': {'found': coalesce(k.suspect_lessons > 0, FALSE), 'lessons': coalesce(k.suspect_lessons, 0)},
            'flushed_beats': {'found': coalesce(s.flushed_s > 0, FALSE), 'seconds': coalesce(s.flushed_s, 0)}
        }
    } AS facts
FROM records AS r
LEFT JOIN short_records AS h USING (platform_id, record_id)
LEFT JOIN fast_records AS f USING (platform_id, record_id)
LEFT JOIN seen AS s USING (platform_id, record_id)
LEFT JOIN known AS k USING (platform_id, record_id)
LEFT JOIN totals AS t USING (platform_id, record_id)
