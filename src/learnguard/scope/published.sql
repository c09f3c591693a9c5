-- What the report and the case page need beside findings and decisions, for flagged records only.
CREATE OR REPLACE TABLE people AS
SELECT
    c.platform_id, c.record_id,
    -- 张* : the first character stays, the others become as many stars, three at the most
    CASE WHEN a.name IS NULL OR trim(a.name) = '' THEN NULL
         ELSE left(trim(a.name), 1) || repeat('*', greatest(1, least(3, length(trim(a.name)) - 1))::BIGINT) END AS name_masked,
    a.id_masked,
    NULL::VARCHAR AS course_title
FROM claims AS c
LEFT JOIN accounts AS a USING (platform_id, account_id)
ORDER BY c.platform_id, c.record_id;

CREATE OR REPLACE TABLE timeline AS
SELECT
    s.platform_id, f.record_id, s.record_id AS own_record_id, s.account_id, s.device_id, s.page_id, s.lesson_id,
    l.title AS lesson_title, s.started_at, s.ended_at, s.active_s, s.is_hidden, s.rate, s.source, s.day
FROM (SELECT DISTINCT platform_id, record_id FROM findings WHERE record_id IS NOT NULL) AS f
JOIN claims AS c USING (platform_id, record_id)
JOIN segments AS s ON s.platform_id = c.platform_id AND s.account_id = c.account_id AND s.active_s > 0
LEFT JOIN lessons AS l ON l.platform_id = s.platform_id AND l.course_id = s.course_id AND l.lesson_id = s.lesson_id
ORDER BY s.platform_id, f.record_id, s.started_at, s.ended_at, s.device_id, s.page_id, s.lesson_id;

CREATE OR REPLACE TABLE timeline_checks AS
SELECT k.platform_id, f.record_id, k.checked_at, k.kind, k.result
FROM (SELECT DISTINCT platform_id, record_id FROM findings WHERE record_id IS NOT NULL) AS f
JOIN claims AS c USING (platform_id, record_id)
JOIN checks AS k ON k.platform_id = c.platform_id AND k.account_id = c.account_id
WHERE k.kind IN ('prompt', 'face')
ORDER BY k.platform_id, f.record_id, k.checked_at, k.kind, k.result;
