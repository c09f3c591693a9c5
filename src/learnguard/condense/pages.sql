-- One row per open page: account, device, page (or session, where pages are not logged) and lesson.
-- Cheap aggregates over the day's rows decide which pages ran in one piece ("plain"): if every logged
-- position lies on one line  position = t * rate + constant  within $line_tolerance_s, then no silence,
-- pause or jump longer than that can hide inside, whatever the order of the rows. Only the other pages
-- are walked row by row (stretches.sql).
CREATE OR REPLACE TEMP TABLE pages AS
WITH told AS (
    SELECT
        account_id, device_id, page_id, session_id, lesson_id, course_id, terminal, user_agent, ip, is_tail, verb, rate,
        visible, logged_ts, epoch_us(ts) AS at_us,
        -- a touch says that somebody was there, not where the media stood: clients send the last beat's position along
        CASE WHEN verb <> 'interaction' THEN position_s END AS place_s
    FROM day_events
    WHERE verb IN ('page_open', 'page_close', 'play', 'pause', 'heartbeat', 'seek', 'rate_change', 'hidden', 'visible',
                   'complete', 'interaction')
      AND lesson_id IS NOT NULL
),
grouped AS (
    SELECT
        account_id, device_id, page_id, session_id, lesson_id, course_id, terminal, user_agent, ip,
        count(*)                                                    AS n,
        min(at_us)                                                  AS first_us,
        max(at_us)                                                  AS last_us,
        min(at_us) FILTER (WHERE place_s IS NOT NULL)               AS from_us,
        max(at_us) FILTER (WHERE place_s IS NOT NULL)               AS to_us,
        min(place_s)                                                AS media_from_s,
        max(place_s)                                                AS media_to_s,
        min(place_s - coalesce(rate, 1) * (at_us / 1000000))        AS line_low,
        max(place_s - coalesce(rate, 1) * (at_us / 1000000))        AS line_high,
        min(coalesce(rate, 1))                                      AS rate_low,
        max(coalesce(rate, 1))                                      AS rate_high,
        count(rate)                                                 AS n_rates,
        count(visible)                                              AS n_visible,
        count_if(verb = 'interaction')                              AS n_touches,
        count_if(verb = 'heartbeat')                                AS n_beats,
        count_if(verb IN ('play', 'pause', 'seek'))                 AS n_controls,
        -- rows that a line cannot speak for: jumps, visibility, and beats without a position
        count_if(verb IN ('seek', 'rate_change', 'hidden', 'visible')
                 OR visible IS FALSE
                 OR (place_s IS NULL AND verb IN ('play', 'pause', 'heartbeat', 'complete'))) AS n_special,
        -- when the page was opened (if the client does not say where the media stood then) or played anew, and closed
        min(at_us) FILTER (WHERE place_s IS NULL AND verb = 'page_open')  AS opened_us,
        max(at_us) FILTER (WHERE verb = 'play' OR (place_s IS NULL AND verb = 'page_open')) AS reopened_us,
        min(at_us) FILTER (WHERE place_s IS NULL AND verb = 'page_close') AS closed_us,
        max(at_us) FILTER (WHERE place_s IS NULL AND verb = 'page_close') AS reclosed_us,
        count_if(is_tail)                                           AS n_tail,
        max(logged_ts IS NOT NULL)                                  AS is_late_upload
    FROM told
    GROUP BY ALL
),
paged AS (
    SELECT
        hash(account_id, device_id, coalesce(page_id, session_id), lesson_id)    AS page_key,
        account_id, device_id, coalesce(page_id, session_id)                     AS page, lesson_id,
        min(page_id) AS page_id, min(session_id) AS session_id, min(course_id) AS course_id,
        min(terminal) AS terminal, min(user_agent) AS user_agent, min(ip) AS ip,
        sum(n)::BIGINT AS n, min(first_us) AS first_us, max(last_us) AS last_us, min(from_us) AS from_us, max(to_us) AS to_us,
        min(media_from_s) AS media_from_s, max(media_to_s) AS media_to_s,
        min(rate_low) AS rate, sum(n_rates) > 0 AS has_rate, sum(n_visible) > 0 AS has_visible,
        sum(n_touches)::BIGINT AS n_touches,
        max(is_late_upload) AS is_late_upload,
        sum(n_beats) > 0 AS is_beating,
        -- a page that never played media is read: no beat is to be expected of it
        sum(n_beats) + sum(n_controls) > 0 AS is_player,
        sum(n_special) = 0 AND sum(n_tail) = 0 AND NOT $is_every_page_walked
            AND min(rate_low) = max(rate_high) AND min(rate_low) > 0
            AND coalesce(max(line_high) - min(line_low) <= $line_tolerance_s, FALSE)
            AND max(to_us) > min(from_us)
            AND coalesce(min(opened_us) >= min(from_us) - $line_tolerance_s * 1000000, TRUE)
            AND coalesce(max(reopened_us) <= min(from_us) + $line_tolerance_s * 1000000, TRUE)
            AND coalesce(min(closed_us) >= max(to_us) - $line_tolerance_s * 1000000, TRUE)
            AND coalesce(max(reclosed_us) <= max(to_us) + $line_tolerance_s * 1000000, TRUE)
            AND (sum(n_beats) > 0 OR sum(n_touches) = 0)
                                                                                 AS is_on_line
    FROM grouped
    GROUP BY account_id, device_id, page, lesson_id
),
-- A silence on the line is playing on only where nothing else of the account happened meanwhile: the media may as well
-- have gone on on another device, and come back. So pages that overlap with others are walked, silence by silence.
beside AS (
    SELECT *,
        NOT coalesce(first_us + $line_tolerance_s * 1000000 < max(last_us) OVER before, FALSE)
            AND NOT coalesce(lead(first_us) OVER in_turn + $line_tolerance_s * 1000000 < last_us, FALSE) AS is_alone
    FROM paged
    WINDOW in_turn AS (PARTITION BY account_id ORDER BY first_us, last_us, page_key),
           before AS (PARTITION BY account_id ORDER BY first_us, last_us, page_key
                      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
SELECT * EXCLUDE (first_us, last_us, is_on_line), is_on_line AND is_alone AS is_plain
FROM beside;

CREATE OR REPLACE TEMP TABLE walked_pages AS
SELECT
    p.page_key, row_number() OVER () AS page_no, p.is_player, p.is_beating, TRUE AS may_bridge,
    CASE WHEN p.is_player THEN b.gap_s ELSE $silent_gap_s END AS gap_s,
    coalesce(b.beat_s, $jump_s / $slack_beats)                AS beat_s
FROM pages AS p
JOIN beats AS b ON b.terminal = coalesce(p.terminal, '')
WHERE NOT p.is_plain;
