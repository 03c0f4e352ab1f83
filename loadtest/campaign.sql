-- What a campaign's books say, row by row; no counter of the engine is believed. Nothing writes.

-- name: orders_by_state
-- Orders, units and what each state should have left of the money, minor units.
SELECT o.state, count(*) AS orders, sum(o.quantity)::bigint AS units,
    sum(CASE WHEN o.state = 'paid' THEN o.quantity * o.unit_amount
        WHEN o.state = 'forfeited' THEN o.quantity * i.deposit_amount
        ELSE 0 END)::bigint AS earned
FROM orders AS o JOIN sale_items AS i USING (sale_id, item)
WHERE o.sale_id = $1 GROUP BY o.state ORDER BY o.state;

-- name: orders_in
-- Orders in some states.
SELECT id FROM orders WHERE sale_id = $1 AND state = ANY ($2::text[]) AND closing IS NULL
ORDER BY id;

-- name: unfinished
-- What is still on its way: orders about to change, wishes, money not applied, refunds not done.
SELECT (SELECT count(*) FROM orders WHERE sale_id = $1 AND closing IS NOT NULL)
    + (SELECT count(*) FROM outbox WHERE subject LIKE $1 || '%')
    + (SELECT count(*) FROM payments WHERE sale_id = $1 AND applied_at IS NULL
        AND NOT (state = 'open' AND captured = 0 AND expires_at > now()))
    + (SELECT count(*) FROM refunds WHERE order_id LIKE $1 || '%' AND state <> 'done')
    + (SELECT count(*) FROM ledger_entries WHERE state IN ('received', 'unmatched'))
    + (SELECT count(*) FROM preorder_news WHERE sale_id = $1) AS unfinished;

-- name: ledger
-- The money ledger: movements that count.
SELECT event_id, kind, amount, fee FROM ledger_entries
WHERE sale_id = $1 AND kind IN ('captured', 'refunded');

-- name: payments
-- What the payments' rows say came in and went back.
SELECT coalesce(sum(captured), 0)::bigint AS captured,
    coalesce(sum(refunded), 0)::bigint AS refunded,
    count(*) FILTER (WHERE state = 'declined') AS declined
FROM payments WHERE sale_id = $1;

-- name: quarantined
-- What a person should look at.
SELECT count(*) FROM ledger_entries WHERE state IN ('quarantined', 'unmatched');

-- name: kid
-- The name of the buyers' key.
SELECT kid FROM merchant_buyer_keys WHERE merchant_id = $1 AND state = 'active'
    AND algorithm = 'HS256' AND secret = $2;
