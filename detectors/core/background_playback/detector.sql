-- Learning time counted while the page is not in front, or while several pages of one device play at once.
-- Two devices at once are the business of concurrent_sessions.
WITH
kinds AS (
    SELECT platform_id, course_id, lesson_id,
        coalesce(is_audio, kind = 'audio', FALSE) AS is_audio,
        -- a lesson of unknown kind is taken for media
        coalesce(kind, 'video') IN ('video', 'audio', 'live') AS is_media
    FROM lessons
),
learning AS (
    SELECT
        s.platform_id, s.account_id, s.record_id, s.course_id, s.lesson_id, s.device_id, s.terminal, s.page_id,
        s.session_id, s.source, s.started_at, s.ended_at,
        exact(s.active_s) AS active_s, exact(s.hidden_s) AS hidden_s,
        coalesce(s.is_hidden, FALSE) AS is_hidden,
        coalesce(s.cadence_s, 0) AS cadence_s,
        s.n_interactions + s.n_passed + s.n_faces_passed AS signs,
        greatest(0, seconds_between(s.started_at, s.ended_at) - exact(s.active_s)) AS idle_s,
        coalesce(k.is_audio, FALSE) AS is_audio,
        coalesce(k.is_media, TRUE) AS is_media,
        coalesce(s.is_late_upload, FALSE) OR coalesce(s.is_clock_suspect, FALSE) AS is_unplaced,
        s.n_interactions = 0 AND coalesce(s.media_to_s = s.media_from_s, FALSE) AS is_standing
    FROM segments AS s
    LEFT JOIN kinds AS k USING (platform_id, course_id, lesson_id)
    WHERE s.active_s > 0 AND s.ended_at > s.started_at
),

-- Part one: the page is not in front ------------------------------------------------------------------------------
-- A run is hidden time of one page without a look at it in between, however many lessons or seeks it spans.
looked_away AS (
    SELECT platform_id, account_id FROM learning WHERE is_hidden GROUP BY ALL
),
in_turn AS (
    SELECT l.*,
        lag(is_hidden) OVER page_order AS was_hidden,
        lag(ended_at) OVER page_order AS was_until
    FROM learning AS l
    SEMI JOIN looked_away USING (platform_id, account_id)
    WINDOW page_order AS (PARTITION BY platform_id, account_id, device_id, page_id, session_id ORDER BY started_at, ended_at)
),
in_runs AS (
    SELECT *,
        count_if(was_until IS NULL OR is_hidden <> was_hidden OR started_at > was_until + to_seconds($join_s))
            OVER (PARTITION BY platform_id, account_id, device_id, page_id, session_id ORDER BY started_at, ended_at
            ROWS UNBOUNDED PRECEDING) AS run
    FROM in_turn
),
hidden AS (
    SELECT *,
        sum(hidden_s) FILTER (WHERE NOT is_audio) OVER one_run AS run_s,
        sum(signs) OVER one_run AS run_signs
    FROM in_runs
    WHERE is_hidden
    WINDOW one_run AS (PARTITION BY platform_id, account_id, device_id, page_id, session_id, run)
),
judged AS (
    SELECT *,
        CASE WHEN is_audio THEN 'audio'
             WHEN run_s <= $switch_away_s THEN 'short'
             WHEN is_standing THEN 'standing'
             WHEN run_signs * $presence_every_s >= run_s THEN 'present'
             ELSE 'found' END AS verdict
    FROM hidden
),
hidden_records AS (
    SELECT platform_id, record_id,
        coalesce(sum(hidden_s) FILTER (WHERE verdict = 'found'), 0) AS hidden_s,
        count(DISTINCT (device_id, page_id, session_id, run)) FILTER (WHERE verdict = 'found') AS runs,
        coalesce(sum(hidden_s) FILTER (WHERE verdict = 'audio'), 0) AS audio_s,
        coalesce(sum(hidden_s) FILTER (WHERE verdict = 'short'), 0) AS short_s,
        coalesce(sum(hidden_s) FILTER (WHERE verdict = 'standing'), 0) AS standing_s,
        coalesce(sum(hidden_s) FILTER (WHERE verdict = 'present'), 0) AS present_s
    FROM judged
    GROUP BY ALL
),

