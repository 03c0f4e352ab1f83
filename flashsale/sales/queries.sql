-- Statements of the merchant's side and of the public reads. Money is in minor units.

-- name: sales_by_id
-- Sales with their items, in no order.
SELECT
    s.id, s.merchant_id, s.name, s.kind, s.state,
    (extract(epoch FROM s.starts_at) * 1000)::bigint AS starts_at_ms,
    (extract(epoch FROM s.ends_at) * 1000)::bigint AS ends_at_ms,
    s.per_buyer_limit, s.hold_seconds, s.published_supply, s.lanes, s.epoch, s.durability,
    s.revision, s.armed_at IS NOT NULL AS armed, s.retired_at IS NOT NULL AS retired,
    (extract(epoch FROM s.created_at) * 1000)::bigint AS created_at_ms,
    s.cancellation, s.preorder, s.may_have_lost, s.paused_reason,
    (
        SELECT json_agg(
            json_build_array(
                i.item, i.sku, i.name, i.price_amount, i.price_currency, i.capacity,
                (extract(epoch FROM i.ships_at) * 1000)::bigint, i.deposit_amount,
                i.shut_reason
            ) ORDER BY i.item
        )
        FROM sale_items AS i WHERE i.sale_id = s.id
    ) AS items
FROM sales AS s WHERE s.id = ANY ($1::text[]);

-- name: page_of_merchant
-- A merchant's sales, newest first, behind (created at, id).
SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint AS place FROM sales
WHERE merchant_id = $1
    AND ($2::bigint IS NULL OR (created_at, id)
        < (timestamptz 'epoch' + $2 * interval '1 microsecond', $3))
ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: running_sales
-- Sales whose lanes Redis has to hold now, those that end first first.
SELECT id FROM sales
WHERE state IN ('scheduled', 'open', 'paused') AND armed_at IS NOT NULL AND retired_at IS NULL
    AND ends_at > now()
ORDER BY ends_at, id LIMIT $1;

-- name: page_of_public
-- Sales that buyers may look at, those that start last first, behind (starts at, id).
SELECT id, (extract(epoch FROM starts_at) * 1000000)::bigint AS place FROM sales
WHERE state IN ('scheduled', 'open', 'paused', 'closed')
    AND ($1::bigint IS NULL OR (starts_at, id)
        < (timestamptz 'epoch' + $1 * interval '1 microsecond', $2))
ORDER BY starts_at DESC, id DESC LIMIT $3;

-- name: insert_sale
-- A draft; its items follow in the same transaction.
INSERT INTO sales (
    id, merchant_id, name, starts_at, ends_at, per_buyer_limit, hold_seconds, published_supply,
    lanes, durability, kind, cancellation, preorder
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::jsonb, $13::jsonb);

-- name: insert_items
-- Numbered by their place in the form, behind those that are there.
INSERT INTO sale_items (
    sale_id, item, sku, name, price_amount, price_currency, capacity, ships_at, deposit_amount
)
SELECT $1, $2 + c.place - 1, c.sku, c.name, c.amount, c.currency, c.capacity, c.ships_at, c.deposit
FROM unnest(
    $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::timestamptz[], $9::bigint[]
) WITH ORDINALITY AS c (sku, name, amount, currency, capacity, ships_at, deposit, place);

-- name: first_supply
-- What items were given when they were made, before any wave or cut of supply.
SELECT i.item, i.capacity - coalesce((
    SELECT sum(s.quantity) FROM supplies AS s
    WHERE s.sale_id = i.sale_id AND s.item = i.item AND s.applied_at IS NOT NULL
), 0)::bigint AS units
FROM sale_items AS i WHERE i.sale_id = $1 AND i.item >= $2 ORDER BY i.item;

-- name: delete_items
-- A draft's items are replaced as a whole, and with them what was supplied to them at once.
WITH gone AS (DELETE FROM supplies WHERE sale_id = $1 AND state <> 'pending')
DELETE FROM sale_items WHERE sale_id = $1;

-- name: edit_sale
-- Only the revision and the state that the rules were checked against.
UPDATE sales SET
    name = $4, starts_at = $5, ends_at = $6, per_buyer_limit = $7, hold_seconds = $8,
    published_supply = $9, lanes = $10, durability = $11, kind = $12,
    cancellation = $13::jsonb, preorder = $14::jsonb, revision = revision + 1
WHERE id = $1 AND revision = $2 AND state = $3
RETURNING revision;

-- name: move_sale
-- A legal transition: the states it may come from are the caller's, out of domain.sales. A draft
-- that is cancelled never had lanes, so it counts as retired at once.
UPDATE sales SET
    state = $3, revision = revision + 1,
    retired_at = CASE WHEN state = 'draft' AND $3 = 'cancelled' THEN now() ELSE retired_at END
