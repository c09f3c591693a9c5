-- Presence checks met: answers to prompts, prompts that nothing answered, face checks, and touches logged
-- outside a page. A row delivered twice counts once. An unanswered prompt keeps a null result until it is known
-- whether its page went on playing (segments.sql).
CREATE OR REPLACE TEMP TABLE met_checks AS
WITH said AS (
    SELECT DISTINCT
        account_id, course_id, lesson_id, session_id, device_id, page_id, terminal, ts AS checked_at,
        hash(account_id, device_id, coalesce(page_id, session_id), lesson_id) AS page_key,
        verb, lower(trim(result)) AS result, value
    FROM day_events
    WHERE verb IN ('prompt', 'prompt_answer', 'face_check', 'interaction')
      AND (verb <> 'interaction' OR lesson_id IS NULL)
),
followed AS (
    SELECT *,
        lead(verb) OVER (
            PARTITION BY account_id, (verb IN ('prompt', 'prompt_answer'))
            ORDER BY checked_at, CASE verb WHEN 'prompt' THEN 0 ELSE 1 END, result, page_id, lesson_id, value
        ) AS next_verb
    FROM said
)
SELECT
    account_id, course_id, lesson_id, session_id, device_id, page_id, terminal, page_key, checked_at,
    CASE verb WHEN 'face_check' THEN 'face' WHEN 'interaction' THEN 'interaction' ELSE 'prompt' END AS kind,
    CASE verb WHEN 'interaction' THEN 'pass' WHEN 'prompt_answer' THEN coalesce(result, 'pass') ELSE result END AS result,
    value
FROM followed
WHERE checked_at >= $day_from
  -- a prompt is the question; its answer is the check. It stands alone where the client says so, or says nothing more.
  AND (verb <> 'prompt' OR next_verb IS DISTINCT FROM 'prompt_answer');
