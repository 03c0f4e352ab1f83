-- Statements of the queues and their lots. A queue's row is locked before its orders' rows.

-- name: take_news
-- Orders that joined or left a queue, oldest first; another worker takes others.
SELECT id, order_id, sale_id FROM preorder_news
ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED;

-- name: drop_news
-- What was told of these orders is done.
DELETE FROM preorder_news WHERE id = ANY ($1::bigint[]);

-- name: queues_of_orders
-- The queues that orders are in, and those that they belong in.
SELECT sale_id, item FROM orders WHERE id = ANY ($1::text[])
UNION SELECT sale_id, item FROM deposits WHERE order_id = ANY ($1::text[]) AND left_step IS NULL
ORDER BY sale_id, item;

-- name: make_queues
-- A queue comes into being with whoever first needs it.
INSERT INTO preorder_queues (sale_id, item)
SELECT c.sale_id, c.item FROM unnest($1::text[], $2::integer[]) AS c (sale_id, item)
ORDER BY c.sale_id, c.item ON CONFLICT DO NOTHING;

-- name: lock_queues
-- Whoever changes a queue goes through here; in one order, so that nobody waits in a ring.
SELECT q.sale_id, q.item, q.step FROM preorder_queues AS q
JOIN unnest($1::text[], $2::integer[]) AS c (sale_id, item) USING (sale_id, item)
ORDER BY q.sale_id, q.item FOR UPDATE OF q;

-- name: set_steps
-- How far the locked queues have got.
UPDATE preorder_queues AS q SET step = c.step
FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS c (sale_id, item, step)
WHERE q.sale_id = c.sale_id AND q.item = c.item;

-- name: lock_news_orders
-- Orders with their stay in a queue, and their place in the money ledger. The queues are locked:
-- only the orders' own columns can be newer than what was joined to them.
SELECT
    o.id, o.sale_id, o.item, o.quantity, o.state, d.item AS present_item, d.joined_step, d.wave,
    coalesce(l.received_at, o.settled_at) AS received_at, coalesce(l.event_id, o.id) AS event_id
FROM orders AS o
LEFT JOIN deposits AS d ON d.order_id = o.id AND d.left_step IS NULL
LEFT JOIN LATERAL (
    SELECT e.received_at, e.event_id FROM payments AS p
    JOIN ledger_entries AS e ON e.payment_id = p.id AND e.kind = 'captured'
    WHERE p.order_id = o.id AND p.purpose = 'deposit' AND p.captured > 0
    ORDER BY p.counts DESC, e.received_at, e.event_id LIMIT 1
) AS l ON true
WHERE o.id = ANY ($1::text[]) ORDER BY o.id FOR NO KEY UPDATE OF o;

-- name: parts_of_cap
-- The base supply and then the waves of an item, with what is promised of each.
WITH parts AS (
    SELECT id AS wave, quantity AS units, ships_at, applied_at FROM supplies
    WHERE sale_id = $1 AND item = $2 AND quantity > 0 AND ships_at IS NOT NULL
        AND applied_at IS NOT NULL
), base AS (
    SELECT '' AS wave, capacity - coalesce((SELECT sum(units) FROM parts), 0) AS units, ships_at,
        NULL::timestamptz AS applied_at
    FROM sale_items WHERE sale_id = $1 AND item = $2
)
SELECT c.wave, c.units::bigint, c.ships_at, coalesce(p.units, 0) AS promised
FROM (SELECT * FROM base UNION ALL SELECT * FROM parts) AS c
LEFT JOIN promises AS p ON p.sale_id = $1 AND p.item = $2 AND p.wave = c.wave
ORDER BY c.applied_at NULLS FIRST, c.wave;

-- name: add_promises
-- Units promised of a part of the cap, or free again.
INSERT INTO promises AS p (sale_id, item, wave, units)
SELECT c.sale_id, c.item, c.wave, c.units
FROM unnest($1::text[], $2::integer[], $3::text[], $4::bigint[]) AS c (sale_id, item, wave, units)
ON CONFLICT (sale_id, item, wave) DO UPDATE SET units = p.units + EXCLUDED.units;

-- name: take_promises
-- Units promised of a part of the cap that are free again.
UPDATE promises AS p SET units = p.units - c.units
FROM unnest($1::text[], $2::integer[], $3::text[], $4::bigint[]) AS c (sale_id, item, wave, units)
WHERE p.sale_id = c.sale_id AND p.item = c.item AND p.wave = c.wave;

-- name: join_queue
-- Orders whose deposit is paid.
INSERT INTO deposits (sale_id, item, joined_step, order_id, quantity, received_at, event_id,
    wave, promised_at, changed, joined_at)
SELECT c.*, $11 FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::integer[],
    $6::timestamptz[], $7::text[], $8::text[], $9::timestamptz[], $10::boolean[]) AS c;

-- name: leave_queue
-- Orders that ended, or want another SKU.
UPDATE deposits AS d SET left_step = c.step, left_for = c.reason
FROM unnest($1::text[], $2::bigint[], $3::text[]) AS c (order_id, step, reason)
WHERE d.order_id = c.order_id AND d.left_step IS NULL;

