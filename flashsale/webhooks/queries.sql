-- Statements of outbound webhooks (migrations/0006_webhooks.sql). Instants come from the caller's
-- clock wherever something is compared with them.

-- name: announce_event
-- An event for whoever listens; NULL where nobody does.
SELECT announce_event($1, $2, $3, $4, $5::json);

-- name: lock_merchant
-- Endpoints of one merchant are made one after another, so that they can be counted.
SELECT id FROM merchants WHERE id = $1 FOR NO KEY UPDATE;

-- name: count_endpoints
-- How many endpoints a merchant has.
SELECT count(*) FROM webhook_endpoints WHERE merchant_id = $1 AND state <> 'deleted';

-- name: insert_endpoint
-- A new endpoint, active at once.
INSERT INTO webhook_endpoints (id, merchant_id, url, secrets, types, created_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: find_endpoint
-- One of a merchant's endpoints.
SELECT id, merchant_id, url, secrets, previous_until, types, state, note, created_at
FROM webhook_endpoints WHERE merchant_id = $1 AND id = $2 AND state <> 'deleted';

-- name: list_endpoints
-- A merchant's endpoints behind a given one, oldest first.
SELECT id, merchant_id, url, secrets, previous_until, types, state, note, created_at
FROM webhook_endpoints
WHERE merchant_id = $1 AND state <> 'deleted'
    AND ($2::text IS NULL OR (created_at, id) > (
        SELECT created_at, id FROM webhook_endpoints WHERE merchant_id = $1 AND id = $2
    ))
ORDER BY created_at, id LIMIT $3;

-- name: delete_endpoint
-- Nothing is sent there from now on; the sweep removes what it leaves behind.
UPDATE webhook_endpoints SET state = 'deleted', secrets = secrets[1:1], ended_at = $3
WHERE merchant_id = $1 AND id = $2 AND state <> 'deleted' RETURNING id;

-- name: rotate_secret
-- A new secret signs at once; the one before it signs beside it for a while.
UPDATE webhook_endpoints SET secrets = ARRAY[$3, secrets[1]], previous_until = $4
WHERE merchant_id = $1 AND id = $2 AND state <> 'deleted' RETURNING id;

-- name: enable_endpoint
-- What waited is sent now; an active one stays as it is.
UPDATE webhook_endpoints SET state = 'active', note = NULL, ended_at = NULL
WHERE merchant_id = $1 AND id = $2 AND state <> 'deleted' RETURNING id;

-- name: disable_endpoint
-- The endpoint asked for it, or its merchant.
UPDATE webhook_endpoints SET state = 'disabled', note = $2, ended_at = $3
WHERE id = $1 AND state = 'active' RETURNING id;

-- name: insert_test
-- An event for one endpoint alone, whatever it listens to.
WITH told AS (
    INSERT INTO webhook_events (merchant_id, type, data, at)
    VALUES ($1, $3, $4::json, $5) RETURNING id
)
INSERT INTO webhook_deliveries (endpoint_id, event_id, next_at)
SELECT $2, id, $5 FROM told RETURNING event_id;

-- name: deliveries
-- Deliveries of an endpoint behind one of them, newest first; of one state, or of all.
SELECT d.event_id, v.type, v.sale_id, v.order_id, d.state, d.attempts, v.at AS created_at,
    d.next_at, d.done_at, d.answer, d.log::text AS log
FROM webhook_deliveries AS d JOIN webhook_events AS v ON v.id = d.event_id
WHERE d.endpoint_id = $1 AND ($2::text IS NULL OR d.state = $2) AND d.event_id < $3
ORDER BY d.event_id DESC LIMIT $4;

-- name: replay_delivery
-- One more life for a delivery that is done.
UPDATE webhook_deliveries SET
    state = 'pending', attempts = 0, next_at = $3, blocked = false, done_at = NULL,
    give_up_at = $3::timestamptz + interval '3 days'
WHERE endpoint_id = $1 AND event_id = $2 AND state <> 'pending' RETURNING event_id;

-- name: replay_dead
-- One more life for what was given up, of events since an instant, oldest first.
WITH again AS (
    SELECT d.event_id FROM webhook_deliveries AS d JOIN webhook_events AS v ON v.id = d.event_id
    WHERE d.endpoint_id = $1 AND d.state = 'dead' AND v.at >= $2
    ORDER BY d.event_id LIMIT $4 FOR UPDATE OF d SKIP LOCKED
)
UPDATE webhook_deliveries AS d SET
    state = 'pending', attempts = 0, next_at = $3, blocked = false, done_at = NULL,
    give_up_at = $3::timestamptz + interval '3 days'
FROM again AS a WHERE d.endpoint_id = $1 AND d.event_id = a.event_id;

-- name: busy_endpoints
-- Endpoints that have something to be sent now.
SELECT id, merchant_id, url, secrets, previous_until, types, state, note, created_at
FROM webhook_endpoints AS e
WHERE state = 'active' AND EXISTS (
    SELECT FROM webhook_deliveries AS d
    WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.next_at <= $1
);

-- name: claim
-- Due deliveries become ours for a lease, each once every earlier event of its order is done; the
-- others are put off. Whoever claims at the same time takes other rows. An order has few events
-- and an endpoint has all of them: `|| ''` keeps the planner, which may not know yet, off the
-- endpoint's indexes.
WITH due AS (
    SELECT d.endpoint_id, d.event_id, d.order_id FROM webhook_deliveries AS d
    WHERE d.endpoint_id = $1 AND d.state = 'pending' AND d.next_at <= $2
        AND EXISTS (SELECT FROM webhook_endpoints WHERE id = $1 AND state = 'active')
    ORDER BY d.next_at, d.event_id LIMIT $3 FOR UPDATE OF d SKIP LOCKED
), judged AS MATERIALIZED (
    SELECT endpoint_id, event_id, order_id IS NOT NULL AND EXISTS (
        SELECT FROM webhook_deliveries AS b
        WHERE b.order_id = due.order_id AND b.state = 'pending'
            AND b.event_id < due.event_id AND b.endpoint_id || '' = due.endpoint_id
    ) AS blocked FROM due
), moved AS (
    UPDATE webhook_deliveries AS d SET
        next_at = CASE WHEN j.blocked THEN $5::timestamptz ELSE $4::timestamptz END,
        blocked = j.blocked,
        attempts = d.attempts + (NOT j.blocked)::integer,
        fence = d.fence + 1
    FROM judged AS j WHERE d.endpoint_id = j.endpoint_id AND d.event_id = j.event_id
    RETURNING d.event_id, d.fence, d.attempts, d.give_up_at, d.blocked
)
SELECT m.event_id, m.fence, m.attempts AS attempt, m.give_up_at, v.type, v.at,
    v.data::text AS data, m.blocked
FROM moved AS m JOIN webhook_events AS v ON v.id = m.event_id
ORDER BY m.event_id;

-- name: finish
-- What became of claims that are still ours. The next events of orders that went on are due. Rows
-- are looked up by their keys, however many the endpoint has (see claim).
WITH told AS (
    UPDATE webhook_deliveries AS d SET
        state = c.state,
        next_at = c.next_at,
        attempts = d.attempts - (NOT c.tried)::integer,
        done_at = CASE WHEN c.state <> 'pending' THEN c.at END,
        answer = CASE WHEN c.tried THEN c.answer ELSE d.answer END,
        log = CASE WHEN NOT c.tried THEN d.log
            WHEN jsonb_array_length(d.log) < 10 THEN d.log || c.line
            ELSE (d.log - 0) || c.line END
    FROM unnest(
        $1::text[], $2::bigint[], $3::integer[], $4::text[], $5::timestamptz[], $6::boolean[],
        $7::timestamptz[], $8::text[], $9::jsonb[]
    ) AS c (endpoint_id, event_id, fence, state, next_at, tried, at, answer, line)
    WHERE d.endpoint_id = c.endpoint_id AND d.event_id = c.event_id AND d.fence = c.fence
        AND d.state || '' = 'pending'
    RETURNING d.endpoint_id, d.event_id, d.order_id, c.at, d.state
), freed AS (
    UPDATE webhook_deliveries AS n SET next_at = t.at, blocked = false
    FROM told AS t
    WHERE t.state <> 'pending' AND n.order_id = t.order_id AND n.state = 'pending' AND n.blocked
        AND n.event_id > t.event_id AND n.endpoint_id || '' = t.endpoint_id
    RETURNING n.event_id
)
SELECT (SELECT count(*) FROM told) AS told, (SELECT count(*) FROM freed) AS freed;

-- name: newly_sold_out
-- Running sales of merchants who listen, of which nothing is left and which were not told of at
-- this capacity. Orders that are settled count; each is told by one process.
WITH full_sales AS (
    SELECT s.id, s.merchant_id, s.name, sum(i.capacity)::bigint AS capacity
    FROM sales AS s JOIN sale_items AS i ON i.sale_id = s.id
    WHERE s.retired_at IS NULL AND s.state IN ('open', 'paused', 'closed') AND EXISTS (
        SELECT FROM webhook_endpoints AS e
        WHERE e.merchant_id = s.merchant_id AND e.state = 'active')
    GROUP BY s.id HAVING sum(i.capacity) = sum(i.live) AND sum(i.capacity) > 0
), noted AS (
    INSERT INTO webhook_sold_out AS w (sale_id, capacity, at)
    SELECT id, capacity, $1 FROM full_sales ORDER BY id
    ON CONFLICT (sale_id) DO UPDATE SET capacity = EXCLUDED.capacity, at = EXCLUDED.at
    WHERE w.capacity <> EXCLUDED.capacity
    RETURNING w.sale_id, w.capacity
)
SELECT announce_event(f.merchant_id, 'sale.sold_out', f.id, NULL, json_build_object(
    'sale_id', f.id, 'name', f.name, 'supply', f.capacity))
FROM noted AS n JOIN full_sales AS f ON f.id = n.sale_id;

-- name: sweep_events
-- Old events with their deliveries, oldest first: numbers grow with time, so nothing is searched.
WITH oldest AS (
    SELECT id, merchant_id, at FROM webhook_events ORDER BY id LIMIT $2
), old AS (
    SELECT id, merchant_id FROM oldest WHERE at < $1
), gone AS (
    DELETE FROM webhook_deliveries AS d USING old AS o, webhook_endpoints AS e
    WHERE e.merchant_id = o.merchant_id AND d.endpoint_id = e.id AND d.event_id = o.id
), forgotten AS (
    DELETE FROM webhook_events AS v USING old AS o WHERE v.id = o.id RETURNING v.id
)
SELECT count(*) FROM forgotten;

-- name: sweep_deleted
-- Deliveries of endpoints that were deleted, so many at a time.
WITH left_over AS (
    SELECT d.endpoint_id, d.event_id FROM webhook_deliveries AS d
    JOIN webhook_endpoints AS e ON e.id = d.endpoint_id AND e.state = 'deleted'
    LIMIT $1
), gone AS (
    DELETE FROM webhook_deliveries AS d USING left_over AS l
    WHERE d.endpoint_id = l.endpoint_id AND d.event_id = l.event_id RETURNING 1
)
SELECT count(*) FROM gone;

-- name: forget_deleted
-- Endpoints of which nothing is left; an hour on, no transaction can still be adding to them.
DELETE FROM webhook_endpoints AS e
WHERE state = 'deleted' AND ended_at < $1
    AND NOT EXISTS (SELECT FROM webhook_deliveries AS d WHERE d.endpoint_id = e.id);

-- name: backlog
-- What is pending and what was given up, over all endpoints that are sent to.
SELECT
    count(*) FILTER (WHERE d.state = 'pending') AS pending,
    count(*) FILTER (WHERE d.state = 'dead') AS dead
FROM webhook_deliveries AS d JOIN webhook_endpoints AS e ON e.id = d.endpoint_id
WHERE e.state = 'active' AND d.state IN ('pending', 'dead');
