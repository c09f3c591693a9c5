-- The tables that detectors read, for the records in scope and the people behind them.
CREATE OR REPLACE TEMP TABLE scope_people AS
SELECT coalesce(k.learner_id, k.platform_id || chr(31) || k.account_id) AS person
FROM known_records AS k
SEMI JOIN touched AS t USING (platform_id, record_id)
UNION
SELECT coalesce(a.learner_id, k.platform_id || chr(31) || k.account_id) AS person
FROM known_records AS k
SEMI JOIN touched AS t USING (platform_id, record_id)
LEFT JOIN accounts AS a USING (platform_id, account_id);

-- all accounts of these people, whatever the platform; each account once
CREATE OR REPLACE TEMP TABLE scope_accounts AS
SELECT platform_id, account_id, a.learner_id
FROM (
    SELECT platform_id, account_id FROM accounts
    UNION
    SELECT platform_id, account_id FROM known_records
)
LEFT JOIN accounts AS a USING (platform_id, account_id)
WHERE coalesce(a.learner_id, platform_id || chr(31) || account_id) IN (SELECT person FROM scope_people);

CREATE OR REPLACE TEMP TABLE lessons AS
SELECT
    * EXCLUDE (delivery_id),
    coalesce(kind = 'audio', FALSE) OR coalesce(title LIKE '%（音频）%' OR title LIKE '%(音频)%', FALSE) AS is_audio
FROM main.lessons;

CREATE OR REPLACE TEMP TABLE capabilities AS
WITH seen AS (
    SELECT platform_id, terminal, "column", min(first_at) AS first_at, max(last_at) AS last_at, sum(n)::BIGINT AS n
    FROM condensed_capabilities
    GROUP BY ALL
)
SELECT * FROM seen
UNION ALL
-- not a column but a quality: rows whose times agree with one another
SELECT platform_id, terminal, 'clock_order', min(first_at), max(last_at), max(n)
FROM seen
WHERE platform_id NOT IN (SELECT platform_id FROM disordered)
GROUP BY platform_id, terminal;

CREATE OR REPLACE TEMP TABLE segments AS
SELECT
    s.* REPLACE (
        a.learner_id AS learner_id,
        r.record_id AS record_id,
        -- a client that logs visibility and said nothing was in front
        CASE WHEN s.is_hidden IS NULL AND v.platform_id IS NOT NULL THEN FALSE ELSE s.is_hidden END AS is_hidden,
        CASE WHEN s.is_hidden IS NULL AND v.platform_id IS NOT NULL THEN 0 ELSE s.hidden_s END AS hidden_s
    )
FROM condensed_segments AS s
JOIN scope_accounts AS a USING (platform_id, account_id)
LEFT JOIN record_spans AS r
  ON r.platform_id = s.platform_id AND r.account_id = s.account_id AND r.course_id = s.course_id
 AND s.started_at > r.after_at AND s.started_at <= r.until_at
LEFT JOIN (SELECT DISTINCT platform_id, terminal FROM capabilities WHERE "column" = 'visible') AS v
  ON v.platform_id = s.platform_id AND v.terminal IS NOT DISTINCT FROM s.terminal;

CREATE OR REPLACE TEMP TABLE checks AS
SELECT
    c.* REPLACE (
        a.learner_id AS learner_id,
        r.record_id AS record_id
    )
FROM condensed_checks AS c
JOIN scope_accounts AS a USING (platform_id, account_id)
LEFT JOIN record_spans AS r
  ON r.platform_id = c.platform_id AND r.account_id = c.account_id AND r.course_id = c.course_id
 AND c.checked_at > r.after_at AND c.checked_at <= r.until_at;

-- A lesson is counted once per record: by the platform's own word (complete), else by what its sessions add up to.
CREATE OR REPLACE TEMP TABLE completions AS
WITH placed AS (
    SELECT
        c.* REPLACE (
            a.learner_id AS learner_id,
            r.record_id AS record_id
        )
    -- where the order of rows cannot be trusted, what was played before a lesson was completed is not known
    FROM (SELECT * FROM condensed_completions WHERE platform_id NOT IN (SELECT platform_id FROM disordered)) AS c
    JOIN scope_accounts AS a USING (platform_id, account_id)
    LEFT JOIN record_spans AS r
      ON r.platform_id = c.platform_id AND r.account_id = c.account_id AND r.course_id = c.course_id
     AND c.completed_at > r.after_at AND c.completed_at <= r.until_at
),
counted AS (
    SELECT
        platform_id, account_id, learner_id, record_id, course_id, lesson_id, source,
        CASE source WHEN 'complete' THEN min(completed_at) ELSE max(completed_at) END AS completed_at,
        sum(counted_s) AS counted_s
    FROM placed
    GROUP BY platform_id, account_id, learner_id, record_id, course_id, lesson_id, source
)
SELECT
    c.platform_id, c.account_id, c.learner_id, c.record_id, c.course_id, c.lesson_id, c.completed_at,
    CASE c.source WHEN 'complete' THEN l.duration_s ELSE c.counted_s END AS counted_s, c.source
FROM counted AS c
LEFT JOIN lessons AS l USING (platform_id, course_id, lesson_id)
QUALIFY row_number() OVER (
    PARTITION BY c.platform_id, c.account_id, c.course_id, c.lesson_id, c.record_id ORDER BY c.source
) = 1;

CREATE OR REPLACE TEMP TABLE claims AS
WITH first_logs AS (
    SELECT platform_id, record_id, min(started_at) AS first_log_at FROM segments GROUP BY platform_id, record_id
),
platform_logs AS (
    SELECT platform_id, min(first_at) AS platform_first_log_at FROM platform_first_logs GROUP BY platform_id
)
SELECT
    k.platform_id, k.record_id, k.account_id, k.learner_id, k.institution_id, k.class_id, k.course_id, k.occupation,
    k.subsidy_type, k.skill_level, k.claimed_s, k.required_s, k.started_at, k.completed_at, k.claimed_at, k.subsidy_cny,
    k.score, f.first_log_at, p.platform_first_log_at,
    -- learning may have begun before the platform's logs did: on an earlier day of the zone
    CASE WHEN k.started_at IS NOT NULL THEN coalesce(
        timezone($timezone, k.started_at)::DATE < timezone($timezone, p.platform_first_log_at)::DATE, FALSE
    ) END AS has_begun_before
FROM known_records AS k
SEMI JOIN touched AS t USING (platform_id, record_id)
LEFT JOIN first_logs AS f USING (platform_id, record_id)
LEFT JOIN platform_logs AS p USING (platform_id);
