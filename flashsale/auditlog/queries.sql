-- The audit log (settlement/migrations/0007_audit_log.sql): append, page, and what is checked.

-- name: carry_act
-- Tell the session in whose name it works; the pool's reset clears it when the connection returns.
SELECT set_config('flashsale.acting', $1, false);

-- name: append
-- One entry behind the newest one of the merchant; its number.
SELECT append_to_audit_log($1, $2, $3, $4, $5, $6::jsonb);

-- name: page_of_merchant
-- A merchant's entries, newest first, before a number.
SELECT seq, entry, hash FROM audit_log
WHERE merchant_id = $1 AND ($2::bigint IS NULL OR seq < $2)
ORDER BY seq DESC LIMIT $3;

-- name: page_of_sale
-- A sale's entries, newest first, before a number; another merchant's sale has none here.
SELECT seq, entry, hash FROM audit_log
WHERE merchant_id = $1 AND sale_id = $2 AND ($3::bigint IS NULL OR seq < $3)
ORDER BY seq DESC LIMIT $4;

-- name: heads
-- Where every chain ends. Entries without a head were never made by the engine.
SELECT merchant_id, seq, hash FROM audit_heads
UNION ALL
SELECT DISTINCT merchant_id, 0::bigint, repeat('0', 64) FROM audit_log AS l
WHERE NOT EXISTS (SELECT FROM audit_heads AS h WHERE h.merchant_id = l.merchant_id)
ORDER BY merchant_id;

-- name: rows_of_chain
-- A chain's rows behind a number, in order.
SELECT seq, entry, hash FROM audit_log
WHERE merchant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3;
