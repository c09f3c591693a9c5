-- Media that runs on with nobody there: presence checks left unanswered, or hours on end without a sign of presence.
-- A sign of presence is an answered check (a wrong answer was given by somebody, too) or a logged touch.
WITH
kinds AS (
    SELECT platform_id, course_id, lesson_id,
        coalesce(is_audio, FALSE) OR coalesce(kind IN ('audio', 'reading'), FALSE) AS is_still
    FROM lessons
),
-- Clients that really log touches: not one stray row, but a share of all rows.
clients AS (
    SELECT platform_id, coalesce(terminal, '') AS terminal,
        coalesce(sum(n) FILTER (WHERE "column" = 'interaction')
            >= $min_interaction_share * sum(n) FILTER (WHERE "column" = 'events'), FALSE) AS logs_touches
    FROM capabilities
    GROUP BY ALL
),
learning AS (
    SELECT
        s.platform_id, s.account_id, s.record_id, s.course_id, s.lesson_id, s.started_at, s.ended_at,
        exact(s.active_s) AS active_s, s.day,
        s.terminal, s.n_interactions, s.n_missed,
        s.n_interactions + s.n_passed + s.n_faces_passed AS signs,
        coalesce(s.is_clock_suspect, FALSE) AS is_suspect
    FROM segments AS s
    WHERE s.active_s > 0 AND s.ended_at > s.started_at
),

