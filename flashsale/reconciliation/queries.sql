-- The audit's reads. They change nothing, and belong to one repeatable-read transaction each cut.

-- name: sales_to_audit
-- Sales whose lanes exist, or have existed, in Redis.
SELECT id FROM sales WHERE armed_at IS NOT NULL ORDER BY starts_at, id;

-- name: sales_to_watch
-- Sales that are selling, are about to, or were and are still in Redis.
SELECT id FROM sales
WHERE armed_at IS NOT NULL AND retired_at IS NULL
    AND (state <> 'scheduled' OR starts_at <= now() + interval '1 minute')
ORDER BY starts_at, id;

-- name: shut_item
-- Once, with its entry in the merchant's log and an event for whoever listens.
WITH shut AS (
    UPDATE sale_items SET shut_at = now(), shut_reason = $3
    WHERE sale_id = $1 AND item = $2 AND shut_at IS NULL RETURNING sku
)
SELECT
    append_to_audit_log(s.merchant_id, 'engine', 'shut_item', shut.sku, s.id,
        jsonb_build_object('reason', $3::text)),
    announce_event(s.merchant_id, 'sale.sku_shut', s.id, NULL,
        json_build_object('sale_id', s.id, 'sku', shut.sku, 'reason', $3::text))
FROM sales AS s, shut WHERE s.id = $1;

-- name: shut_items
-- How many SKUs nobody may reserve, of sales that Redis holds.
SELECT count(*) FROM sale_items AS i JOIN sales AS s ON s.id = i.sale_id
WHERE i.shut_at IS NOT NULL AND s.retired_at IS NULL;

-- name: shut_items_of
-- A sale's SKUs that nobody may reserve.
SELECT item, sku, shut_at, shut_reason FROM sale_items
WHERE sale_id = $1 AND shut_at IS NOT NULL ORDER BY item;

-- name: reopen_item
-- With its entry in the merchant's log and an event for whoever listens.
WITH opened AS (
    UPDATE sale_items SET shut_at = NULL, shut_reason = NULL
    WHERE sale_id = $1 AND item = $2 AND shut_at IS NOT NULL RETURNING sku
)
SELECT
    append_to_audit_log(s.merchant_id, 'operator', 'reopen_item', opened.sku, s.id,
        jsonb_build_object('because', $3::text)),
    announce_event(s.merchant_id, 'sale.sku_reopened', s.id, NULL,
        json_build_object('sale_id', s.id, 'sku', opened.sku))
FROM sales AS s, opened WHERE s.id = $1;

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
