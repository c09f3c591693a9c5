-- An invented run: no real person, institution or log. Reads the temporary tables given, pattern and explained,
-- fills the empty tables of a run database. Statement by statement the same input gives the same rows.

INSERT INTO decisions BY NAME
WITH base AS (
  SELECT r, p.*, r < g.flags AS is_flagged, g.run_date, 36000 + (r * 37 % 20) * 2700 AS claimed_s,
         (r * 13 % 7) * 600 AS unsupported_s
  FROM given AS g, range((SELECT records FROM given)) AS n(r) JOIN pattern AS p ON p.id = r % 7
), ledger AS (
  SELECT *, CASE WHEN is_flagged THEN first_s ELSE 0 END AS a_s, CASE WHEN is_flagged THEN second_s ELSE 0 END AS b_s,
         CASE WHEN r % 11 = 0 THEN 1800 ELSE 0 END AS limit_s, 600 + (r % 9) * 150.5 AS subsidy
  FROM base
)
SELECT run_date, 'demo-' || (r % 3 + 1) AS platform_id, 'R-' || lpad(r::VARCHAR, 6, '0') AS record_id,
       'acc-' || r AS account_id, md5('learner' || r) AS learner_id,
       '虚构机构-' || lpad((r % 23)::VARCHAR, 2, '0') AS institution_id,
       'class-' || (r % 40) AS class_id, 'course-' || (r % 5) AS course_id,
       CASE WHEN is_flagged THEN decision ELSE 'clear' END AS decision,
       CASE WHEN is_flagged THEN round(0.55 + (r * 31 % 45) / 100, 2) ELSE 0.02 END AS risk,
       CASE WHEN NOT is_flagged THEN '[]' WHEN second IS NULL THEN to_json([detector])
            ELSE to_json([detector, second]) END AS reasons,
       claimed_s, claimed_s - unsupported_s - a_s - b_s - limit_s AS credited_s, unsupported_s,
       to_json(map_from_entries(list_filter(
         [{'k': detector, 'v': a_s}, {'k': second, 'v': b_s}, {'k': 'policy_limit', 'v': limit_s}],
         lambda x: x.v > 0))) AS struck,
       a_s + b_s + limit_s AS struck_s, subsidy AS subsidy_cny,
       CASE WHEN is_flagged AND decision = 'withhold' THEN subsidy ELSE 0 END AS withheld_cny,
       CASE WHEN r % 3 = 2 THEN '[{"detector":"background_playback","missing":"visible"}]' ELSE '[]' END AS not_assessed,
       'national@1' AS policy,
       CASE WHEN NOT is_flagged THEN '未见矛盾。'
            WHEN decision = 'withhold' THEN '有日志自证的发现，补贴待人工核定。'
            ELSE '有统计异常，建议人工复核。' END AS note_zh,
       CASE WHEN NOT is_flagged THEN 'No contradiction found.'
            WHEN decision = 'withhold' THEN 'The log itself contradicts the record; the subsidy waits for a person.'
            ELSE 'Statistically unusual; a person should look.' END AS note_en
FROM ledger ORDER BY r;

INSERT INTO findings BY NAME
SELECT d.run_date, left(sha256(e.detector || d.platform_id || d.record_id), 16) AS finding_id, e.detector,
       1 AS detector_version, d.platform_id, d.record_id, d.account_id, d.course_id, d.institution_id,
       TIMESTAMPTZ '2026-03-05 01:20:00+00' AS started_at, TIMESTAMPTZ '2026-03-14 09:00:00+00' AS ended_at,
       CASE WHEN d.decision = 'review' THEN 'statistical' ELSE 'proof' END AS strength,
       CASE WHEN d.decision = 'review' THEN 'medium' ELSE 'high' END AS severity, 'stable' AS status,
       CASE WHEN d.decision = 'review' THEN 0.0000021 END AS p_value, 0.9 AS score,
       coalesce(CAST(json_extract(d.struck, '$.' || e.detector) AS DOUBLE), 0) AS struck_s, e.facts,
       replace(replace(e.zh, '{r}', d.account_id[5:]), '{m}', d.pool) AS explanation_zh,
       replace(replace(e.en, '{r}', d.account_id[5:]), '{m}', d.pool) AS explanation_en,
       '人社部 2024-01-03 通知（七）' AS clause
FROM (SELECT *, unnest(CAST(reasons AS JSON)::VARCHAR[]) AS reason,
             (CAST(account_id[5:] AS INT) % 30)::VARCHAR AS pool FROM decisions) AS d
JOIN explained AS e ON e.detector = d.reason;

