-- A platform that logs no events of its own on this day: each study session is one segment.
CREATE OR REPLACE TEMP TABLE day_sessions_once AS
SELECT * FROM day_sessions
-- a session delivered again, longer or corrected: the latest delivery is the valid one
QUALIFY row_number() OVER (
    PARTITION BY account_id, session_id, started_at, lesson_id ORDER BY seq DESC, ended_at DESC, learned_s DESC
) = 1;

CREATE OR REPLACE TEMP TABLE unit_segments AS
WITH timed AS (
    SELECT *, epoch(ended_at) - epoch(started_at) AS wall_s, least(coalesce(learned_s, wall_s), wall_s) AS active_s
    FROM day_sessions_once
    WHERE course_id IS NOT NULL
)
SELECT
    $platform_id AS platform_id, account_id, NULL::VARCHAR AS learner_id, NULL::VARCHAR AS record_id,
    course_id, lesson_id, session_id, device_id, page_id, terminal, ip, user_agent,
    'sessions' AS source, started_at, ended_at, active_s,
    from_position_s AS media_from_s, to_position_s AS media_to_s, NULL::DOUBLE AS skipped_s, NULL::DOUBLE AS rate,
    foreground_s < active_s / 2 AS is_hidden,
    CASE WHEN foreground_s IS NOT NULL THEN greatest(active_s - foreground_s, 0) END AS hidden_s,
    1::BIGINT AS n_events, 0::BIGINT AS n_interactions, 0::BIGINT AS n_passed, 0::BIGINT AS n_missed,
    0::BIGINT AS n_faces_passed, 0::BIGINT AS n_faces_failed,
    NULL::DOUBLE AS cadence_s, NULL::DOUBLE AS gap_s, FALSE AS is_late_upload, FALSE AS is_clock_suspect,
    $day::DATE AS day
FROM timed;

CREATE OR REPLACE TEMP TABLE unit_checks AS
SELECT
    NULL::VARCHAR AS platform_id, NULL::VARCHAR AS account_id, NULL::VARCHAR AS learner_id, NULL::VARCHAR AS record_id,
    NULL::VARCHAR AS course_id, NULL::VARCHAR AS lesson_id, NULL::VARCHAR AS session_id, NULL::VARCHAR AS device_id,
    NULL::VARCHAR AS page_id, NULL::TIMESTAMPTZ AS checked_at, NULL::VARCHAR AS kind, NULL::VARCHAR AS result,
    NULL::DOUBLE AS value
WHERE FALSE;

CREATE OR REPLACE TEMP TABLE unit_completions AS
SELECT
    $platform_id AS platform_id, account_id, NULL::VARCHAR AS learner_id, NULL::VARCHAR AS record_id, course_id, lesson_id,
    max(ended_at) AS completed_at, sum(coalesce(learned_s, epoch(ended_at) - epoch(started_at))) AS counted_s,
    'sessions' AS source
FROM day_sessions_once
WHERE course_id IS NOT NULL AND lesson_id IS NOT NULL
GROUP BY ALL;

CREATE OR REPLACE TEMP TABLE unit_capabilities AS
WITH seen AS (
    SELECT
        terminal, min(started_at) AS first_at, max(ended_at) AS last_at, count(*) AS n,
        count(device_id) AS device_id, count(page_id) AS page_id, count(session_id) AS session_id, count(ip) AS ip,
        count(to_position_s) AS position_s, count(foreground_s) AS visible, count(learned_s) AS learned_s
    FROM day_sessions_once
    GROUP BY terminal
)
SELECT $platform_id AS platform_id, terminal, named['column'] AS "column", first_at, last_at, named['n']::BIGINT AS n
FROM (
    SELECT terminal, first_at, last_at, unnest([
        {'column': 'sessions', 'n': n},
        {'column': 'device_id', 'n': device_id}, {'column': 'page_id', 'n': page_id},
        {'column': 'session_id', 'n': session_id}, {'column': 'ip', 'n': ip},
        {'column': 'position_s', 'n': position_s}, {'column': 'visible', 'n': visible},
        {'column': 'learned_s', 'n': learned_s},
        {'column': 'terminal', 'n': CASE WHEN terminal IS NOT NULL THEN n ELSE 0 END}
    ]) AS named
    FROM seen
)
WHERE named['n'] > 0;
