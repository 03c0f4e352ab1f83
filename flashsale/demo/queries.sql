-- What the demo and the load tests read of a sale. Nothing here writes.

-- name: settled_units
-- Live units of a sale, as committed; one small row an item, so it may be asked often.
SELECT coalesce(sum(live), 0)::bigint FROM sale_items WHERE sale_id = $1;

-- name: orders_of_sale
-- Every order of a sale. An id begins with its sale's, and '~' sorts behind whatever follows it.
SELECT id, state FROM orders WHERE id > $1 AND id < $1 || '~' COLLATE "C";

-- name: settlement_lag
-- Median, 99th percentile and maximum of decided-to-settled, in seconds.
SELECT percentile_cont(ARRAY[0.5, 0.99, 1.0]) WITHIN GROUP (
    ORDER BY extract(epoch FROM settled_at - decided_at)::double precision
) AS seconds
FROM orders WHERE id > $1 AND id < $1 || '~' COLLATE "C";
