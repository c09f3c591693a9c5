-- What each kind of client was seen to log on this day: silence on the rest is "not observed".
CREATE OR REPLACE TEMP TABLE unit_capabilities AS
WITH seen AS (
    SELECT
        terminal, verb,
        count(*) AS n, min(ts) AS first_at, max(ts) AS last_at,
        count(device_id) AS device_id, count(page_id) AS page_id, count(session_id) AS session_id, count(ip) AS ip,
        count(position_s) AS position_s, count(rate) AS rate, count(visible) AS visible, count(client_ts) AS client_ts
    FROM day_events
    WHERE NOT is_tail
    GROUP BY terminal, verb
),
named AS (
    SELECT terminal, first_at, last_at, unnest([
        {'column': 'events', 'n': n},
        {'column': 'device_id', 'n': device_id}, {'column': 'page_id', 'n': page_id},
        {'column': 'session_id', 'n': session_id}, {'column': 'ip', 'n': ip},
        {'column': 'position_s', 'n': position_s}, {'column': 'rate', 'n': rate},
        {'column': 'client_ts', 'n': client_ts},
        {'column': 'visible', 'n': visible + CASE WHEN verb IN ('hidden', 'visible') THEN n ELSE 0 END},
        {'column': 'prompt', 'n': CASE WHEN verb IN ('prompt', 'prompt_answer') THEN n ELSE 0 END},
        {'column': 'prompt_answer', 'n': CASE WHEN verb = 'prompt_answer' THEN n ELSE 0 END},
        {'column': 'face_check', 'n': CASE WHEN verb = 'face_check' THEN n ELSE 0 END},
        {'column': 'interaction', 'n': CASE WHEN verb = 'interaction' THEN n ELSE 0 END},
        {'column': 'complete', 'n': CASE WHEN verb = 'complete' THEN n ELSE 0 END},
        {'column': 'heartbeat', 'n': CASE WHEN verb = 'heartbeat' THEN n ELSE 0 END},
        {'column': 'terminal', 'n': CASE WHEN terminal IS NOT NULL THEN n ELSE 0 END}
    ]) AS seen_column
    FROM seen
)
SELECT
    $platform_id AS platform_id, terminal, seen_column['column'] AS "column",
    min(first_at) AS first_at, max(last_at) AS last_at, sum(seen_column['n'])::BIGINT AS n
FROM named
WHERE seen_column['n'] > 0
GROUP BY ALL;
