-- Statements on orders and payments. Money is in minor units. Locks are taken in one order
-- everywhere: orders, payments, refunds, each by id; then the outbox.

-- name: lock_orders
-- Orders about which something is decided. Their facts are read by the next statement, which sees
-- what those who held the locks have written.
SELECT id FROM orders WHERE id = ANY ($1::text[]) ORDER BY id FOR NO KEY UPDATE;

-- name: order_facts
-- Orders with what their sale says about money.
SELECT
    o.id, o.sale_id, o.item, o.buyer_id, o.quantity, o.unit_amount, o.state, o.version, o.closing,
    (extract(epoch FROM o.hold_expires_at) * 1000)::bigint AS hold_expires_at_ms,
    s.merchant_id, s.kind, s.state AS sale_state, s.lanes, s.epoch,
    s.retired_at IS NOT NULL AS retired, s.cancellation,
    i.sku, i.name, i.price_currency AS currency, i.deposit_amount
FROM orders AS o
JOIN sales AS s ON s.id = o.sale_id
JOIN sale_items AS i ON i.sale_id = o.sale_id AND i.item = o.item
WHERE o.id = ANY ($1::text[]) ORDER BY o.id;

-- name: sale_place
-- Where Redis keeps a sale's orders, and whose it is.
SELECT merchant_id, lanes, epoch, armed_at IS NOT NULL AS armed, retired_at IS NOT NULL AS retired
FROM sales WHERE id = $1;

-- name: payments_of_orders
-- Every payment of some orders, oldest first.
SELECT
    id, order_id, sale_id, merchant_id, purpose, attempt, provider, provider_ref, checkout_url,
    saved, automatic, amount, currency, state, captured, refunding, refunded, fee, counts, note,
    (extract(epoch FROM expires_at) * 1000)::bigint AS expires_at_ms,
    (extract(epoch FROM created_at) * 1000)::bigint AS created_at_ms,
    (extract(epoch FROM captured_at) * 1000)::bigint AS captured_at_ms,
    applied_at IS NOT NULL AS applied
FROM payments WHERE order_id = ANY ($1::text[]) ORDER BY created_at, id;

-- name: payments_by_id
-- Payments of some ids.
SELECT
    id, order_id, sale_id, merchant_id, purpose, attempt, provider, provider_ref, checkout_url,
    saved, automatic, amount, currency, state, captured, refunding, refunded, fee, counts, note,
    (extract(epoch FROM expires_at) * 1000)::bigint AS expires_at_ms,
    (extract(epoch FROM created_at) * 1000)::bigint AS created_at_ms,
    (extract(epoch FROM captured_at) * 1000)::bigint AS captured_at_ms,
    applied_at IS NOT NULL AS applied
FROM payments WHERE id = ANY ($1::text[]) ORDER BY id;

-- name: lock_payments
-- Payments that are about to change; references to them go on.
SELECT id FROM payments WHERE id = ANY ($1::text[]) ORDER BY id FOR NO KEY UPDATE;

-- name: lock_payments_of_orders
-- Every payment of some orders, locked in the same order.
SELECT id FROM payments WHERE order_id = ANY ($1::text[]) ORDER BY id FOR NO KEY UPDATE;

-- name: orders_of_payments
-- Which orders payments are of: that never changes, so no lock is needed to know it.
SELECT id, order_id FROM payments WHERE id = ANY ($1::text[]);

-- name: insert_payments
-- New payments; the unique index refuses a second unapplied one of an order.
INSERT INTO payments (
    id, order_id, sale_id, merchant_id, purpose, attempt, provider, saved, automatic, amount,
    currency, expires_at, created_at
)
SELECT c.id, c.order_id, c.sale_id, c.merchant_id, c.purpose, c.attempt, c.provider, c.saved,
    c.automatic, c.amount, c.currency,
    timestamptz 'epoch' + c.expires_at_ms * interval '1 millisecond',
    timestamptz 'epoch' + c.created_at_ms * interval '1 millisecond'
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[],
    $8::boolean[], $9::boolean[], $10::bigint[], $11::text[], $12::bigint[],
    $13::bigint[]
) AS c (
    id, order_id, sale_id, merchant_id, purpose, attempt, provider, saved, automatic, amount,
    currency, expires_at_ms, created_at_ms
);

