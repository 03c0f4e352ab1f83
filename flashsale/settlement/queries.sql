-- Statements of settlement and of the ledger's readers. Money is in minor units.

-- name: catalogue
-- What one unit of each item of a sale costs; prices never change once a sale is scheduled.
SELECT item, price_amount FROM sale_items WHERE sale_id = $1;

-- name: lanes_to_read
-- Sales whose lanes exist in Redis.
SELECT id, lanes FROM sales WHERE armed_at IS NOT NULL AND retired_at IS NULL
ORDER BY starts_at, id;

-- name: lock_orders
-- Orders that a batch may change, locked in the order in which every worker locks them.
SELECT id, state, version, item FROM orders WHERE id = ANY ($1::text[]) ORDER BY id FOR UPDATE;

-- name: update_orders
-- Newer states. The rows were read under their lock in this transaction: no other test is needed.
-- An event answers what was decided here before (`closing`): the order is open to decisions again.
UPDATE orders AS o
SET state = c.state, version = c.version, decided_at = c.decided_at, settled_at = now(),
    item = c.item, closing = NULL,
    unit_amount = CASE WHEN o.item = c.item THEN o.unit_amount ELSE c.unit_amount END
FROM unnest($1::text[], $2::text[], $3::integer[], $4::timestamptz[], $5::integer[], $6::bigint[])
    AS c (id, state, version, decided_at, item, unit_amount)
WHERE o.id = c.id;

-- name: reject_orders
-- New orders for which there is no room.
UPDATE orders SET state = 'rejected' WHERE id = ANY ($1::text[]);

-- name: lock_room
-- Units that still fit, item by item, locked in one order after the orders: no ring of waiters.
SELECT item, capacity - live AS room FROM sale_items
WHERE sale_id = $1 AND item = ANY ($2::integer[]) ORDER BY item FOR UPDATE;

-- name: has_gap
-- Whether entries before the newest settled one, or before this batch's, are not settled yet.
WITH known AS (
    SELECT lane, settled AS entries FROM lanes WHERE sale_id = $1
    UNION ALL
    SELECT lane, range_agg(int8range(seq, seq + 1)) FROM dead_letters
    WHERE sale_id = $1 GROUP BY lane
    UNION ALL
    SELECT $2::smallint, $3::int8multirange
)
SELECT bool_or(NOT entries @> int8range(1, upper(entries)))
FROM (SELECT range_agg(entries) AS entries FROM known GROUP BY lane) AS by_lane;

-- name: add_live
-- The items are locked. The CHECK on `live` is the last word.
UPDATE sale_items AS i SET live = i.live + c.delta
FROM unnest($2::integer[], $3::bigint[]) AS c (item, delta)
WHERE i.sale_id = $1 AND i.item = c.item;

-- name: advance_lane
-- The lane's row is locked last. A range added twice changes nothing; ids compare as numbers. No
-- row comes back where recovery has drained the lane meanwhile: the batch is a zombie's.
INSERT INTO lanes AS l (sale_id, lane, settled, last_entry_id)
VALUES ($1, $2, $3::int8multirange, $4)
ON CONFLICT (sale_id, lane) DO UPDATE SET
    settled = l.settled + EXCLUDED.settled,
    last_entry_id = CASE
        WHEN string_to_array(EXCLUDED.last_entry_id, '-')::numeric[]
            > string_to_array(l.last_entry_id, '-')::numeric[]
        THEN EXCLUDED.last_entry_id
        ELSE l.last_entry_id
    END
WHERE l.drained_epoch <= $5
RETURNING true;

-- name: is_drained
-- Whether recovery has drained the lane of entries of an epoch.
SELECT drained_epoch > $3 FROM lanes WHERE sale_id = $1 AND lane = $2;

-- name: lock_order
-- One order that is about to change without Redis.
SELECT id, sale_id, item, buyer_id, quantity, state, version, closing
FROM orders WHERE id = $1 FOR UPDATE;

-- name: ended_sale
-- Whether the sale's lanes are gone for good, and how it ended.
SELECT retired_at IS NOT NULL AS retired, state = 'cancelled' AS cancelled, per_buyer_limit
FROM sales WHERE id = $1;

-- name: lock_all_room
-- Units that still fit, of every item of a sale: who changes one of its orders waits for us.
SELECT item, capacity - live AS room FROM sale_items WHERE sale_id = $1 ORDER BY item FOR UPDATE;

-- name: live_of_buyer
-- A buyer's live units in a sale.
SELECT coalesce(sum(quantity), 0)::bigint FROM orders
WHERE buyer_id = $2 AND sale_id = $1 AND state = ANY ($3::text[]);

-- name: move_order
-- The order's next state, decided here; its price is that of its item.
UPDATE orders AS o
SET state = $2, version = o.version + 1, item = $3, closing = NULL,
    unit_amount = CASE WHEN o.item = $3 THEN o.unit_amount ELSE i.price_amount END,
    decided_at = now(), settled_at = now()
