-- Statements of balances. Orders are locked before their balances, as everywhere.

-- name: due_balances
-- Balances about which there is something to do.
SELECT order_id FROM balances WHERE next_at <= $1 ORDER BY next_at, order_id LIMIT $2;

-- name: lock_orders
-- Nobody else decides about these orders until the end.
SELECT id FROM orders WHERE id = ANY ($1::text[]) ORDER BY id FOR NO KEY UPDATE;

-- name: lock_balances
-- Due balances of locked orders. `in_flight`: money has come in that the order has not heard of,
-- or somebody is paying at this moment.
SELECT
    b.order_id, b.sale_id, s.merchant_id, o.state, o.closing, b.reminded, b.charges,
    (extract(epoch FROM b.opens_at) * 1000)::bigint AS opens_at_ms,
    (extract(epoch FROM b.due_at) * 1000)::bigint AS due_at_ms,
    (extract(epoch FROM b.ends_at) * 1000)::bigint AS ends_at_ms,
    EXISTS (
        SELECT FROM payments AS p WHERE p.order_id = b.order_id AND p.applied_at IS NULL
            AND (p.captured > 0 OR p.expires_at > $2)
    ) AS in_flight
FROM balances AS b JOIN orders AS o ON o.id = b.order_id JOIN sales AS s ON s.id = b.sale_id
WHERE b.order_id = ANY ($1::text[]) AND b.next_at <= $2
ORDER BY b.order_id FOR NO KEY UPDATE OF b SKIP LOCKED;

-- name: demand_orders
-- Their balance may be paid from now on.
UPDATE orders SET state = 'balance_due' WHERE id = ANY ($1::text[]) AND state = 'allocated';

-- name: update_balances
-- How far each has got, and when there is something to do again.
UPDATE balances AS b SET reminded = c.reminded, charges = c.charges, next_at = c.next_at
FROM unnest($1::text[], $2::boolean[], $3::integer[], $4::timestamptz[])
    AS c (order_id, reminded, charges, next_at)
WHERE b.order_id = c.order_id;

-- name: find_balance
-- When an order's balance is due.
SELECT (extract(epoch FROM due_at) * 1000)::bigint FROM balances WHERE order_id = $1;

-- name: remind
-- Tell whoever listens that a balance is soon due. The orders are locked.
SELECT announce_event(s.merchant_id, 'order.balance_reminder', b.sale_id, b.order_id,
    json_build_object('order_id', b.order_id, 'sale_id', b.sale_id, 'due_at',
        to_char(b.due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))
FROM balances AS b JOIN sales AS s ON s.id = b.sale_id
WHERE b.order_id = ANY ($1::text[]) ORDER BY b.order_id;