-- Twelve days of study for every flagged record, in minutes since local midnight; a pattern adds what it strikes.
CREATE TEMP TABLE plan AS
WITH one AS (
  SELECT d.platform_id, d.record_id, d.account_id, CAST(d.account_id[5:] AS INT) AS r, p.detector, p.second, day
  FROM decisions AS d JOIN pattern AS p ON p.id = CAST(d.account_id[5:] AS INT) % 7, range(12) AS g(day)
  WHERE d.decision <> 'clear'
), habit (device, page, from_m, to_m, is_hidden, struck_from, struck_to, struck_by, days) AS (
  VALUES ('pc-', 'p1', 540, 590, FALSE, NULL, NULL, NULL, range(12)),
         ('pc-', 'p2', 840, 920, FALSE, NULL, NULL, NULL, range(0, 12, 2)),
         ('ph-', 'app', 560, 610, FALSE, 560, 590, 'concurrent_sessions', [3, 4, 8]),
         ('pc-', 'p3', 1200, 1290, TRUE, 1200, 1290, 'background_playback', [2, 6]),
         ('pc-', 'p1', 1350, 1530, FALSE, 1390, 1530, 'idle_playback', [5, 9]),
         ('pub-', 'p9', 1140, 1260, NULL, 1140, 1260, 'proxy_attendance', [7])
)
SELECT o.*, device || CASE device WHEN 'pub-' THEN r % 30 ELSE r END AS device, page, from_m, to_m, is_hidden,
       struck_from, struck_to, struck_by, TIMESTAMPTZ '2026-03-01 16:00:00+00' + INTERVAL 1 DAY * day AS midnight
FROM one AS o JOIN habit AS h ON list_contains(h.days, o.day)
  AND (h.struck_by IS NULL OR h.struck_by = o.detector OR h.struck_by = o.second);

INSERT INTO timeline
SELECT platform_id, record_id, record_id, account_id, device, page, 'L' || day, '第' || (day + 1) || '讲 安全操作规程',
       midnight + INTERVAL 1 MINUTE * from_m, midnight + INTERVAL 1 MINUTE * to_m, (to_m - from_m) * 60, is_hidden, 1.0,
       'events', DATE '2026-03-02' + CAST(day AS INT)
FROM plan;

-- Two devices at once: both devices' parts are struck, whatever the lesson.
INSERT INTO strikes BY NAME
SELECT f.run_date, f.finding_id, p.struck_by AS detector, p.platform_id, p.record_id,
       CASE WHEN p.struck_by <> 'concurrent_sessions' THEN 'L' || day END AS lesson_id,
       midnight + INTERVAL 1 MINUTE * struck_from AS started_at, midnight + INTERVAL 1 MINUTE * struck_to AS ended_at
FROM plan AS p JOIN findings AS f
  ON f.platform_id = p.platform_id AND f.record_id = p.record_id AND f.detector = p.struck_by;

INSERT INTO strikes BY NAME
SELECT run_date, finding_id, detector, platform_id, record_id, 'L' || n AS lesson_id, 3000 AS seconds
FROM findings, range(3) AS g(n) WHERE detector = 'course_skipping';

INSERT INTO timeline_checks
SELECT platform_id, record_id, midnight + INTERVAL 1 MINUTE * (from_m + 10 + 40 * k), 'prompt',
       CASE WHEN struck_by = 'idle_playback' AND k > 0 THEN 'timeout' ELSE 'pass' END
FROM plan, range(4) AS g(k) WHERE from_m + 10 + 40 * k < to_m;

INSERT INTO not_assessed
SELECT platform_id, record_id, 'background_playback', 'visible' FROM decisions WHERE platform_id = 'demo-3'
UNION ALL
SELECT platform_id, record_id, 'idle_playback', 'prompt' FROM decisions
WHERE platform_id = 'demo-2' AND CAST(account_id[5:] AS INT) % 4 = 0;

INSERT INTO people
SELECT platform_id, record_id, ['张*', '王*', '李*', '赵*华', '欧阳*', '陈*'][CAST(account_id[5:] AS INT) % 6 + 1],
       '340827********' || lpad((CAST(account_id[5:] AS INT) % 10000)::VARCHAR, 4, '0'),
       ['电工（五级）示例课程', '养老护理员（四级）示例课程', '保育师示例课程', '焊工安全示例课程',
        '互联网营销师示例课程'][CAST(course_id[8:] AS INT) + 1]
FROM decisions;

INSERT INTO days SELECT platform_id, record_id, day, sum(active_s), 0 FROM timeline GROUP BY platform_id, record_id, day;

INSERT INTO findings BY NAME
SELECT run_date, 'f00000000000ring' AS finding_id, 'collusion_ring' AS detector, 1 AS detector_version, platform_id,
       institution_id, 'statistical' AS strength, 'medium' AS severity, 'stable' AS status, 0.000004 AS p_value,
       0.8 AS score, 0 AS struck_s,
       '{"n_accounts": 41, "n_devices": 2, "examined": {"training_room": {"found": false}}}' AS facts,
       '该机构 41 个账号在 2 台设备上轮流学习，远多于同类机构。' AS explanation_zh,
       '41 accounts of this institution took turns on 2 devices, far more than at comparable ones.' AS explanation_en,
       '人社部 2024-01-03 通知（十一）' AS clause
FROM decisions WHERE decision <> 'clear' ORDER BY institution_id, record_id LIMIT 1;

DROP TABLE plan;
