-- Silences that were taken for playing on because the media advanced as time did, while another page of the account
-- played for most of it: there the media was carried on elsewhere. (A hand-over takes only the silence's beginning, and a
-- login left behind beats where it stands.) These pages are walked again without that benefit.
CREATE OR REPLACE TEMP TABLE carried_elsewhere AS
SELECT DISTINCT page_key
FROM (
    SELECT b.page_key, b.silence,
        hash(e.account_id, e.device_id, coalesce(e.page_id, e.session_id), e.lesson_id) AS other_key
    FROM (SELECT page_key, unnest(bridges) AS silence FROM stretches WHERE len(bridges) > 0) AS b
    JOIN pages AS p USING (page_key)
    JOIN day_events AS e
      ON e.account_id = p.account_id
     AND epoch_us(e.ts) > b.silence.from_us AND epoch_us(e.ts) < b.silence.to_us
    WHERE e.verb IN ('play', 'heartbeat', 'pause', 'seek', 'complete') AND e.lesson_id IS NOT NULL
      AND hash(e.account_id, e.device_id, coalesce(e.page_id, e.session_id), e.lesson_id) <> b.page_key
    GROUP BY b.page_key, b.silence, other_key
    HAVING max(epoch_us(e.ts)) - min(epoch_us(e.ts)) >= $carried_share * (b.silence.to_us - b.silence.from_us)
       AND (max(e.position_s) - min(e.position_s)) * 1000000 >= $carried_share * (b.silence.to_us - b.silence.from_us)
);

CREATE OR REPLACE TEMP TABLE first_walk AS
SELECT * FROM stretches WHERE page_key NOT IN (SELECT page_key FROM carried_elsewhere);

CREATE OR REPLACE TEMP TABLE walked_pages AS
SELECT * REPLACE (FALSE AS may_bridge) FROM walked_pages WHERE page_key IN (SELECT page_key FROM carried_elsewhere);
