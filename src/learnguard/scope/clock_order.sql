-- Can the order of a platform's rows be trusted? A page is opened before anything happens on it. Where many pages were
-- opened, by the log, after they had already been in use for more than $tolerance_s, the clocks contradict the sessions
-- (shuffled for anonymity, taken from different servers …): a matter of data quality, never of the learner.
CREATE OR REPLACE TEMP TABLE disordered AS
WITH opened AS (
    SELECT platform_id, account_id, coalesce(page_id, session_id) AS page, lesson_id,
           min(ts) AS first_at, min(ts) FILTER (WHERE verb = 'page_open') AS opened_at
    FROM order_sample
    WHERE lesson_id IS NOT NULL AND coalesce(page_id, session_id) IS NOT NULL
    GROUP BY ALL
    HAVING count(*) > 1 AND opened_at IS NOT NULL
)
SELECT platform_id
FROM opened
GROUP BY platform_id
HAVING count(*) >= $fewest_pages
   AND count_if(opened_at > first_at + to_seconds($tolerance_s::BIGINT)) > $share * count(*);
