-- What a sale has taken in money, for its report. Amounts are in minor units.

-- name: takings
-- What came in and went back, by item, state and purpose; `refunding` is still on its way back.
SELECT o.item, o.state, p.purpose, sum(p.captured)::bigint AS captured,
    sum(p.refunding - p.refunded)::bigint AS refunding, sum(p.refunded)::bigint AS refunded,
    sum(p.fee)::bigint AS fees
FROM payments AS p JOIN orders AS o ON o.id = p.order_id
WHERE p.sale_id = $1 GROUP BY o.item, o.state, p.purpose;

-- name: due
-- What orders that hold units have still to pay. What a merchant gave back is not due again.
SELECT o.item, o.state,
    sum(greatest(o.unit_amount * o.quantity - coalesce(p.captured, 0), 0))::bigint AS due
FROM orders AS o
LEFT JOIN (
    SELECT order_id, sum(captured) AS captured FROM payments
    WHERE sale_id = $1 AND counts GROUP BY order_id
) AS p ON p.order_id = o.id
WHERE o.id >= $1 AND o.id < $1 || '~' AND o.state = ANY ($2::text[])
GROUP BY o.item, o.state;

-- name: unexplained
-- Events of the provider whose money is in no order: an operator looks at them.
SELECT count(*) FILTER (WHERE state = 'quarantined') AS quarantined,
    count(*) FILTER (WHERE state IN ('received', 'unmatched')) AS unmatched
FROM ledger_entries WHERE sale_id = $1;
