-- A claim whose learner is not in the authority's real-name registry, or was entered only after the day on which the
-- training was completed. Days are calendar days of the delivery's time zone.
WITH
-- One row per person: of several entries the earliest counts.
registered AS (
    SELECT learner_id, min(registered_at) AS registered_at, bool_or(registered_at IS NULL) AS is_undated
    FROM registry
    WHERE learner_id IS NOT NULL
    GROUP BY learner_id
),
compared AS (
    SELECT
        c.platform_id, c.account_id, c.record_id, c.course_id, c.completed_at, r.registered_at,
        r.learner_id IS NULL AS is_absent,
        coalesce(r.is_undated, FALSE) AS is_undated,
        CAST(c.completed_at AT TIME ZONE $timezone AS DATE) AS completed_on,
        CAST(r.registered_at AT TIME ZONE $timezone AS DATE) AS registered_on
    FROM claims AS c
    LEFT JOIN registered AS r USING (learner_id)
    -- Without a claim there is nothing to withhold; without an identity there is nothing to look up.
    WHERE c.claimed_s IS NOT NULL AND c.learner_id IS NOT NULL
)
SELECT
    platform_id, account_id, record_id, course_id,
    completed_at AS started_at, coalesce(registered_at, completed_at) AS ended_at,
    1 AS score, 0 AS struck_s, no_strikes() AS strikes,
    {
        'variant': CASE WHEN is_absent THEN 'absent' ELSE 'late' END,
        'completed_at': completed_at,
        'registered_at': registered_at,
        'days_late': registered_on - completed_on,
        'registry_rows': (SELECT count(*) FROM registered),
        'examined': {
            'registered_same_day': {'found': coalesce(registered_on = completed_on, FALSE)},
            'undated_entry': {'found': is_undated}
        }
    } AS facts
FROM compared
-- A registry that nobody delivered says nothing about anybody.
WHERE EXISTS (SELECT 1 FROM registered)
  AND (is_absent OR (registered_on > completed_on AND NOT is_undated))