WHERE id = $1 AND merchant_id = $2 AND state = ANY ($4::text[])
RETURNING revision;

-- name: mark_armed
-- All lanes exist in this run of Redis.
UPDATE sales SET armed_at = now(), redis_run = $2 WHERE id = $1 AND armed_at IS NULL;

-- name: lock_sale
-- Changes of one sale's supply take turns; settlement's rows may still refer to it.
SELECT state FROM sales WHERE id = $1 FOR NO KEY UPDATE;

-- name: insert_supply
-- The intent. The same id again changes nothing.
INSERT INTO supplies (id, sale_id, item, quantity, at, reason, ships_at)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING;

-- name: supplies_by_id
-- Supplies with the SKUs they are for, in no order.
SELECT
    s.id, s.sale_id, s.item, i.sku, s.quantity, s.reason, s.state, s.shares,
    (extract(epoch FROM s.at) * 1000)::bigint AS at_ms,
    (extract(epoch FROM s.created_at) * 1000)::bigint AS created_at_ms,
    (extract(epoch FROM s.applied_at) * 1000)::bigint AS counted_at_ms,
    (extract(epoch FROM s.ships_at) * 1000)::bigint AS ships_at_ms
FROM supplies AS s JOIN sale_items AS i USING (sale_id, item)
WHERE s.id = ANY ($1::text[]);

-- name: page_of_supplies
-- A sale's supplies, oldest first, behind (created at, id).
SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint AS place FROM supplies
WHERE sale_id = $1
    AND ($2::bigint IS NULL OR (created_at, id)
        > (timestamptz 'epoch' + $2 * interval '1 microsecond', $3))
ORDER BY created_at, id LIMIT $4;

-- name: due_supplies
-- Supplies whose instant has come and that are not done.
SELECT id FROM supplies WHERE state = 'pending' AND at <= $1 ORDER BY at, id LIMIT $2;

-- name: half_refused_supplies
-- Refused cuts of which some lane may still have its share taken.
SELECT id FROM supplies WHERE state = 'refused' AND shares IS NOT NULL ORDER BY id LIMIT $1;

-- name: change_capacity
-- The bounds: no more than a SKU may have, no less than what is live. A cut may find releases not
-- settled yet; it is counted once they are.
UPDATE sale_items SET capacity = capacity + $3
WHERE sale_id = $1 AND item = $2 AND capacity + $3 BETWEEN live AND 1000000000
RETURNING capacity;

-- name: count_supply
-- Capacity has taken it in; `applied` once Redis has too.
UPDATE supplies SET applied_at = now(), state = $2
WHERE id = $1 AND state = 'pending' AND applied_at IS NULL
RETURNING id;

-- name: end_supply
-- The supply's last state.
UPDATE supplies SET state = $2, shares = $3 WHERE id = $1 AND state IN ('pending', $2)
RETURNING id;

-- name: share_supply
-- How the lanes share a cut: decided once.
UPDATE supplies SET shares = $2 WHERE id = $1 AND state = 'pending' AND shares IS NULL
RETURNING id;

-- name: has_pending_supply
-- Whether supply is planned that a change of items would orphan.
SELECT EXISTS (SELECT FROM supplies WHERE sale_id = $1 AND state = 'pending');

-- name: touch_sale
-- What the sale offers has changed: caches hear of it and the ETag moves on.
UPDATE sales SET revision = revision + 1 WHERE id = $1;

-- name: server_settings
-- What our sessions may rely on, and where the data lies if that is on the machine that asks; a
-- server that hides the place is none.
SELECT
    current_setting('server_version_num')::integer / 10000 AS version,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    (
        SELECT setting FROM pg_settings WHERE name = 'data_directory'
            AND (inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8'
                OR inet_server_addr() = '::1')
    ) AS local_folder;

-- name: order_instants
-- When the first and the last order came, and the longest that settling one took. A hold lasts
-- equally long throughout a sale, so its end tells its beginning, which later events overwrite.
SELECT
    (extract(epoch FROM min(hold_expires_at)) * 1000)::bigint - $2::bigint AS first_ms,
    (extract(epoch FROM max(hold_expires_at)) * 1000)::bigint - $2::bigint AS last_ms,
    (extract(epoch FROM max(settled_at - decided_at)) * 1000)::bigint AS settlement_lag_max_ms
FROM orders WHERE id > $1 AND id < $1 || '{';

-- name: sold_out_instants
-- Items of which nothing is left, and when the last of the units that are gone went.
SELECT i.item, (extract(epoch FROM max(o.hold_expires_at)) * 1000)::bigint - $2::bigint AS at_ms
FROM sale_items AS i
JOIN orders AS o
    ON o.id > $1 AND o.id < $1 || '{' AND o.item = i.item AND o.state = ANY ($3::text[])
WHERE i.sale_id = $1 AND i.live = i.capacity GROUP BY i.item;
