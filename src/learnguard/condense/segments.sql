-- Plain pages are one segment each; walked pages one per stretch. Then presence checks are laid on them.
CREATE OR REPLACE TEMP TABLE laid AS
WITH disorder AS (
    -- where media runs backwards in a noticeable share of steps, the order of the rows cannot be trusted
    SELECT coalesce(sum(n_back) >= $suspect_least AND sum(n_back) > $suspect_share * sum(n_advances), FALSE) AS is_whole_day
    FROM stretches
),
page_disorder AS (
    SELECT page_key, sum(n_back) >= $suspect_least AND sum(n_back) > $suspect_page_share * sum(n_advances) AS is_page
    FROM stretches
    GROUP BY page_key
),
pieces AS (
    SELECT
        p.page_key, p.from_us, p.to_us, p.media_from_s, p.media_to_s, NULL::DOUBLE AS skipped_s,
        CASE WHEN p.has_rate THEN p.rate END AS rate,
        CASE WHEN p.has_visible THEN FALSE END AS is_hidden,
        p.n - p.n_touches AS n_events, 0 AS n_touches, p.is_late_upload, FALSE AS is_clock_suspect
    FROM pages AS p
    WHERE p.is_plain
    UNION ALL BY NAME
    SELECT
        s.page_key, s.from_us, s.to_us, s.media_from_s, s.media_to_s, s.skipped_s, s.rate_code / $rate_scale AS rate,
        CASE s.hid WHEN 0 THEN TRUE WHEN 1 THEN FALSE END AS is_hidden,
        s.n AS n_events, s.n_touches, s.is_late_upload, d.is_whole_day OR p.is_page AS is_clock_suspect
    FROM stretches AS s
    JOIN page_disorder AS p USING (page_key), disorder AS d
)
SELECT
    p.account_id, p.course_id, p.lesson_id, p.session_id, p.device_id, p.page_id, p.terminal, p.ip, p.user_agent,
    x.*, make_timestamptz(x.from_us) AS started_at, make_timestamptz(x.to_us) AS ended_at,
    b.beat_s, CASE WHEN p.is_player THEN b.gap_s ELSE $silent_gap_s END AS gap_s
FROM pieces AS x
JOIN pages AS p USING (page_key)
JOIN beats AS b ON b.terminal = coalesce(p.terminal, '');

CREATE OR REPLACE TEMP TABLE played AS
SELECT page_key, started_at, ended_at FROM laid WHERE ended_at > started_at;

-- Touches of pages that beat (the walk counts the others): each belongs to the last segment of its page that had begun.
-- One delivered twice counts once.
CREATE OR REPLACE TEMP TABLE touched AS
SELECT t.page_key, coalesce(l.started_at, f.started_at) AS started_at, count(*) AS n
FROM (
    SELECT DISTINCT p.page_key, e.ts AS touched_at
    FROM day_events AS e
    JOIN (SELECT page_key FROM pages WHERE n_touches > 0 AND is_beating) AS p
      ON p.page_key = hash(e.account_id, e.device_id, coalesce(e.page_id, e.session_id), e.lesson_id)
    WHERE e.verb = 'interaction' AND NOT e.is_tail
) AS t
JOIN (SELECT page_key, min(started_at) AS started_at FROM played GROUP BY page_key) AS f USING (page_key)
ASOF LEFT JOIN played AS l ON l.page_key = t.page_key AND t.touched_at >= l.started_at
GROUP BY ALL;

-- A check belongs to the last segment of its page that had begun.
CREATE OR REPLACE TEMP TABLE placed_checks AS
SELECT c.*, c.checked_at + to_seconds($answer_window_s::BIGINT) AS answer_by, l.started_at AS segment_started_at
FROM met_checks AS c
ASOF LEFT JOIN played AS l ON l.page_key = c.page_key AND c.checked_at >= l.started_at;