-- Part two: several pages at once ---------------------------------------------------------------------------------
-- Islands: segments of the account that overlap one another. Most accounts have none.
spread AS (
    SELECT platform_id, account_id, started_at, ended_at, lesson_id,
        max(ended_at) OVER (PARTITION BY platform_id, account_id ORDER BY started_at, ended_at, lesson_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS busy_until
    FROM learning
),
busy AS (
    SELECT platform_id, account_id FROM spread WHERE started_at < busy_until GROUP BY ALL
),
paced AS (
    SELECT l.*, row_number() OVER account_order AS n,
        max(ended_at) OVER (account_order ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS busy_until
    FROM learning AS l
    SEMI JOIN busy USING (platform_id, account_id)
    WINDOW account_order AS (PARTITION BY platform_id, account_id
        ORDER BY started_at, ended_at, lesson_id, page_id, session_id, device_id, active_s)
),
islands AS (
    SELECT *,
        count_if(busy_until IS NULL OR started_at >= busy_until)
            OVER (PARTITION BY platform_id, account_id ORDER BY n ROWS UNBOUNDED PRECEDING) AS island
    FROM paced
),
pairs AS (
    SELECT
        a.platform_id, a.account_id, list_distinct([a.record_id, b.record_id]) AS records,
        -- of the two the one that was opened onto the other
        a.island, b.n AS opened,
        least(a.lesson_id, b.lesson_id) AS lesson_a, greatest(a.lesson_id, b.lesson_id) AS lesson_b,
        greatest(a.started_at, b.started_at) AS started_at,
        -- only what cannot have been idle on either side is proven
        least(a.ended_at, b.ended_at) - to_seconds(a.idle_s + b.idle_s) AS ended_at,
        greatest(a.cadence_s, b.cadence_s) AS cadence_s,
        'sessions' IN (a.source, b.source) AS is_of_sessions,
        CASE WHEN a.lesson_id = b.lesson_id THEN 'duplicate'
             WHEN NOT (a.is_media AND b.is_media) THEN 'slides'
             WHEN a.is_unplaced OR b.is_unplaced THEN 'unplaced'
             WHEN a.is_standing OR b.is_standing THEN 'standing'
             ELSE 'found' END AS verdict
    FROM islands AS a
    JOIN islands AS b
      ON a.platform_id = b.platform_id AND a.account_id = b.account_id AND a.island = b.island
     AND a.n < b.n AND a.started_at < b.ended_at AND b.started_at < a.ended_at
    WHERE CASE WHEN a.device_id IS NOT NULL AND b.device_id IS NOT NULL THEN a.device_id = b.device_id
               ELSE coalesce(a.terminal = b.terminal, TRUE) END
      AND coalesce(a.page_id <> b.page_id, a.session_id <> b.session_id, FALSE)
      AND least(a.ended_at, b.ended_at) - to_seconds(a.idle_s + b.idle_s) > greatest(a.started_at, b.started_at)
),
followed AS (
    SELECT *,
        max(ended_at) OVER (PARTITION BY platform_id, account_id, lesson_a, lesson_b, verdict ORDER BY started_at, ended_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_until
    FROM pairs
    WHERE verdict = 'found'
),
chained AS (
    SELECT *,
        greatest(0, seconds_between(greatest(started_at, coalesce(covered_until, started_at)), ended_at)) AS fresh_s,
        count_if(covered_until IS NULL OR started_at > covered_until + to_seconds($join_s))
            OVER (PARTITION BY platform_id, account_id, lesson_a, lesson_b ORDER BY started_at, ended_at
            ROWS UNBOUNDED PRECEDING) AS stretch
    FROM followed
),
stretches AS (
    SELECT platform_id, account_id, lesson_a, lesson_b, stretch
    FROM chained
    GROUP BY ALL
    HAVING sum(fresh_s) >= greatest($min_overlap_s, $min_beats * max(cadence_s),
        CASE WHEN bool_or(is_of_sessions) THEN $sessions_min_overlap_s ELSE 0 END)
),
counted AS (
    SELECT c.* FROM chained AS c SEMI JOIN stretches USING (platform_id, account_id, lesson_a, lesson_b, stretch)
),
at_once AS (
    SELECT platform_id, account_id, island, opened, min(records) AS records, count(*) + 1 AS pages
    FROM counted
    GROUP BY platform_id, account_id, island, opened
),
most_at_once AS (
    SELECT a.platform_id, u.record_id, max(a.pages) AS pages
    FROM at_once AS a CROSS JOIN unnest(a.records) AS u(record_id)
    GROUP BY ALL
),
page_parts AS (
    SELECT c.platform_id, u.record_id, c.started_at, c.ended_at,
        max(c.ended_at) OVER (PARTITION BY c.platform_id, u.record_id ORDER BY c.started_at, c.ended_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_until
    FROM counted AS c CROSS JOIN unnest(c.records) AS u(record_id)
),
page_records AS (
    SELECT platform_id, record_id,
        sum(greatest(0, seconds_between(greatest(started_at, coalesce(covered_until, started_at)), ended_at))) AS pages_s
    FROM page_parts
    GROUP BY ALL
),
beside AS (
    SELECT p.platform_id, u.record_id,
        coalesce(sum(seconds_between(started_at, ended_at)) FILTER (WHERE verdict = 'duplicate'), 0) AS duplicate_s,
        coalesce(sum(seconds_between(started_at, ended_at)) FILTER (WHERE verdict = 'slides'), 0) AS slides_s,
        coalesce(sum(seconds_between(started_at, ended_at)) FILTER (WHERE verdict = 'unplaced'), 0) AS unplaced_s,
        coalesce(sum(seconds_between(started_at, ended_at)) FILTER (WHERE verdict = 'standing'), 0) AS standing_s
    FROM pairs AS p CROSS JOIN unnest(p.records) AS u(record_id)
    GROUP BY ALL
),

-- Both parts, record by record ------------------------------------------------------------------------------------
totals AS (
    SELECT platform_id, record_id, min(account_id) AS account_id, min(course_id) AS course_id, sum(active_s) AS active_s
    FROM learning
    SEMI JOIN (
        SELECT platform_id, record_id FROM hidden_records WHERE hidden_s > 0
        UNION SELECT platform_id, record_id FROM page_records
    ) AS concerned USING (platform_id, record_id)
    GROUP BY ALL
),
verdicts AS (
    SELECT t.*,
        coalesce(h.hidden_s >= $min_hidden_s AND h.hidden_s >= $min_hidden_share * t.active_s, FALSE) AS is_hidden,
        coalesce(p.pages_s >= $min_pages_s, FALSE) AS is_pages,
        h.hidden_s, h.runs, p.pages_s
    FROM totals AS t
    LEFT JOIN hidden_records AS h USING (platform_id, record_id)
    LEFT JOIN page_records AS p USING (platform_id, record_id)
),
-- Hidden time is struck in its own lesson; with several pages the whole stretch is, whatever the lesson.
parts AS (
    SELECT j.platform_id, j.record_id, j.lesson_id, j.ended_at - to_seconds(j.hidden_s) AS started_at, j.ended_at
    FROM judged AS j
    JOIN verdicts AS v USING (platform_id, record_id)
    WHERE j.verdict = 'found' AND v.is_hidden
    UNION ALL
    SELECT p.platform_id, p.record_id, NULL AS lesson_id, p.started_at, p.ended_at
    FROM page_parts AS p
    JOIN verdicts AS v USING (platform_id, record_id)
    WHERE v.is_pages
),
ordered AS (
    SELECT *,
        max(ended_at) OVER (PARTITION BY platform_id, record_id, lesson_id ORDER BY started_at, ended_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS lesson_until,
        max(ended_at) OVER (PARTITION BY platform_id, record_id ORDER BY started_at, ended_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_until
    FROM parts
),
grouped AS (
    SELECT *,
        greatest(0, seconds_between(greatest(started_at, coalesce(covered_until, started_at)), ended_at)) AS fresh_s,
        count_if(lesson_until IS NULL OR started_at > lesson_until)
            OVER (PARTITION BY platform_id, record_id, lesson_id ORDER BY started_at, ended_at ROWS UNBOUNDED PRECEDING) AS part
    FROM ordered
),
merged AS (
    SELECT platform_id, record_id, lesson_id, part,
        min(started_at) AS started_at, max(ended_at) AS ended_at, sum(fresh_s) AS fresh_s
    FROM grouped
    GROUP BY ALL
),
struck AS (
    SELECT platform_id, record_id, min(started_at) AS first, max(ended_at) AS last, sum(fresh_s) AS struck_s,
        list(strike_time(lesson_id, started_at, ended_at) ORDER BY started_at, ended_at, lesson_id) AS strikes
    FROM merged
    GROUP BY ALL
)
SELECT
    v.platform_id, v.account_id, v.record_id, v.course_id, s.first AS started_at, s.last AS ended_at,
    least(1, s.struck_s / v.active_s) AS score, s.struck_s, s.strikes,
    {
        'variant': CASE WHEN v.is_hidden AND v.is_pages THEN 'both' WHEN v.is_hidden THEN 'hidden' ELSE 'pages' END,
        'hidden_s': CASE WHEN v.is_hidden THEN v.hidden_s ELSE 0 END,
        'hidden_share': CASE WHEN v.is_hidden THEN v.hidden_s / v.active_s ELSE 0 END,
        'runs': CASE WHEN v.is_hidden THEN v.runs ELSE 0 END,
        'pages_s': CASE WHEN v.is_pages THEN v.pages_s ELSE 0 END,
        'pages': CASE WHEN v.is_pages THEN m.pages ELSE 1 END,
        'active_s': v.active_s,
        'first': s.first,
        'last': s.last,
        'examined': {
            'short_switch': {'found': coalesce(h.short_s > 0, FALSE), 'seconds': coalesce(h.short_s, 0)},
            'audio_lesson': {'found': coalesce(h.audio_s > 0, FALSE), 'seconds': coalesce(h.audio_s, 0)},
            'second_screen': {'found': coalesce(h.present_s > 0, FALSE), 'seconds': coalesce(h.present_s, 0)},
            'auto_pause': {'found': coalesce(h.standing_s, 0) + coalesce(b.standing_s, 0) > 0,
                           'seconds': coalesce(h.standing_s, 0) + coalesce(b.standing_s, 0)},
            'duplicate_tab': {'found': coalesce(b.duplicate_s > 0, FALSE), 'seconds': coalesce(b.duplicate_s, 0)},
            'slides_tab': {'found': coalesce(b.slides_s > 0, FALSE), 'seconds': coalesce(b.slides_s, 0)},
            'unplaced_time': {'found': coalesce(b.unplaced_s > 0, FALSE), 'seconds': coalesce(b.unplaced_s, 0)}
        }
    } AS facts
FROM verdicts AS v
JOIN struck AS s USING (platform_id, record_id)
LEFT JOIN hidden_records AS h USING (platform_id, record_id)
LEFT JOIN most_at_once AS m USING (platform_id, record_id)
LEFT JOIN beside AS b USING (platform_id, record_id)