-- Part one: checks left unanswered ---------------------------------------------------------------------------------
met AS (
    SELECT platform_id, account_id, record_id, checked_at, kind, result,
        kind IN ('prompt', 'face') AS is_asked,
        (kind = 'prompt' AND result = 'timeout') OR (kind = 'face' AND result = 'no_face') AS is_missed
    FROM checks
),
in_question AS (
    SELECT platform_id, account_id, record_id
    FROM met
    WHERE is_asked
    GROUP BY ALL
    HAVING count_if(is_missed) >= $min_missed AND count_if(is_missed) > $max_missed_share * count(*)
),
-- Each missed check with the stretch that played when it appeared.
missed AS (
    SELECT m.platform_id, m.account_id, m.record_id, m.checked_at,
        s.started_at IS NULL OR m.checked_at > s.ended_at + to_seconds($answer_window_s) AS is_paused,
        coalesce(s.is_suspect, FALSE) AS is_suspect,
        coalesce(s.n_interactions > 0 AND s.n_interactions * $presence_every_s >= s.active_s, FALSE) AS is_attended
    FROM (SELECT * FROM met SEMI JOIN in_question USING (platform_id, record_id) WHERE is_missed) AS m
    ASOF LEFT JOIN (SELECT * FROM learning SEMI JOIN in_question USING (platform_id, record_id)) AS s
      ON s.platform_id = m.platform_id AND s.record_id = m.record_id AND m.checked_at >= s.started_at
),
asked AS (
    SELECT platform_id, record_id, count(*) AS checks, count_if(NOT is_missed) AS answered
    FROM met
    SEMI JOIN in_question USING (platform_id, record_id)
    WHERE is_asked
    GROUP BY ALL
),
tallied AS (
    SELECT a.platform_id, a.record_id, a.checks, a.answered,
        count_if(NOT m.is_paused AND NOT m.is_attended AND NOT m.is_suspect) AS missed,
        count_if(m.is_paused) AS paused, count_if(m.is_attended AND NOT m.is_paused) AS attended,
        count_if(m.is_suspect) AS suspect
    FROM asked AS a
    JOIN missed AS m USING (platform_id, record_id)
    GROUP BY ALL
),
weighed AS (
    SELECT *,
        -- the chance that a slow learner misses as many or more of these checks
        list_sum(list_transform(range(CAST(missed AS BIGINT), checks + 1), lambda k: exp(
            lgamma(checks + 1) - lgamma(k + 1) - lgamma(checks - k + 1)
            + k * ln($slow_miss_rate) + (checks - k) * ln(1 - $slow_miss_rate)))) AS chance
    FROM tallied
    WHERE missed >= $min_missed AND missed > $max_missed_share * checks
),
-- What a slow learner may well have missed is not held against anybody.
unanswered AS (
    SELECT * FROM weighed WHERE chance <= $review_p
),
-- Sittings: learning of the account without a break longer than break_s. Somebody was there when one began.
asked_accounts AS (
    SELECT DISTINCT q.platform_id, q.account_id
    FROM in_question AS q
    SEMI JOIN unanswered USING (platform_id, record_id)
),
resumed AS (
    SELECT l.*,
        max(ended_at) OVER (PARTITION BY platform_id, account_id ORDER BY started_at, ended_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS busy_until
    FROM learning AS l
    SEMI JOIN asked_accounts USING (platform_id, account_id)
),
signs AS (
    SELECT platform_id, account_id, checked_at AS seen_at
    FROM met
    SEMI JOIN asked_accounts USING (platform_id, account_id)
    WHERE NOT is_missed
    UNION
    SELECT platform_id, account_id, started_at
    FROM resumed
    WHERE busy_until IS NULL OR started_at > busy_until + to_seconds($break_s)
    UNION
    SELECT platform_id, account_id, unnest([started_at, ended_at])
    FROM resumed
    WHERE n_interactions > 0 AND n_interactions * $presence_every_s >= active_s
),
after_sign AS (
    SELECT m.platform_id, m.account_id, m.record_id, m.checked_at, s.seen_at AS from_at
    FROM missed AS m
    SEMI JOIN unanswered USING (platform_id, record_id)
    ASOF JOIN signs AS s
      ON s.platform_id = m.platform_id AND s.account_id = m.account_id AND m.checked_at >= s.seen_at
    WHERE NOT m.is_paused AND NOT m.is_attended AND NOT m.is_suspect
),
until_sign AS (
    SELECT DISTINCT a.platform_id, a.record_id, a.from_at, s.seen_at AS to_at
    FROM after_sign AS a
    ASOF LEFT JOIN signs AS s
      ON s.platform_id = a.platform_id AND s.account_id = a.account_id AND a.checked_at <= s.seen_at
),

-- Part two: hours on end without a sign of presence; days longer than a day can be ------------------------------
long_accounts AS (
    SELECT platform_id, account_id
    FROM learning
    WHERE NOT is_suspect
    GROUP BY ALL
    HAVING sum(active_s) FILTER (WHERE signs = 0) >= least($marathon_s, $unseen_marathon_s)
        OR sum(active_s) >= $max_day_s
),
lasting AS (
    SELECT l.*,
        coalesce(k.is_still, FALSE) AS is_still,
        coalesce(c.logs_touches, FALSE) AS logs_touches,
        max(l.ended_at) OVER account_order AS busy_until,
        lag(l.signs) OVER (PARTITION BY l.platform_id, l.account_id ORDER BY l.started_at, l.ended_at, l.lesson_id) AS was_signs,
        max(l.ended_at) OVER (PARTITION BY l.platform_id, l.account_id, l.day ORDER BY l.started_at, l.ended_at, l.lesson_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS day_until
    FROM learning AS l
    SEMI JOIN long_accounts AS a ON a.platform_id = l.platform_id AND a.account_id = l.account_id
    LEFT JOIN kinds AS k ON k.platform_id = l.platform_id AND k.course_id = l.course_id AND k.lesson_id = l.lesson_id
    LEFT JOIN clients AS c ON c.platform_id = l.platform_id AND c.terminal = coalesce(l.terminal, '')
    WHERE NOT l.is_suspect
    WINDOW account_order AS (PARTITION BY l.platform_id, l.account_id ORDER BY l.started_at, l.ended_at, l.lesson_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
measured AS (
    SELECT *,
        -- seconds that overlap what ran before count once; a session counts what it counts
        least(active_s, greatest(0, seconds_between(greatest(started_at, coalesce(busy_until, started_at)), ended_at))) AS fresh_s,
        least(active_s, greatest(0, seconds_between(greatest(started_at, coalesce(day_until, started_at)), ended_at))) AS day_fresh_s,
        count_if(busy_until IS NULL OR started_at > busy_until + to_seconds($break_s) OR signs > 0 OR was_signs > 0)
            OVER (PARTITION BY platform_id, account_id ORDER BY started_at, ended_at, lesson_id
            ROWS UNBOUNDED PRECEDING) AS stretch
    FROM lasting
),
quiet AS (
    SELECT platform_id, account_id, stretch, min(started_at) AS from_at, max(ended_at) AS to_at,
        sum(fresh_s) AS quiet_s
    FROM measured
    WHERE signs = 0
    GROUP BY ALL
    -- watched over: every client would have logged a touch and the lessons ask for one, or a check went unanswered
    HAVING sum(fresh_s) >= CASE WHEN bool_and(logs_touches AND NOT is_still) OR sum(n_missed) > 0
                                THEN $marathon_s ELSE $unseen_marathon_s END
),
daily AS (
    SELECT *,
        sum(day_fresh_s) OVER (PARTITION BY platform_id, account_id, day ORDER BY started_at, ended_at, lesson_id
            ROWS UNBOUNDED PRECEDING) AS day_s
    FROM measured
),
-- The part of each segment that lies beyond the day's limit and bears no sign of presence.
beyond AS (
    SELECT platform_id, account_id, record_id, lesson_id, day_s, day_until,
        greatest(started_at, ended_at - to_seconds(CAST(day_s - $max_day_s AS DOUBLE))) AS from_at, ended_at AS to_at
    FROM daily
    WHERE signs = 0 AND day_fresh_s > 0 AND day_s > $max_day_s
),

-- Both parts, laid on each record's own learning --------------------------------------------------------------------
parts AS (
    SELECT l.platform_id, l.record_id, 'missed' AS part,
        greatest(l.started_at, u.from_at) AS started_at, least(l.ended_at, coalesce(u.to_at, l.ended_at)) AS ended_at
    FROM until_sign AS u
    JOIN learning AS l ON l.platform_id = u.platform_id AND l.record_id = u.record_id
     AND l.ended_at > u.from_at AND l.started_at < coalesce(u.to_at, l.ended_at)
    UNION ALL
    SELECT m.platform_id, m.record_id, 'quiet', greatest(m.started_at, q.from_at + to_seconds($allowance_s)), m.ended_at
    FROM quiet AS q
    JOIN measured AS m USING (platform_id, account_id, stretch)
    WHERE m.signs = 0 AND m.ended_at > q.from_at + to_seconds($allowance_s)
    UNION ALL
    SELECT platform_id, record_id, 'day', from_at, to_at FROM beyond
),
ordered AS (
    SELECT *,
        max(ended_at) OVER (PARTITION BY platform_id, record_id ORDER BY started_at, ended_at, part
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_until
    FROM parts
    WHERE ended_at > started_at
),
grouped AS (
    SELECT *,
        count_if(covered_until IS NULL OR started_at > covered_until)
            OVER (PARTITION BY platform_id, record_id ORDER BY started_at, ended_at, part ROWS UNBOUNDED PRECEDING) AS piece
    FROM ordered
),
merged AS (
    SELECT platform_id, record_id, piece, min(started_at) AS started_at, max(ended_at) AS ended_at,
        bool_or(part = 'missed') AS has_missed, bool_or(part = 'quiet') AS has_quiet, bool_or(part = 'day') AS has_day
    FROM grouped
    GROUP BY ALL
),
struck AS (
    SELECT platform_id, record_id, min(started_at) AS first, max(ended_at) AS last,
        sum(seconds_between(started_at, ended_at)) AS idle_s,
        list(strike_time(NULL, started_at, ended_at) ORDER BY started_at) AS strikes,
        bool_or(has_missed) AS has_missed, bool_or(has_quiet) AS has_quiet, bool_or(has_day) AS has_day
    FROM merged
    GROUP BY ALL
),
totals AS (
    SELECT platform_id, record_id, min(account_id) AS account_id, min(course_id) AS course_id,
        sum(active_s) AS active_s, coalesce(sum(active_s) FILTER (WHERE is_suspect), 0) AS suspect_s
    FROM learning
    SEMI JOIN struck USING (platform_id, record_id)
    GROUP BY ALL
),
-- The honest explanations, and the numbers of the two kinds of marathon.
met_records AS (
    SELECT platform_id, record_id, count(*) AS checks, count_if(is_missed) AS missed, count_if(NOT is_missed) AS answered
    FROM met
    SEMI JOIN struck USING (platform_id, record_id)
    WHERE is_asked
    GROUP BY ALL
),
quiet_records AS (
    SELECT m.platform_id, m.record_id, max(q.quiet_s) AS quiet_s,
        arg_max(q.from_at, (q.quiet_s, q.from_at)) AS quiet_from
    FROM quiet AS q
    JOIN measured AS m USING (platform_id, account_id, stretch)
    GROUP BY ALL
),
day_records AS (
    SELECT b.platform_id, b.record_id, max(b.day_s) AS day_s, arg_max(b.to_at, (b.day_s, b.to_at)) AS day_from
    FROM beyond AS b
    GROUP BY ALL
),
still_records AS (
    SELECT platform_id, record_id,
        coalesce(sum(fresh_s) FILTER (WHERE is_still AND signs = 0), 0) AS still_s,
        coalesce(sum(fresh_s) FILTER (WHERE NOT logs_touches AND signs = 0), 0) AS silent_s
    FROM measured
    GROUP BY ALL
)
SELECT
    s.platform_id, t.account_id, s.record_id, t.course_id, s.first AS started_at, s.last AS ended_at,
    least(1, s.idle_s / t.active_s) AS score, s.idle_s AS struck_s, s.strikes,
    -- Few misses may be a slow learner's: then the finding is a suspicion with its chance, not proof.
    CASE WHEN s.has_quiet OR s.has_day OR u.chance <= $proof_p THEN 'proof' ELSE 'statistical' END AS strength,
    CASE WHEN s.has_quiet OR s.has_day OR u.chance <= $proof_p THEN NULL ELSE least(1, u.chance) END AS p_value,
    {
        'variant': CASE WHEN s.has_day THEN 'day' WHEN s.has_missed AND s.has_quiet THEN 'missed_quiet'
                        WHEN s.has_missed THEN 'missed' ELSE 'quiet' END,
        'checks': coalesce(m.checks, 0),
        -- those met while media played and nobody stirred; else simply those that went unanswered
        'missed': coalesce(u.missed, m.missed, 0),
        'missed_share': CASE WHEN m.checks > 0 THEN coalesce(u.missed, m.missed) / m.checks END,
        'idle_s': s.idle_s,
        'quiet_s': coalesce(q.quiet_s, 0),
        'quiet_from': q.quiet_from,
        'day_s': coalesce(d.day_s, 0),
        'day_from': d.day_from,
        'allowance_s': $allowance_s,
        'max_day_s': $max_day_s,
        'first': s.first,
        'last': s.last,
        'examined': {
            'answered_checks': {'found': coalesce(m.answered > 0, FALSE), 'checks': coalesce(m.answered, 0)},
            'slow_answer': {'found': coalesce(u.attended > 0, FALSE), 'checks': coalesce(u.attended, 0)},
            'paused_check': {'found': coalesce(u.paused > 0, FALSE), 'checks': coalesce(u.paused, 0)},
            'audio_or_reading': {'found': coalesce(r.still_s > 0, FALSE), 'seconds': coalesce(r.still_s, 0)},
            'silent_client': {'found': coalesce(r.silent_s > 0, FALSE), 'seconds': coalesce(r.silent_s, 0)},
            'wrong_clock': {'found': t.suspect_s > 0, 'seconds': t.suspect_s}
        }
    } AS facts
FROM struck AS s
JOIN totals AS t USING (platform_id, record_id)
LEFT JOIN unanswered AS u USING (platform_id, record_id)
LEFT JOIN met_records AS m USING (platform_id, record_id)
LEFT JOIN quiet_records AS q USING (platform_id, record_id)
LEFT JOIN day_records AS d USING (platform_id, record_id)
LEFT JOIN still_records AS r USING (platform_id, record_id)