CREATE OR REPLACE TEMP TABLE kept_checks AS
SELECT * EXCLUDE (answer_by) FROM placed_checks WHERE result IS NOT NULL
UNION ALL BY NAME
SELECT k.* EXCLUDE (answer_by, result), 'timeout' AS result
FROM (SELECT * FROM placed_checks WHERE result IS NULL) AS k
ASOF LEFT JOIN played AS l ON l.page_key = k.page_key AND k.answer_by >= l.started_at
-- A prompt that nothing answered counts as missed only where this client logs answers and its page was playing both
-- at the prompt and when the time to answer was over: a page closed or paused under the prompt missed nothing.
WHERE k.segment_started_at IS NOT NULL AND l.ended_at > k.answer_by
  AND EXISTS (SELECT 1 FROM unit_capabilities AS a
              WHERE a."column" = 'prompt_answer' AND a.terminal IS NOT DISTINCT FROM k.terminal);

CREATE OR REPLACE TEMP TABLE unit_segments AS
SELECT
    $platform_id AS platform_id, l.account_id, NULL::VARCHAR AS learner_id, NULL::VARCHAR AS record_id,
    l.course_id, l.lesson_id, l.session_id, l.device_id, l.page_id, l.terminal, l.ip, l.user_agent,
    'events' AS source, l.started_at, l.ended_at,
    (l.to_us - l.from_us) / 1000000 AS active_s,
    l.media_from_s, l.media_to_s, l.skipped_s, l.rate, l.is_hidden,
    CASE WHEN l.is_hidden THEN (l.to_us - l.from_us) / 1000000 WHEN NOT l.is_hidden THEN 0 END AS hidden_s,
    l.n_events + coalesce(t.n, 0) AS n_events, l.n_touches + coalesce(t.n, 0) AS n_interactions,
    coalesce(c.n_passed, 0) AS n_passed, coalesce(c.n_missed, 0) AS n_missed,
    coalesce(c.n_faces_passed, 0) AS n_faces_passed, coalesce(c.n_faces_failed, 0) AS n_faces_failed,
    l.beat_s AS cadence_s, l.gap_s, l.is_late_upload, l.is_clock_suspect,
    $day::DATE AS day
FROM laid AS l
LEFT JOIN (
    SELECT page_key, segment_started_at,
        count_if(kind = 'prompt' AND result = 'pass') AS n_passed,
        count_if(kind = 'prompt' AND result <> 'pass') AS n_missed,
        count_if(kind = 'face' AND result = 'pass') AS n_faces_passed,
        count_if(kind = 'face' AND result <> 'pass') AS n_faces_failed
    FROM kept_checks
    GROUP BY page_key, segment_started_at
) AS c
-- (one equality: a condition on the left side alone would turn the hash join into a nested loop)
  ON c.page_key = l.page_key AND c.segment_started_at = CASE WHEN l.ended_at > l.started_at THEN l.started_at END
LEFT JOIN touched AS t
  ON t.page_key = l.page_key AND t.started_at = CASE WHEN l.ended_at > l.started_at THEN l.started_at END
-- a lone row without activity is kept only where it says something: a jump, or a page seen at all
WHERE l.ended_at > l.started_at OR l.skipped_s IS NOT NULL OR l.n_touches > 0;

CREATE OR REPLACE TEMP TABLE unit_checks AS
SELECT
    $platform_id AS platform_id, account_id, NULL::VARCHAR AS learner_id, NULL::VARCHAR AS record_id, course_id, lesson_id,
    session_id, device_id, page_id, checked_at, kind, result, value
FROM kept_checks;

CREATE OR REPLACE TEMP TABLE unit_completions AS
SELECT
    $platform_id AS platform_id, account_id, NULL::VARCHAR AS learner_id, NULL::VARCHAR AS record_id, course_id, lesson_id,
    min(ts) AS completed_at, NULL::DOUBLE AS counted_s, 'complete' AS source
FROM day_events
WHERE verb = 'complete' AND lesson_id IS NOT NULL AND ts >= $day_from
GROUP BY ALL;
