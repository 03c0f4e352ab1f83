-- Statements of a buyer's change of SKU. The order is locked first.

-- name: find_order
-- Whose order it is.
SELECT buyer_id FROM orders WHERE id = $1;

-- name: lock_order
-- The order as it is now; nobody else decides about it until the end.
SELECT item, buyer_id, quantity, state, closing FROM orders WHERE id = $1 FOR NO KEY UPDATE;

-- name: paid_towards
-- What was paid of it, in minor units.
SELECT coalesce(sum(captured), 0)::bigint FROM payments WHERE order_id = $1 AND counts;

-- name: ask_change
-- The wish, and that nothing else may be decided until it is answered.
WITH asked AS (UPDATE orders SET closing = 'changing' WHERE id = $1)
INSERT INTO item_changes (order_id, item) VALUES ($1, $2);

-- name: claim_change
-- The wish that is still to be answered, for whoever asks Redis now.
UPDATE item_changes AS c
SET fence = fence + 1, leased_until = now() + $2::bigint * interval '1 millisecond'
FROM orders AS o
WHERE c.order_id = $1 AND c.state = 'asked' AND o.id = c.order_id
    AND (c.leased_until IS NULL OR c.leased_until < now())
RETURNING c.item, o.buyer_id, c.fence;

-- name: is_asked
-- Whether a wish is still to be answered.
SELECT EXISTS (SELECT FROM item_changes WHERE order_id = $1 AND state = 'asked');

-- name: last_refusal
-- Why the last wish was refused, if it was.
SELECT refusal FROM item_changes WHERE order_id = $1 ORDER BY id DESC LIMIT 1;

-- name: grant_change
-- Redis has changed the SKU; its event will change the order.
UPDATE item_changes SET state = 'done'
WHERE order_id = $1 AND state = 'asked' AND fence = $2;

-- name: same_epoch
-- Whether the lanes that answered are still the sale's: recovery waits until that is written down.
SELECT epoch = $2 FROM sales WHERE id = $1 FOR SHARE;

-- name: give_up_change
-- Whoever comes next asks again.
UPDATE item_changes SET leased_until = NULL
WHERE order_id = $1 AND state = 'asked' AND fence = $2;

-- name: refuse_change
-- Nothing was changed: the order may be decided about again.
WITH refused AS (
    UPDATE item_changes SET state = 'refused', refusal = $3
    WHERE order_id = $1 AND state = 'asked' AND fence = $2 RETURNING order_id
)
UPDATE orders SET closing = NULL
WHERE id IN (SELECT order_id FROM refused) AND closing = 'changing';

-- name: free_order
-- Decided here, since no lane is left to be told: nothing is awaited any more.
UPDATE orders SET closing = NULL WHERE id = $1 AND closing = 'changing';
