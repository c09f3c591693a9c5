-- One account active on two devices in the same stretch of time.
-- A device is its device_id; where a client logs none, its terminal. Address and user agent alone never tell devices apart.
WITH
-- Learning: media playing or time on a page. A segment with active_s = 0 is a mere sign of life (a login).
learning AS (
    SELECT
        platform_id, account_id, record_id, course_id, lesson_id, source, device_id, terminal, page_id, ip,
        started_at, ended_at, media_from_s,
        coalesce(device_id, terminal) AS device,
        coalesce(cadence_s, 0) AS cadence_s,
        -- a session may last longer than it counts; which part of it was idle is not known
        greatest(0, seconds_between(started_at, ended_at) - exact(active_s)) AS idle_s,
        n_interactions = 0 AND n_passed = 0 AND n_faces_passed = 0
            AND coalesce(media_to_s = media_from_s, FALSE) AS is_stale,
        (media_to_s - media_from_s) / seconds_between(started_at, ended_at) AS pace,
        coalesce(is_late_upload, FALSE) AS is_late,
        coalesce(is_clock_suspect, FALSE) AS is_skewed
    FROM segments
    WHERE active_s > 0 AND ended_at > started_at AND coalesce(device_id, terminal) IS NOT NULL
),
-- Most accounts use one device only, and most of the rest one after the other: both are left out early.
several AS (
    SELECT platform_id, account_id FROM learning GROUP BY ALL HAVING min(device) < max(device)
),
-- Islands: segments of the account that overlap one another, directly or through others.
paced AS (
    SELECT l.*,
        max(ended_at) OVER (PARTITION BY platform_id, account_id ORDER BY started_at, ended_at, device
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS account_until
    FROM learning AS l
    SEMI JOIN several USING (platform_id, account_id)
),
islands AS (
    SELECT *,
        count_if(account_until IS NULL OR started_at >= account_until)
            OVER (PARTITION BY platform_id, account_id ORDER BY started_at, ended_at, device
            ROWS UNBOUNDED PRECEDING) AS island
    FROM paced
),
crowded AS (
    SELECT platform_id, account_id, island FROM islands GROUP BY ALL HAVING min(device) < max(device)
),
-- Runs: what one device did without a break longer than join_s. A hand-over is judged on runs.
resumed AS (
    SELECT i.*,
        max(ended_at) OVER (PARTITION BY platform_id, account_id, device ORDER BY started_at, ended_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS device_until
    FROM islands AS i
    SEMI JOIN crowded USING (platform_id, account_id)
),
numbered AS (
    SELECT *,
        count_if(device_until IS NULL OR started_at > device_until + to_seconds($join_s))
            OVER (PARTITION BY platform_id, account_id, device ORDER BY started_at, ended_at
            ROWS UNBOUNDED PRECEDING) AS run
    FROM resumed
),
laid AS (
    SELECT *,
        min(started_at) OVER (PARTITION BY platform_id, account_id, device, run) AS run_started_at,
        max(ended_at) OVER (PARTITION BY platform_id, account_id, device, run) AS run_ended_at
    FROM numbered
),
overlapping AS (
    SELECT * FROM laid SEMI JOIN crowded USING (platform_id, account_id, island)
),
-- Every pair of segments that overlap on two devices, with what could explain it away.
pairs AS (
    SELECT
        a.platform_id, a.account_id, a.device AS device_a, b.device AS device_b,
        concat_ws(' ', a.terminal, nullif(a.device, a.terminal)) AS shown_a,
        concat_ws(' ', b.terminal, nullif(b.device, b.terminal)) AS shown_b,
        list_distinct([a.record_id, b.record_id]) AS records,
        greatest(a.started_at, b.started_at) AS started_at,
        -- only what cannot have been idle on either side is proven
        least(a.ended_at, b.ended_at) - to_seconds(a.idle_s + b.idle_s) AS ended_at,
        greatest(a.cadence_s, b.cadence_s) AS cadence_s,
        'sessions' IN (a.source, b.source) AS is_of_sessions,
        a.is_stale OR b.is_stale AS is_stale,
        -- One lesson at one position on both (a screen mirrored on a television). Still two devices at once; but nothing
        -- is gained by it, and whoever decides should know.
        coalesce(a.course_id = b.course_id AND a.lesson_id = b.lesson_id
            AND abs(a.media_from_s + a.pace * seconds_between(a.started_at, greatest(a.started_at, b.started_at))
                  - b.media_from_s - b.pace * seconds_between(b.started_at, greatest(a.started_at, b.started_at)))
                <= $same_position_s, FALSE) AS is_in_step,
        a.is_late OR b.is_late AS is_late,
        a.is_skewed OR b.is_skewed AS is_skewed,
        (a.run_started_at < b.run_started_at AND a.run_ended_at < b.run_ended_at)
            OR (b.run_started_at < a.run_started_at AND b.run_ended_at < a.run_ended_at) AS is_crossing
    FROM overlapping AS a
    JOIN overlapping AS b
      ON a.platform_id = b.platform_id AND a.account_id = b.account_id AND a.island = b.island
     AND a.device < b.device AND a.started_at < b.ended_at AND b.started_at < a.ended_at
    WHERE CASE WHEN a.device_id IS NOT NULL AND b.device_id IS NOT NULL THEN a.device_id <> b.device_id
               ELSE coalesce(a.terminal <> b.terminal, FALSE) END
      AND least(a.ended_at, b.ended_at) - to_seconds(a.idle_s + b.idle_s) > greatest(a.started_at, b.started_at)
),
-- What each two devices did at once, in stretches; seconds that several pairs share count once.
trusted AS (
    SELECT *,
        max(ended_at) OVER (PARTITION BY platform_id, account_id, device_a, device_b ORDER BY started_at, ended_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_until
    FROM pairs
    WHERE NOT (is_stale OR is_late OR is_skewed)
),
chained AS (
    SELECT *,
        greatest(0, seconds_between(greatest(started_at, coalesce(covered_until, started_at)), ended_at)) AS fresh_s,
        count_if(covered_until IS NULL OR started_at > covered_until + to_seconds($join_s))
            OVER (PARTITION BY platform_id, account_id, device_a, device_b ORDER BY started_at, ended_at
            ROWS UNBOUNDED PRECEDING) AS stretch
    FROM trusted
),
stretches AS (
    SELECT
        platform_id, account_id, device_a, device_b, stretch,
        sum(fresh_s) AS overlap_s,
        bool_and(is_crossing) AND sum(fresh_s) <= greatest($handover_s, $min_beats * max(cadence_s)) AS is_handover,
        greatest($min_overlap_s, $min_beats * max(cadence_s),
            CASE WHEN bool_or(is_of_sessions) THEN $sessions_min_overlap_s ELSE 0 END) AS needed_s
    FROM chained
    GROUP BY ALL
),
-- One row per record that a counted overlap touches.
touched AS (
    SELECT DISTINCT
        c.platform_id, c.account_id, unnest(c.records) AS record_id, c.started_at, c.ended_at,
        c.device_a, c.device_b, c.shown_a, c.shown_b, c.stretch, s.overlap_s
    FROM chained AS c
    JOIN stretches AS s USING (platform_id, account_id, device_a, device_b, stretch)
    WHERE s.overlap_s >= s.needed_s AND NOT s.is_handover
),
-- The union of a record's overlaps.
ordered AS (
    SELECT *,
        max(ended_at) OVER (PARTITION BY platform_id, record_id ORDER BY started_at, ended_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_until
    FROM touched
),
grouped AS (
    SELECT *,
        count_if(covered_until IS NULL OR started_at > covered_until)
            OVER (PARTITION BY platform_id, record_id ORDER BY started_at, ended_at ROWS UNBOUNDED PRECEDING) AS part
    FROM ordered
),
parts AS (
    SELECT platform_id, record_id, min(started_at) AS started_at, max(ended_at) AS ended_at
    FROM grouped
    GROUP BY platform_id, record_id, part
),
struck AS (
    SELECT
        platform_id, record_id, min(started_at) AS first, max(ended_at) AS last,
        sum(seconds_between(started_at, ended_at)) AS struck_s,
        list(strike_time(NULL, started_at, ended_at) ORDER BY started_at) AS strikes
    FROM parts
    GROUP BY ALL
),
-- Which devices, and how often.
named AS (
    SELECT
        platform_id, record_id, min(account_id) AS account_id,
        count(DISTINCT (device_a, device_b, stretch)) AS stretches,
        max(overlap_s) AS longest_s,
        arg_max(shown_a, (overlap_s, device_a, device_b)) AS device_a,
        arg_max(shown_b, (overlap_s, device_a, device_b)) AS device_b
    FROM touched
    GROUP BY ALL
),
-- The honest explanations, each with what was seen of it in the record.
excused AS (
    SELECT
        platform_id, u.record_id,
        sum(seconds_between(started_at, ended_at)) FILTER (WHERE is_stale) AS stale_s,
        sum(seconds_between(started_at, ended_at)) FILTER (WHERE is_in_step) AS in_step_s,
        sum(seconds_between(started_at, ended_at)) FILTER (WHERE is_late) AS late_s,
        sum(seconds_between(started_at, ended_at)) FILTER (WHERE is_skewed) AS skewed_s
    FROM pairs CROSS JOIN unnest(records) AS u(record_id)
    GROUP BY ALL
),
handed_over AS (
    SELECT c.platform_id, u.record_id,
        count(DISTINCT (device_a, device_b, stretch)) AS handovers, sum(c.fresh_s) AS handover_s
    FROM chained AS c
    JOIN stretches AS s USING (platform_id, account_id, device_a, device_b, stretch)
    CROSS JOIN unnest(c.records) AS u(record_id)
    WHERE s.is_handover
    GROUP BY ALL
),
owned AS (
    SELECT l.platform_id, l.record_id, l.device, min(l.course_id) AS course_id,
        count(DISTINCT l.page_id) AS pages, count(DISTINCT l.ip) AS networks,
        sum(seconds_between(l.started_at, l.ended_at)) AS active_s
    FROM laid AS l
    SEMI JOIN struck AS s USING (platform_id, record_id)
    GROUP BY ALL
),
records AS (
    SELECT platform_id, record_id, min(course_id) AS course_id, count(*) AS devices,
        max(pages) AS pages, max(networks) AS networks, sum(active_s) AS active_s
    FROM owned
    GROUP BY ALL
)
SELECT
    s.platform_id, n.account_id, s.record_id, r.course_id, s.first AS started_at, s.last AS ended_at,
    least(1, s.struck_s / r.active_s) AS score, s.struck_s, s.strikes,
    {
        'device_a': n.device_a,
        'device_b': n.device_b,
        'devices': r.devices,
        'stretches': n.stretches,
        'overlap_s': s.struck_s,
        'longest_s': n.longest_s,
        'in_step_s': coalesce(e.in_step_s, 0),
        'first': s.first,
        'last': s.last,
        'examined': {
            'handover': {'found': h.record_id IS NOT NULL, 'times': coalesce(h.handovers, 0),
                         'seconds': coalesce(h.handover_s, 0)},
            'stale_login': {'found': e.stale_s IS NOT NULL, 'seconds': coalesce(e.stale_s, 0)},
            'network_change': {'found': r.networks > 1, 'networks': r.networks},
            'page_reload': {'found': r.pages > 1, 'pages': r.pages},
            'late_upload': {'found': e.late_s IS NOT NULL, 'seconds': coalesce(e.late_s, 0)},
            'clock_skew': {'found': e.skewed_s IS NOT NULL, 'seconds': coalesce(e.skewed_s, 0)}
        }
    } AS facts
FROM struck AS s
JOIN named AS n USING (platform_id, record_id)
JOIN records AS r USING (platform_id, record_id)
LEFT JOIN excused AS e USING (platform_id, record_id)
LEFT JOIN handed_over AS h USING (platform_id, record_id)
