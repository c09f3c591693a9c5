-- The physical floor: what is counted as learned needs time, and a person's time passes once.
--   course: the content counted for a course needs at least content / permitted rate of logged time in that course;
--   day: the time counted for a person on a day, over all platforms, is at most the union of that person's active time.
WITH
kinds AS (
    SELECT platform_id, course_id, lesson_id, duration_s,
        coalesce(kind, 'video') IN ('video', 'audio', 'live') AS is_media,
        -- only media can be played faster than time passes
        CASE WHEN coalesce(kind, 'video') IN ('video', 'audio', 'live')
             THEN coalesce(nullif(max_rate, 0), $default_max_rate) ELSE 1 END AS permitted
    FROM lessons
),
learning AS (
    SELECT
        s.platform_id, s.account_id, s.record_id, s.course_id, s.lesson_id, s.started_at, s.ended_at, exact(s.active_s) AS active_s, s.day,
        coalesce(s.learner_id, s.platform_id || '/' || s.account_id) AS person,
        seconds_between(s.started_at, s.ended_at) AS wall_s,
        coalesce(k.is_media, TRUE) AS is_media,
        coalesce(s.is_late_upload, FALSE) OR coalesce(s.is_clock_suspect, FALSE)
            OR (s.n_interactions = 0 AND coalesce(s.media_to_s = s.media_from_s, FALSE)) AS is_unplaced
    FROM segments AS s
    LEFT JOIN kinds AS k USING (platform_id, course_id, lesson_id)
    WHERE s.active_s > 0 AND s.ended_at > s.started_at
),
-- What of each segment nothing earlier of the person covers: one pass over all that sorts out most people.
spread AS (
    SELECT person, platform_id, account_id, course_id, day,
        coalesce(started_at < max(ended_at) OVER earlier, FALSE) AS is_overlapping,
        greatest(0, seconds_between(greatest(started_at, coalesce(max(ended_at) OVER earlier, started_at)), ended_at)) AS fresh_s
    FROM learning
    WINDOW earlier AS (PARTITION BY person ORDER BY started_at, ended_at
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
busy AS (
    SELECT person, day FROM spread WHERE is_overlapping GROUP BY ALL
),
at_least AS (
    SELECT platform_id, account_id, course_id, sum(fresh_s) AS logged_s FROM spread GROUP BY ALL
),

-- Course ---------------------------------------------------------------------------------------------------------
-- Where nobody says when the learner began, what a lesson was first resumed from may have been watched before.
resumed AS (
    SELECT s.platform_id, s.account_id, s.course_id, s.lesson_id, arg_min(s.media_from_s, s.started_at) AS resumed_s
    FROM segments AS s
    JOIN claims AS l ON l.platform_id = s.platform_id AND l.record_id = s.record_id AND l.has_begun_before IS NULL
    WHERE s.active_s > 0
    GROUP BY ALL
),
counted AS (
    SELECT c.platform_id, c.record_id, c.account_id, c.course_id, c.lesson_id, c.completed_at,
        c.source = 'sessions' AS is_of_sessions, coalesce(k.permitted, $default_max_rate) AS permitted,
        -- sessions count what they count; a call counts a lesson once, at most its duration
        exact(CASE WHEN c.source = 'sessions' THEN c.counted_s
             ELSE greatest(0, least(coalesce(c.counted_s, k.duration_s), coalesce(k.duration_s, c.counted_s))
                  - coalesce(r.resumed_s, 0)) END) AS counted_s
    FROM completions AS c
    LEFT JOIN resumed AS r USING (platform_id, account_id, course_id, lesson_id)
    LEFT JOIN kinds AS k USING (platform_id, course_id, lesson_id)
    LEFT JOIN claims AS l ON l.platform_id = c.platform_id AND l.record_id = c.record_id
    -- A page is read as fast as the reader reads. What was learned before the first delivery left no log.
    WHERE c.source = 'sessions' OR (coalesce(k.is_media, TRUE) AND NOT coalesce(l.has_begun_before, FALSE))
),
courses AS (
    SELECT platform_id, account_id, course_id, min(record_id) AS record_id,
        sum(counted_s) AS counted_s, sum(exact(counted_s / permitted)) AS needed_s
    FROM counted
    WHERE counted_s > 0
    GROUP BY platform_id, account_id, course_id
),
in_question AS (
    SELECT c.platform_id, c.account_id, c.course_id
    FROM courses AS c
    LEFT JOIN at_least AS a USING (platform_id, account_id, course_id)
    WHERE c.needed_s > coalesce(a.logged_s, 0)
),
-- Seconds of a course that overlap its own other seconds count once.
in_course AS (
    SELECT platform_id, account_id, course_id, lesson_id, wall_s,
        -- where the clock cannot be trusted an overlap may be none: such time counts in full
        CASE WHEN is_unplaced THEN wall_s
             ELSE greatest(0, seconds_between(greatest(started_at, coalesce(max(ended_at) FILTER (WHERE NOT is_unplaced) OVER (
                 PARTITION BY platform_id, account_id, course_id ORDER BY started_at, ended_at
                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), started_at)), ended_at)) END AS fresh_s
    FROM learning
    SEMI JOIN in_question USING (platform_id, account_id, course_id)
),
logged AS (
    SELECT platform_id, account_id, course_id, sum(fresh_s) AS logged_s FROM in_course GROUP BY ALL
),
overfull AS (
    SELECT c.*, coalesce(l.logged_s, 0) AS logged_s,
        -- content that found no time: the part of the need that the log does not cover
        exact(c.counted_s * (1 - coalesce(l.logged_s, 0) / c.needed_s)) AS excess_s
    FROM courses AS c
    SEMI JOIN in_question USING (platform_id, account_id, course_id)
    LEFT JOIN logged AS l USING (platform_id, account_id, course_id)
    WHERE exact(c.counted_s * (1 - coalesce(l.logged_s, 0) / c.needed_s))
        >= greatest($min_excess_s, $tolerance_share * c.counted_s)
),
lesson_logged AS (
    SELECT platform_id, account_id, course_id, lesson_id, sum(wall_s) AS wall_s
    FROM in_course
    SEMI JOIN overfull USING (platform_id, account_id, course_id)
    GROUP BY ALL
),
-- The excess falls on the lessons that lack time themselves; where none does, on all alike.
shares AS (
    SELECT c.platform_id, o.record_id, c.lesson_id, c.completed_at, o.excess_s, c.counted_s,
        exact(greatest(0, c.counted_s - coalesce(w.wall_s, 0) * c.permitted)) AS own_s
    FROM counted AS c
    JOIN overfull AS o USING (platform_id, account_id, course_id)
    LEFT JOIN lesson_logged AS w USING (platform_id, account_id, course_id, lesson_id)
    WHERE c.counted_s > 0
),
course_strikes AS (
    SELECT platform_id, record_id, lesson_id, completed_at AS struck_at,
        exact(excess_s * CASE WHEN sum(own_s) OVER one_record > 0 THEN own_s / sum(own_s) OVER one_record
                              ELSE counted_s / sum(counted_s) OVER one_record END) AS seconds
    FROM shares
    WINDOW one_record AS (PARTITION BY platform_id, record_id)
),
-- Sessions bear their own start and end: there each lesson has a floor of its own, even where the course has time left.
lesson_walls AS (
    SELECT platform_id, account_id, course_id, lesson_id, sum(wall_s) AS wall_s
    FROM learning
    SEMI JOIN (SELECT * FROM counted WHERE is_of_sessions) AS c USING (platform_id, account_id, course_id, lesson_id)
    GROUP BY ALL
),
overfull_lessons AS (
    SELECT c.*, w.wall_s, exact(c.counted_s - w.wall_s * c.permitted) AS excess_s
    FROM counted AS c
    JOIN lesson_walls AS w USING (platform_id, account_id, course_id, lesson_id)
    ANTI JOIN overfull AS o USING (platform_id, account_id, course_id)
    WHERE c.is_of_sessions AND exact(c.counted_s - w.wall_s * c.permitted) > $tolerance_share * c.counted_s
),
lacking AS (
    SELECT platform_id, record_id, 'course' AS part, 0 AS lessons, counted_s, needed_s, logged_s, excess_s FROM overfull
    UNION ALL
    SELECT platform_id, min(record_id), 'lesson', count(*), sum(counted_s), sum(exact(counted_s / permitted)), sum(wall_s),
        sum(excess_s)
    FROM overfull_lessons
    GROUP BY platform_id, account_id, course_id
    HAVING sum(excess_s) >= $min_excess_s
),

-- Day ------------------------------------------------------------------------------------------------------------
-- Only people whose lessons overlap at all; most do not.
placed AS (
    SELECT l.*,
        max(ended_at) OVER (PARTITION BY person, day, platform_id, account_id, course_id, lesson_id
            ORDER BY started_at, ended_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS lesson_until,
        max(ended_at) OVER (PARTITION BY person, day
            ORDER BY started_at, ended_at, platform_id, account_id, course_id, lesson_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS person_until
    FROM learning AS l
    SEMI JOIN busy USING (person, day)
    WHERE is_media AND NOT is_unplaced
),
measured AS (
    SELECT *,
        -- a lesson open twice is one lesson; a session counts what it counts
        least(active_s, greatest(0, seconds_between(greatest(started_at, coalesce(lesson_until, started_at)), ended_at))) AS once_s,
        greatest(0, seconds_between(greatest(started_at, coalesce(person_until, started_at)), ended_at)) AS fresh_s
    FROM placed
),
days AS (
    SELECT person, day,
        sum(once_s) AS counted_s,
        sum(fresh_s) AS clock_s,
        sum(greatest(0, once_s - fresh_s)) AS surplus_s,
        count(DISTINCT platform_id) AS platforms
    FROM measured
    GROUP BY ALL
    HAVING counted_s - clock_s >= $min_excess_s
       AND (counted_s - clock_s >= $day_tolerance_share * counted_s OR counted_s > $day_limit_s)
),
-- Of two lessons at once the one begun later is counted too much.
day_strikes AS (
    SELECT m.platform_id, m.record_id, m.lesson_id, m.day, max(m.ended_at) AS struck_at,
        d.platforms, d.counted_s, d.clock_s,
        exact(sum(m.once_s - m.fresh_s) * ((d.counted_s - d.clock_s) / d.surplus_s)) AS seconds
    FROM measured AS m
    JOIN days AS d USING (person, day)
    WHERE m.once_s > m.fresh_s
    GROUP BY m.platform_id, m.record_id, m.lesson_id, m.day, d.counted_s, d.clock_s, d.surplus_s, d.platforms
),
day_records AS (
    SELECT platform_id, record_id, count(DISTINCT day) AS days, max(platforms) AS platforms,
        arg_max(day, (counted_s - clock_s, day)) AS day,
        arg_max(counted_s, (counted_s - clock_s, day)) AS counted_s,
        arg_max(clock_s, (counted_s - clock_s, day)) AS clock_s
    FROM day_strikes
    GROUP BY ALL
),

-- Both: what either strikes of a lesson, never the sum ------------------------------------------------------------
parts AS (
    SELECT platform_id, record_id, lesson_id, struck_at, seconds AS course_s, 0 AS day_s FROM course_strikes WHERE seconds > 0
    UNION ALL
    SELECT platform_id, record_id, lesson_id, completed_at, excess_s, 0
    FROM overfull_lessons
    SEMI JOIN lacking USING (platform_id, record_id)
    UNION ALL
    SELECT platform_id, record_id, lesson_id, struck_at, 0, seconds FROM day_strikes
),
lessons_struck AS (
    SELECT platform_id, record_id, lesson_id, max(struck_at) AS struck_at,
        round(greatest(sum(course_s), sum(day_s))) AS seconds
    FROM parts
    GROUP BY ALL
),
struck AS (
    SELECT platform_id, record_id, min(struck_at) AS first, max(struck_at) AS last, sum(seconds) AS struck_s,
        list(strike_seconds(lesson_id, struck_at, struck_at, seconds) ORDER BY struck_at, lesson_id) AS strikes
    FROM lessons_struck
    WHERE seconds > 0
    GROUP BY ALL
),
-- The honest explanations.
totals AS (
    SELECT platform_id, record_id, min(account_id) AS account_id, min(course_id) AS course_id,
        coalesce(sum(wall_s) FILTER (WHERE NOT is_media), 0) AS reading_s,
        coalesce(sum(wall_s) FILTER (WHERE is_unplaced), 0) AS unplaced_s
    FROM learning
    SEMI JOIN struck USING (platform_id, record_id)
    GROUP BY ALL
),
named AS (
    SELECT platform_id, record_id, min(account_id) AS account_id, min(course_id) AS course_id
    FROM counted
    SEMI JOIN struck USING (platform_id, record_id)
    GROUP BY ALL
),
again AS (
    SELECT platform_id, record_id, sum(wall_s - least(wall_s, once_s)) AS again_s FROM measured GROUP BY ALL
)
SELECT
    s.platform_id, coalesce(t.account_id, n.account_id) AS account_id, s.record_id,
    coalesce(t.course_id, n.course_id) AS course_id, s.first AS started_at, s.last AS ended_at,
    least(1, s.struck_s / greatest(1, coalesce(o.counted_s, d.counted_s))) AS score, s.struck_s, s.strikes,
    {
        'variant': CASE WHEN o.record_id IS NULL THEN 'day' WHEN d.record_id IS NULL THEN o.part ELSE 'both' END,
        'lessons': coalesce(o.lessons, 0),
        'counted_s': o.counted_s,
        'needed_s': o.needed_s,
        'logged_s': o.logged_s,
        'excess_s': o.excess_s,
        'days': coalesce(d.days, 0),
        'day': d.day,
        'day_counted_s': d.counted_s,
        'day_clock_s': d.clock_s,
        'platforms': coalesce(d.platforms, 1),
        'first': s.first,
        'last': s.last,
        'examined': {
            'begun_before': {'found': coalesce(c.has_begun_before, FALSE)},
            'permitted_rate': {'found': coalesce(o.counted_s > o.needed_s, FALSE), 'rate': o.counted_s / o.needed_s},
            'same_lesson': {'found': coalesce(g.again_s > 0, FALSE), 'seconds': coalesce(g.again_s, 0)},
            'reading_beside': {'found': coalesce(t.reading_s > 0, FALSE), 'seconds': coalesce(t.reading_s, 0)},
            'unplaced_time': {'found': coalesce(t.unplaced_s > 0, FALSE), 'seconds': coalesce(t.unplaced_s, 0)}
        }
    } AS facts
FROM struck AS s
LEFT JOIN totals AS t USING (platform_id, record_id)
LEFT JOIN named AS n USING (platform_id, record_id)
LEFT JOIN lacking AS o USING (platform_id, record_id)
LEFT JOIN day_records AS d USING (platform_id, record_id)
LEFT JOIN again AS g USING (platform_id, record_id)
LEFT JOIN claims AS c ON c.platform_id = s.platform_id AND c.record_id = s.record_id
