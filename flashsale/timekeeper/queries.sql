-- Statements of the timekeeper. $1 is Redis' clock wherever an instant is compared.

-- name: lose_when_idle
-- A frozen timekeeper must not stay the one that acts: its silent session is ended by Postgres.
SELECT set_config('idle_session_timeout', $1, false);

-- name: take_lead
-- Held by the session: it ends with the connection, whatever becomes of the process.
SELECT pg_try_advisory_lock($1);

-- name: open_due
-- What the public has seen since the instant itself; rows that a merchant's command holds wait.
UPDATE sales SET state = 'open'
WHERE id IN (
    SELECT id FROM sales
    WHERE state = 'scheduled' AND armed_at IS NOT NULL AND starts_at <= $1 AND ends_at > $1
    ORDER BY starts_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
RETURNING id, (extract(epoch FROM starts_at) * 1000)::bigint AS starts_at_ms;

-- name: close_due
-- Scripts have refused since the end itself; the lanes are told next.
UPDATE sales SET state = 'closed'
WHERE id IN (
    SELECT id FROM sales
    WHERE state IN ('scheduled', 'open', 'paused') AND ends_at <= $1
    ORDER BY ends_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
RETURNING id;

-- name: tended
-- Sales whose lanes exist or should, behind an id.
SELECT
    id, state, lanes, epoch, armed_at IS NOT NULL AS armed,
    state IN ('closed', 'cancelled') AND closed_at <= $1::timestamptz - $2::interval AS outlived
FROM sales
WHERE retired_at IS NULL AND state <> 'draft' AND id > $3
ORDER BY id LIMIT $4;

-- name: has_open_orders
-- Orders that only their lane could end: where it is gone, it was lost and not retired.
SELECT EXISTS (
    SELECT FROM orders
    WHERE id > $1 AND id < $1 || '{' AND state IN ('confirmed', 'paying')
);

-- name: about_to_open
-- Sales that must keep what they answer, and begin soon; what begins first comes first.
SELECT id FROM sales
WHERE state = 'scheduled' AND armed_at IS NOT NULL AND durability = 'strict' AND starts_at <= $1
ORDER BY starts_at, id;

-- name: pause_unsafe
-- With its entry in the merchant's log; webhooks are told by their trigger.
WITH paused AS (
    UPDATE sales SET state = 'paused', paused_reason = $2, revision = revision + 1
    WHERE id = $1 AND state = 'scheduled' RETURNING id, merchant_id
)
SELECT append_to_audit_log(merchant_id, 'engine', 'pause_sale', id, id,
    jsonb_build_object('state', 'paused', 'reason', $2::text))
FROM paused;

-- name: mark_retired
-- Its lanes are gone; Postgres alone answers for it.
UPDATE sales SET retired_at = now() WHERE id = $1 AND retired_at IS NULL;
