-- What stands beside settled orders: their money and their shipments. Money is in minor units.

-- name: paid_towards
-- What has come in of the payments that pay an order, so that the rest can be told.
SELECT order_id, sum(captured)::bigint AS paid FROM payments
WHERE order_id = ANY ($1::text[]) AND counts GROUP BY order_id;

-- name: beside_orders
-- Money that came in and went back, whatever it was for, and how the order was sent.
SELECT o.id, p.captured, p.refunded, s.carrier, s.tracking_number,
    (extract(epoch FROM s.shipped_at) * 1000)::bigint AS shipped_at_ms
FROM unnest($1::text[]) AS o (id)
LEFT JOIN (
    SELECT order_id, sum(captured)::bigint AS captured, sum(refunded)::bigint AS refunded
    FROM payments WHERE order_id = ANY ($1::text[]) GROUP BY order_id
) AS p ON p.order_id = o.id
LEFT JOIN shipments AS s ON s.order_id = o.id
WHERE p.order_id IS NOT NULL OR s.order_id IS NOT NULL;
