-- What the benches read of a sale's orders; nothing writes. An order's id begins with its sale's.

-- name: kid
-- The name of the buyers' key.
SELECT kid FROM merchant_buyer_keys WHERE merchant_id = $1 AND state = 'active'
    AND algorithm = 'HS256' AND secret = $2;

-- name: in_state
-- How many orders of a sale are in a state, or in any.
SELECT count(*) FROM orders
WHERE id > $1 AND id < $1 || '{' AND ($2::text IS NULL OR state = $2);

-- name: to_pay
-- Settled orders behind an id, and their buyers.
SELECT id, buyer_id FROM orders
WHERE id > $1 AND id < $2 AND state = 'confirmed' ORDER BY id LIMIT $3;

-- name: unfinished
-- Whether money of a sale is on its way still.
SELECT (SELECT count(*) FROM outbox WHERE subject > $1 AND subject < $1 || '{')
    + (SELECT count(*) FROM payments WHERE sale_id = $1 AND applied_at IS NULL)
    + (SELECT count(*) FROM orders WHERE id > $1 AND id < $1 || '{' AND state = 'paying')
    AS unfinished;