-- name: open_payments
-- The provider has them. What was closed meanwhile stays closed, but its name there is kept.
UPDATE payments AS p SET
    provider_ref = coalesce(p.provider_ref, c.ref), checkout_url = c.url,
    state = CASE WHEN p.state = 'created' THEN 'open' ELSE p.state END
FROM unnest($1::text[], $2::text[], $3::text[]) AS c (id, ref, url)
WHERE p.id = c.id;

-- name: void_payments
-- Closed before anything came in; whether the order knows of it is the second argument.
UPDATE payments SET
    state = 'void', note = coalesce($3, note),
    applied_at = CASE WHEN $2::boolean THEN coalesce(applied_at, now()) ELSE applied_at END
WHERE id = ANY ($1::text[]) AND state IN ('created', 'open')
RETURNING id;

-- name: count_payments
-- This is the money that pays the order; the unique index allows one for each purpose.
UPDATE payments SET counts = true WHERE id = ANY ($1::text[]);

-- name: apply_payments
-- The order has heard of their outcome.
UPDATE payments SET applied_at = now() WHERE id = ANY ($1::text[]) AND applied_at IS NULL;

-- name: refuse_payments
-- Money for which there is nothing: it goes back, and the note says why.
UPDATE payments AS p SET
    counts = false, note = c.note, applied_at = coalesce(p.applied_at, now())
FROM unnest($1::text[], $2::text[]) AS c (id, note) WHERE p.id = c.id;

-- name: mark_orders
-- A state that moves no stock: Postgres decides it alone, and the version stays.
UPDATE orders SET state = $2 WHERE id = ANY ($1::text[]);

-- name: close_orders
-- Redis is about to be told; until its event answers nothing else may be decided.
UPDATE orders SET closing = $2 WHERE id = ANY ($1::text[]);

-- name: open_order
-- What was to be enacted is decided here, since no lane is left to be told.
UPDATE orders SET closing = NULL WHERE id = $1 AND closing IS NOT NULL;

-- name: overdue_payments
-- Payments that could have been completed until $1 and whose outcome the order has not heard of,
-- nor is about to: those at which nobody gets on would keep the others from being looked at.
SELECT p.id, p.state FROM payments AS p
WHERE p.applied_at IS NULL AND p.expires_at <= $1 AND NOT EXISTS (
    SELECT FROM outbox AS o
    WHERE o.subject = p.id AND o.kind IN ('void_payment', 'apply_payment')
)
ORDER BY p.expires_at LIMIT $2;

-- name: unapplied_payments
-- The payments of an order whose outcome it has not heard of.
SELECT id FROM payments WHERE order_id = $1 AND applied_at IS NULL;

-- name: orders_called_off
-- Orders behind $1 of sales that were called off, and whether each is paid still; a retired one may
-- still owe money for some days. $3 bounds what is looked at, and so what a look costs: without an
-- end to the range inside, the index is read in its order and no further than that.
SELECT o.id, o.owed FROM sales AS s CROSS JOIN LATERAL (
    SELECT p.id, p.state = ANY ($2::text[]) AND p.closing IS NULL AS owed FROM orders AS p
    WHERE p.id > greatest(s.id, $1) ORDER BY p.id LIMIT $3
) AS o
WHERE o.id < s.id || '{' AND $1 < s.id || '{' AND s.state = 'cancelled' AND s.armed_at IS NOT NULL
    AND (s.retired_at IS NULL OR s.retired_at > now() - interval '7 days')
    AND EXISTS (SELECT FROM sale_items AS i WHERE i.sale_id = s.id AND i.live > 0)
ORDER BY o.id LIMIT $3;

-- name: insert_shipments
-- How orders left the house.
INSERT INTO shipments (order_id, sale_id, carrier, tracking_number)
SELECT c.order_id, c.sale_id, c.carrier, c.tracking_number
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    AS c (order_id, sale_id, carrier, tracking_number);

-- name: shipments_of_orders
-- The shipments of some orders.
SELECT order_id, carrier, tracking_number,
    (extract(epoch FROM shipped_at) * 1000)::bigint AS shipped_at_ms
FROM shipments WHERE order_id = ANY ($1::text[]);