-- name: return_shares
-- Units that orders leave behind go back to the lots they came from.
WITH given AS (
    UPDATE allocations AS a SET returned_step = c.step
    FROM unnest($1::text[], $2::bigint[]) AS c (order_id, step)
    WHERE a.order_id = c.order_id AND a.returned_step IS NULL
    RETURNING a.lot_id, a.quantity
)
UPDATE lots SET free = free + g.quantity
FROM (SELECT lot_id, sum(quantity) AS quantity FROM given GROUP BY lot_id) AS g
WHERE lots.id = g.lot_id;

-- name: drop_balances
-- Nothing is asked any more of orders that ended.
UPDATE balances SET next_at = NULL WHERE order_id = ANY ($1::text[]);

-- name: find_lot
-- A lot.
SELECT l.id, l.sale_id, l.item, i.sku, l.quantity, l.free, l.reason,
    (extract(epoch FROM l.created_at) * 1000)::bigint AS created_at_ms
FROM lots AS l JOIN sale_items AS i USING (sale_id, item) WHERE l.id = $1;

-- name: insert_lot
-- Incoming supply, all of it free.
INSERT INTO lots (id, sale_id, item, quantity, free, reason, step)
VALUES ($1, $2, $3, $4, $4, $5, $6);

-- name: page_of_lots
-- A sale's lots, oldest first, behind one of them.
SELECT l.id, l.sale_id, l.item, i.sku, l.quantity, l.free, l.reason,
    (extract(epoch FROM l.created_at) * 1000)::bigint AS created_at_ms
FROM lots AS l JOIN sale_items AS i USING (sale_id, item)
WHERE l.sale_id = $1 AND ($2::text IS NULL OR (l.created_at, l.id)
    > (SELECT a.created_at, a.id FROM lots AS a WHERE a.id = $2 AND a.sale_id = $1))
ORDER BY l.created_at, l.id LIMIT $3;

-- name: queues_to_serve
-- Queues with free units and somebody who waits.
SELECT DISTINCT l.sale_id, l.item FROM lots AS l
WHERE l.free > 0 AND EXISTS (
    SELECT FROM deposits AS d WHERE d.sale_id = l.sale_id AND d.item = l.item
        AND d.left_step IS NULL AND d.allocated_step IS NULL AND d.received_at <= $1
)
ORDER BY l.sale_id, l.item LIMIT $2;

-- name: rooms
-- Lots with free units, in the order in which they came.
SELECT id, free FROM lots WHERE sale_id = $1 AND item = $2 AND free > 0 ORDER BY step LIMIT $3;

-- name: in_transit
-- The earliest deposit that has been received and may still join this queue: nobody who paid
-- later is served before it is known.
SELECT min(e.received_at) FROM payments AS p
JOIN orders AS o ON o.id = p.order_id
JOIN ledger_entries AS e ON e.payment_id = p.id AND e.kind = 'captured'
WHERE p.sale_id = $1 AND o.item = $2 AND p.purpose = 'deposit' AND p.applied_at IS NULL
    AND p.captured > 0;

-- name: heads
-- Who waits, first come first, up to an instant that everybody's deposit is known of.
SELECT order_id, quantity FROM deposits
WHERE sale_id = $1 AND item = $2 AND left_step IS NULL AND allocated_step IS NULL
    AND received_at <= $3
ORDER BY received_at, event_id LIMIT $4;

-- name: lock_heads
-- The orders as they are now, and what is left to pay of each.
SELECT o.id, o.item, o.state, o.closing,
    o.quantity * o.unit_amount - coalesce((
        SELECT sum(p.captured) FROM payments AS p WHERE p.order_id = o.id AND p.counts
    ), 0)::bigint AS rest
FROM orders AS o WHERE o.id = ANY ($1::text[]) ORDER BY o.id FOR NO KEY UPDATE OF o;

-- name: allocate_orders
-- They have their units; Redis, which moves no stock for this, is not asked.
UPDATE orders SET state = 'allocated' WHERE id = ANY ($1::text[]);

-- name: complete_orders
-- Nothing is left to pay.
UPDATE orders SET state = 'paid' WHERE id = ANY ($1::text[]);

-- name: mark_allocated
-- When an order was served, as a step of its queue.
UPDATE deposits AS d SET allocated_step = c.step, allocated_at = $3
FROM unnest($1::text[], $2::bigint[]) AS c (order_id, step)
WHERE d.order_id = c.order_id AND d.left_step IS NULL;

-- name: insert_shares
-- Which lots an order's units come from.
INSERT INTO allocations (lot_id, place, order_id, quantity)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::integer[]);

-- name: take_from_lots
-- Units that orders have now.
UPDATE lots SET free = lots.free - c.quantity
FROM unnest($1::text[], $2::bigint[]) AS c (id, quantity) WHERE lots.id = c.id;

-- name: insert_balances
-- The rest of each price, and when it may be paid, is due and is given up on.
INSERT INTO balances (order_id, sale_id, opens_at, due_at, ends_at, next_at)
SELECT c.order_id, $2, $3, $4, $5, $3 FROM unnest($1::text[]) AS c (order_id)
ON CONFLICT (order_id) DO NOTHING;