FROM sale_items AS i WHERE o.id = $1 AND i.sale_id = o.sale_id AND i.item = $3;

-- name: add_dead_letters
-- Entries that cannot be settled; delivered again they are here already.
INSERT INTO dead_letters (sale_id, lane, seq, entry_id, fields, error)
SELECT $1, $2, c.seq, c.entry_id, c.fields::jsonb, c.error
FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[]) AS c (seq, entry_id, fields, error)
ON CONFLICT (sale_id, lane, entry_id) DO NOTHING;

-- name: find_order
-- One order by its id; instants as Unix milliseconds, as everywhere outside Postgres.
SELECT id, sale_id, item, buyer_id, quantity, unit_amount, state, version,
    (extract(epoch FROM hold_expires_at) * 1000)::bigint AS hold_expires_at_ms,
    (extract(epoch FROM decided_at) * 1000)::bigint AS decided_at_ms,
    (extract(epoch FROM settled_at) * 1000)::bigint AS settled_at_ms
FROM orders WHERE id = $1;

-- name: orders_of_buyer
-- Buyer ids are a merchant's own, so another merchant's buyer of the same name is left out.
SELECT o.id, o.sale_id, o.item, o.buyer_id, o.quantity, o.unit_amount, o.state, o.version,
    (extract(epoch FROM o.hold_expires_at) * 1000)::bigint AS hold_expires_at_ms,
    (extract(epoch FROM o.decided_at) * 1000)::bigint AS decided_at_ms,
    (extract(epoch FROM o.settled_at) * 1000)::bigint AS settled_at_ms
FROM orders AS o JOIN sales AS s ON s.id = o.sale_id
WHERE o.buyer_id = $2 AND s.merchant_id = $1 AND o.id > $3
ORDER BY o.id LIMIT $4;

-- name: orders_of_sale
-- Ids begin with the sale's, so a page is a range of the primary key; '{' follows every letter.
SELECT id, sale_id, item, buyer_id, quantity, unit_amount, state, version,
    (extract(epoch FROM hold_expires_at) * 1000)::bigint AS hold_expires_at_ms,
    (extract(epoch FROM decided_at) * 1000)::bigint AS decided_at_ms,
    (extract(epoch FROM settled_at) * 1000)::bigint AS settled_at_ms
FROM orders
WHERE id > greatest($1, $2) AND id < $1 || '{' AND ($4::text IS NULL OR state = $4)
ORDER BY id LIMIT $3;

-- name: report_of_sale
-- Orders, units and money by item and state.
SELECT item, state, count(*) AS orders, sum(quantity)::bigint AS units,
    sum(quantity * unit_amount)::bigint AS amount
FROM orders WHERE id > $1 AND id < $1 || '{' GROUP BY item, state ORDER BY item, state;

-- name: dead_letters
-- Entries put aside, of all sales or of one, as their streams had them; or one entry.
SELECT sale_id, lane, seq, entry_id, fields::text AS fields, error, created_at FROM dead_letters
WHERE ($1::text IS NULL OR sale_id = $1) AND ($2::text IS NULL OR entry_id = $2)
ORDER BY sale_id, lane, seq, entry_id;

-- name: remove_dead_letter
-- It is settled.
DELETE FROM dead_letters WHERE sale_id = $1 AND lane = $2 AND entry_id = $3;

-- name: dismiss_dead_letter
-- A letter whose sale was rebuilt since, or has no lanes any more, is of no use: nothing is held
-- for it. $4 is the epoch it was decided in, null where nobody can read it. Its number is accounted
-- for (INV-15). No row comes back where its units may still be held.
WITH gone AS (
    DELETE FROM dead_letters AS d USING sales AS s
    WHERE d.sale_id = $1 AND d.lane = $2 AND d.entry_id = $3 AND s.id = d.sale_id
        AND (s.retired_at IS NOT NULL OR (
            NOT EXISTS (SELECT FROM recoveries AS r WHERE r.sale_id = s.id AND r.step <> 'opened')
            AND (
                EXISTS (SELECT FROM lanes AS l
                    WHERE l.sale_id = s.id AND l.lane = d.lane AND l.drained_epoch > $4::integer)
                OR EXISTS (SELECT FROM recoveries AS r
                    WHERE r.sale_id = s.id AND r.started_at > d.created_at)
            )))
    RETURNING s.id, s.merchant_id, d.lane, d.seq, d.entry_id, d.error, d.fields
), counted AS (
    UPDATE lanes AS l SET lost = l.lost + int8multirange(int8range(gone.seq, gone.seq + 1))
    FROM gone WHERE l.sale_id = gone.id AND l.lane = gone.lane AND gone.seq > 0
), told AS (
    UPDATE sales AS s SET may_have_lost = true FROM gone WHERE s.id = gone.id
)
SELECT append_to_audit_log(merchant_id, 'operator', 'dismiss_dead_letter', entry_id, id,
    jsonb_build_object('lane', lane, 'because', $5::text, 'error', error, 'fields', fields))
FROM gone;
