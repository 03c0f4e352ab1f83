-- What a check of a pre-order reads, at one instant.

-- name: items
-- The SKUs of a sale.
SELECT item, sku FROM sale_items WHERE sale_id = $1 ORDER BY item;

-- name: lots
-- A queue's lots.
SELECT id, quantity, step FROM lots WHERE sale_id = $1 AND item = $2 ORDER BY step;

-- name: stays
-- Everybody who ever waited in a queue.
SELECT order_id, quantity, received_at, event_id, joined_step, allocated_step, left_step, changed
FROM deposits WHERE sale_id = $1 AND item = $2 ORDER BY joined_step;

-- name: shares
-- Everything that was ever given out of a queue's lots.
SELECT a.lot_id, a.order_id, a.quantity, a.place
FROM allocations AS a JOIN lots AS l ON l.id = a.lot_id
WHERE l.sale_id = $1 AND l.item = $2 ORDER BY a.place, a.lot_id;

-- name: lot_sums
-- Free and given units beside the lots' own; and the first lot where they differ.
SELECT coalesce(sum(l.free + coalesce(a.given, 0)), 0)::bigint AS accounted,
    coalesce(sum(l.quantity), 0)::bigint AS supplied,
    min(l.id) FILTER (WHERE l.free + coalesce(a.given, 0) <> l.quantity) AS wrong
FROM lots AS l LEFT JOIN LATERAL (
    SELECT sum(quantity) AS given FROM allocations
    WHERE lot_id = l.id AND returned_step IS NULL
) AS a ON true
WHERE l.sale_id = $1;

-- name: order_sums
-- Orders with units, and orders that wait, as their rows say and as the queues say. Those about
-- whom there is news that nobody has taken up yet are on their way from one to the other.
WITH news AS (SELECT order_id FROM preorder_news WHERE sale_id = $1),
told AS (
    SELECT o.id, CASE WHEN o.state = 'deposit_paid' THEN 'waiting' ELSE 'served' END AS place
    FROM orders AS o WHERE o.id > $1 AND o.id < $1 || '{'
        AND o.state IN ('deposit_paid', 'allocated', 'balance_due', 'paid', 'fulfilled')
        AND o.id NOT IN (SELECT order_id FROM news)
), queued AS (
    SELECT d.order_id AS id,
        CASE WHEN d.allocated_step IS NULL THEN 'waiting' ELSE 'served' END AS place
    FROM deposits AS d WHERE d.sale_id = $1 AND d.left_step IS NULL
        AND d.order_id NOT IN (SELECT order_id FROM news)
)
SELECT place, count(t.id) AS orders, count(q.id) AS queued,
    coalesce(min(t.id) FILTER (WHERE q.id IS NULL), min(q.id) FILTER (WHERE t.id IS NULL)) AS wrong
FROM told AS t FULL JOIN queued AS q USING (id, place) GROUP BY place;

-- name: promise_sums
-- Units promised of the parts of the cap, as counted and as the stays say.
WITH kept AS (
    SELECT item, wave, sum(quantity)::bigint AS units FROM deposits
    WHERE sale_id = $1 AND left_step IS NULL GROUP BY item, wave
)
SELECT coalesce(sum(p.units), 0)::bigint AS promised, coalesce(sum(k.units), 0)::bigint AS kept,
    min(coalesce(p.item, k.item)) FILTER (
        WHERE coalesce(p.units, 0) <> coalesce(k.units, 0)) AS wrong
FROM (SELECT * FROM promises WHERE sale_id = $1) AS p FULL JOIN kept AS k USING (item, wave);

-- name: balance_sums
-- Orders whose balance is still to be paid, and those of them that the clock knows of.
SELECT count(*) AS open, count(b.order_id) AS known,
    min(o.id) FILTER (WHERE b.order_id IS NULL) AS wrong
FROM orders AS o LEFT JOIN balances AS b ON b.order_id = o.id AND b.next_at IS NOT NULL
WHERE o.id > $1 AND o.id < $1 || '{' AND o.state IN ('allocated', 'balance_due');
