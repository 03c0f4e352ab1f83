-- What the checks after a run count for themselves. Nothing here writes.

-- name: stored_units
-- Units of orders that hold or have bought something, row by row: no counter is believed.
SELECT coalesce(sum(quantity), 0)::bigint FROM orders
WHERE id > $1 AND id < $1 || '~' COLLATE "C"
    AND state NOT IN ('expired', 'cancelled', 'rejected', 'refunded');

-- name: greedy_buyers
-- Buyers with more live units than the limit.
SELECT count(*) FROM (
    SELECT buyer_id FROM orders
    WHERE id > $1 AND id < $1 || '~' COLLATE "C"
        AND state NOT IN ('expired', 'cancelled', 'rejected', 'refunded')
    GROUP BY buyer_id
    HAVING sum(quantity) > $2
) AS greedy;
