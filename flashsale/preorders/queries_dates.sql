-- Statements of promised dates. A part of the cap is a wave (a supply's id) or '', the base.

-- name: find_ship_date
-- A date that was moved.
SELECT d.id, d.sale_id, i.sku, nullif(d.wave, '') AS wave, d.reason,
    (extract(epoch FROM d.before) * 1000)::bigint AS before_ms,
    (extract(epoch FROM d.ships_at) * 1000)::bigint AS ships_at_ms,
    (extract(epoch FROM d.free_until) * 1000)::bigint AS free_until_ms,
    (extract(epoch FROM d.moved_at) * 1000)::bigint AS moved_at_ms
FROM ship_dates AS d JOIN sale_items AS i USING (sale_id, item) WHERE d.id = $1;

-- name: page_of_ship_dates
-- A sale's moved dates, oldest first, behind one of them.
SELECT d.id, d.sale_id, i.sku, nullif(d.wave, '') AS wave, d.reason,
    (extract(epoch FROM d.before) * 1000)::bigint AS before_ms,
    (extract(epoch FROM d.ships_at) * 1000)::bigint AS ships_at_ms,
    (extract(epoch FROM d.free_until) * 1000)::bigint AS free_until_ms,
    (extract(epoch FROM d.moved_at) * 1000)::bigint AS moved_at_ms
FROM ship_dates AS d JOIN sale_items AS i USING (sale_id, item)
WHERE d.sale_id = $1 AND ($2::text IS NULL OR (d.moved_at, d.id)
    > (SELECT a.moved_at, a.id FROM ship_dates AS a WHERE a.id = $2 AND a.sale_id = $1))
ORDER BY d.moved_at, d.id LIMIT $3;

-- name: move_base
-- The base supply's date is the item's.
UPDATE sale_items SET ships_at = $3 WHERE sale_id = $1 AND item = $2;

-- name: move_wave
-- A wave's date is its supply's.
UPDATE supplies SET ships_at = $2 WHERE id = $1;

-- name: touch_sale
-- What the sale promises has changed: caches hear of it and the ETag moves on.
UPDATE sales SET revision = revision + 1 WHERE id = $1;

-- name: insert_ship_date
-- History, and the window in which those affected may cancel freely.
INSERT INTO ship_dates (id, sale_id, item, wave, before, ships_at, reason, free_until, step,
    moved_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: untold
-- Moves of which not everybody has heard.
SELECT id FROM ship_dates WHERE told_step < step ORDER BY id LIMIT $1;

-- name: lock_untold
-- One of them, and nobody else tells of it meanwhile.
SELECT id, sale_id, item, wave, ships_at, reason, free_until, step, told_step FROM ship_dates
WHERE id = $1 AND told_step < step FOR NO KEY UPDATE SKIP LOCKED;

-- name: affected
-- Who joined this part of the cap before the move, behind a step.
SELECT joined_step, order_id FROM deposits
WHERE sale_id = $1 AND item = $2 AND wave = $3 AND joined_step > $4 AND joined_step < $5
    AND left_step IS NULL
ORDER BY joined_step LIMIT $6;

-- name: lock_told
-- The events of an order are written under its lock.
SELECT id FROM orders WHERE id = ANY ($1::text[]) ORDER BY id FOR NO KEY UPDATE;

-- name: tell
-- Whoever listens hears of the new date, order by order.
SELECT announce_event(s.merchant_id, 'order.ship_date_moved', d.sale_id, c.order_id,
    json_build_object('order_id', c.order_id, 'sale_id', d.sale_id, 'reason', d.reason,
        'ships_at', to_char(d.ships_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'free_cancel_until',
        to_char(d.free_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))
FROM ship_dates AS d JOIN sales AS s ON s.id = d.sale_id
CROSS JOIN unnest($2::text[]) AS c (order_id)
WHERE d.id = $1;

-- name: told
-- How far the telling has got.
UPDATE ship_dates SET told_step = $2 WHERE id = $1;

-- name: promise_of
-- What an order was promised, what holds now, and until when it may be cancelled freely: a move
-- frees those whose deposit had come before it.
SELECT
    (extract(epoch FROM d.promised_at) * 1000)::bigint AS promised_at_ms,
    (extract(epoch FROM CASE WHEN d.wave = '' THEN i.ships_at ELSE w.ships_at END)
        * 1000)::bigint AS ships_at_ms,
    (
        SELECT (extract(epoch FROM max(m.free_until)) * 1000)::bigint FROM ship_dates AS m
        WHERE m.sale_id = d.sale_id AND m.item = d.item AND m.wave = d.wave
            AND m.moved_at >= d.received_at
    ) AS free_until_ms,
    (SELECT (extract(epoch FROM b.due_at) * 1000)::bigint FROM balances AS b
        WHERE b.order_id = d.order_id) AS balance_due_at_ms
FROM deposits AS d JOIN sale_items AS i USING (sale_id, item)
LEFT JOIN supplies AS w ON w.id = d.wave
WHERE d.order_id = $1 AND d.left_step IS NULL;
