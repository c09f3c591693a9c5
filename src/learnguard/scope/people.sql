-- Who stands behind an account, and which records there are. An account has one learner: the roster's, or, where
-- no roster names it, its records'.
CREATE OR REPLACE TEMP TABLE accounts AS
SELECT
    platform_id, account_id, coalesce(r.learner_id, c.learner_id) AS learner_id, r.learner_id IS NOT NULL AS is_on_roster,
    r.name, r.id_masked, r.institution_id, r.class_id
FROM (
    SELECT
        platform_id, account_id,
        max(learner_id) AS learner_id, max(name) AS name, max(id_masked) AS id_masked,
        max(institution_id) AS institution_id, max(class_id) AS class_id
    FROM main.roster
    GROUP BY platform_id, account_id
) AS r
FULL JOIN (
    SELECT platform_id, account_id, max(learner_id) AS learner_id FROM main.records GROUP BY platform_id, account_id
) AS c USING (platform_id, account_id);

-- Claims as delivered; where a platform has delivered no records at all, each account and course of its logs is one.
CREATE OR REPLACE TEMP TABLE known_records AS
SELECT
    r.platform_id, r.record_id, r.account_id,
    CASE WHEN a.is_on_roster THEN a.learner_id ELSE coalesce(r.learner_id, a.learner_id) END AS learner_id,
    coalesce(r.institution_id, a.institution_id) AS institution_id, coalesce(r.class_id, a.class_id) AS class_id,
    r.course_id, r.occupation, r.subsidy_type, r.skill_level,
    r.claimed_hours * $class_hour_s AS claimed_s, r.required_hours * $class_hour_s AS required_s,
    r.started_at, r.completed_at, r.claimed_at, r.subsidy_cny, r.score
FROM main.records AS r
LEFT JOIN accounts AS a USING (platform_id, account_id)
UNION ALL BY NAME
SELECT
    s.platform_id, s.account_id || '/' || s.course_id AS record_id, s.account_id, a.learner_id,
    a.institution_id, a.class_id, s.course_id
FROM (
    SELECT DISTINCT platform_id, account_id, course_id FROM condensed_segments WHERE course_id IS NOT NULL
    UNION
    SELECT DISTINCT platform_id, account_id, course_id FROM condensed_completions WHERE course_id IS NOT NULL
) AS s
LEFT JOIN accounts AS a USING (platform_id, account_id)
WHERE s.platform_id NOT IN (SELECT DISTINCT platform_id FROM main.records);

-- An account may claim one course more than once: log rows go to the first record that was completed after them, and
-- what came after all of them to the last. Of records completed at one instant the first by name has the rows.
CREATE OR REPLACE TEMP TABLE record_spans AS
WITH ended AS (
    SELECT platform_id, account_id, course_id, record_id, completed_at
    FROM known_records
    QUALIFY row_number() OVER (PARTITION BY platform_id, account_id, course_id, completed_at ORDER BY record_id) = 1
)
SELECT
    platform_id, account_id, course_id, record_id,
    coalesce(lag(completed_at) OVER in_turn, TIMESTAMPTZ '-infinity') AS after_at,
    CASE WHEN lead(record_id) OVER in_turn IS NULL THEN TIMESTAMPTZ 'infinity' ELSE completed_at END AS until_at
FROM ended
WINDOW in_turn AS (PARTITION BY platform_id, account_id, course_id ORDER BY completed_at NULLS LAST, record_id);
