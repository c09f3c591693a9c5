-- What arrived since the last run: records named by new rows, and the same person's records of the same days
-- (their time is shared). A row that says what was said before is no news.
CREATE OR REPLACE TEMP TABLE news AS
SELECT n.*
FROM (
    SELECT platform_id, account_id, course_id, day FROM new_segments
    UNION
    SELECT platform_id, account_id, course_id, NULL::DATE AS day FROM new_completions
    UNION
    SELECT platform_id, account_id, course_id, NULL::DATE AS day FROM new_checks
) AS n
-- a day that was opened again holds the logs of many: only the accounts in the files that came are news
SEMI JOIN new_accounts AS a USING (platform_id, account_id);

CREATE OR REPLACE TEMP TABLE touched AS
-- logs of the record itself
SELECT k.platform_id, k.record_id
FROM known_records AS k
JOIN news AS n USING (platform_id, account_id, course_id)
UNION
-- logs of the same person on the same day
SELECT k.platform_id, k.record_id
FROM known_records AS k
LEFT JOIN accounts AS a USING (platform_id, account_id)
JOIN condensed_segments AS s
  ON s.platform_id = k.platform_id AND s.account_id = k.account_id AND s.course_id = k.course_id
JOIN (
    SELECT DISTINCT coalesce(b.learner_id, n.platform_id || chr(31) || n.account_id) AS person, n.day
    FROM news AS n
    LEFT JOIN accounts AS b USING (platform_id, account_id)
    WHERE n.day IS NOT NULL
) AS p ON p.person = coalesce(a.learner_id, k.platform_id || chr(31) || k.account_id) AND p.day = s.day
UNION
-- the claim
SELECT platform_id, record_id FROM new_records
UNION
-- who the learner is
SELECT k.platform_id, k.record_id FROM known_records AS k JOIN new_roster AS r USING (platform_id, account_id)
UNION
SELECT k.platform_id, k.record_id FROM known_records AS k JOIN new_registry AS r USING (learner_id)
UNION
SELECT k.platform_id, k.record_id FROM known_records AS k JOIN new_certificates AS c USING (learner_id)
UNION
-- what the course is
SELECT k.platform_id, k.record_id FROM known_records AS k JOIN new_lessons AS l USING (platform_id, course_id)
UNION
SELECT k.platform_id, k.record_id FROM known_records AS k JOIN new_attempts AS t USING (platform_id, account_id)
UNION
SELECT k.platform_id, k.record_id FROM known_records AS k JOIN new_corrections AS c
  ON c.platform_id = k.platform_id AND (c.key = k.record_id OR c.key = k.account_id);
