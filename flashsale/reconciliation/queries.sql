-- The audit's reads. They change nothing, and belong to one repeatable-read transaction each cut.

-- name: sales_to_audit
-- Sales whose lanes exist, or have existed, in Redis.
SELECT id FROM sales WHERE armed_at IS NOT NULL ORDER BY starts_at, id;

-- name: sale
-- What the audit must know of a sale.
SELECT id, state, lanes, epoch, per_buyer_limit,
    armed_at IS NOT NULL AS armed, retired_at IS NOT NULL AS retired
FROM sales WHERE id = $1;

-- name: lanes
-- What settlement remembers of each lane's stream; entries that recovery gave up count as done.
SELECT lane, settled + lost AS settled, last_entry_id
FROM lanes WHERE sale_id = $1 ORDER BY lane;

-- name: dead_letters
-- Entries put aside; there should be none, so nobody pages through them.
SELECT lane, seq, entry_id, fields::text AS fields, error FROM dead_letters
WHERE sale_id = $1 ORDER BY lane, seq, entry_id;

-- name: items
-- Capacity and counter of each item. `in_transit` are units that one store may have taken in before
-- the other: waves are counted here first, cuts in Redis first.
SELECT i.item, i.sku, i.capacity, i.live, coalesce((
    SELECT sum(abs(s.quantity)) FROM supplies AS s
    WHERE s.sale_id = i.sale_id AND s.item = i.item AND (
        (s.state = 'pending' AND s.applied_at IS NOT NULL)
        OR (s.state = 'pending' AND s.quantity < 0 AND s.at <= now() + interval '5 seconds')
        OR (s.state = 'refused' AND s.shares IS NOT NULL)
    )
), 0)::bigint AS in_transit
FROM sale_items AS i WHERE i.sale_id = $1 ORDER BY i.item;

-- name: tally
-- Orders and units of each item and state, and how many break a rule that a row alone can show.
-- `misfiled`: of no item of the sale, or of another price. `illegal`: ended or paid at once.
-- `outside`: reserved before the start or after the end by Redis' clock, which counts milliseconds.
SELECT o.item, o.state, count(*) AS orders, sum(o.quantity)::bigint AS units,
    count(*) FILTER (
        WHERE i.item IS NULL OR o.unit_amount <> i.price_amount OR o.sale_id <> $1
    ) AS misfiled,
    count(*) FILTER (
        WHERE o.version = 1 AND o.state NOT IN ('confirmed', 'rejected')
    ) AS illegal,
    count(*) FILTER (
        WHERE o.version = 1 AND (
            o.decided_at < s.starts_at - interval '1 millisecond'
            OR o.decided_at >= s.ends_at + interval '1 millisecond'
        )
    ) AS outside
FROM sales AS s
JOIN orders AS o ON o.id >= $1 AND o.id < $1 || '~'
LEFT JOIN sale_items AS i ON i.sale_id = $1 AND i.item = o.item
WHERE s.id = $1
GROUP BY o.item, o.state ORDER BY o.item, o.state;

-- name: largest_buyer_units
-- The most live units that one buyer has.
SELECT coalesce(max(units), 0)::bigint FROM (
    SELECT sum(quantity) AS units FROM orders
    WHERE id >= $1 AND id < $1 || '~' AND state = ANY ($2::text[]) GROUP BY buyer_id
) AS buyers;

-- name: orders_by_buyer
-- Every order of a sale, a buyer's together, each with the live units of its buyer.
SELECT substr(id, 13) AS order_hash, state, version, item, quantity, buyer_id,
    coalesce(sum(quantity) FILTER (WHERE state = ANY ($2::text[]))
        OVER (PARTITION BY buyer_id), 0)::bigint AS buyer_units
FROM orders WHERE id >= $1 AND id < $1 || '~' ORDER BY buyer_id;

-- name: orders_of
-- Some orders.
SELECT substr(id, 13) AS order_hash, state, version, item, quantity, buyer_id
FROM orders WHERE id = ANY ($1::text[]);

-- name: rejected_orders
-- Orders that did not fit: until Redis is told, it holds their units.
SELECT substr(id, 13) AS order_hash, buyer_id FROM orders
WHERE id >= $1 AND id < $1 || '~' AND state = 'rejected';

-- name: units_of_buyers
-- Live units of some buyers of a sale.
SELECT buyer_id, sum(quantity)::bigint AS units FROM orders
WHERE buyer_id = ANY ($2::text[]) AND sale_id = $1 AND state = ANY ($3::text[])
GROUP BY buyer_id;

-- name: server_settings
-- Settings that the doctor looks at.
SELECT name, setting FROM pg_settings WHERE name = ANY ($1::text[]);

-- name: clock
-- Postgres' clock, Unix milliseconds.
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
