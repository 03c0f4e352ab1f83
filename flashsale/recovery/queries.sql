-- Statements of recovery.

-- name: watched
-- Sales whose lanes must be in Redis, with what was ever known of each lane.
SELECT
    s.id, s.epoch, s.lanes, s.redis_run AS run,
    EXISTS (SELECT FROM recoveries AS r WHERE r.sale_id = s.id AND r.step <> 'opened') AS under_way,
    coalesce(json_agg(json_build_array(
        l.lane, l.last_entry_id, l.seen_seq, coalesce(upper(l.settled), 1) - 1
    )) FILTER (WHERE l.lane IS NOT NULL), '[]') AS known
FROM sales AS s LEFT JOIN lanes AS l ON l.sale_id = s.id
WHERE s.armed_at IS NOT NULL AND s.retired_at IS NULL AND ($1::text[] IS NULL OR s.id = ANY ($1))
GROUP BY s.id ORDER BY s.id;

-- name: run_of
-- The run of Redis in which the sale's lanes were armed, or last sealed.
SELECT redis_run FROM sales WHERE id = $1;

-- name: sealed
-- All lanes are sealed in this run of Redis. What of them came into the run is noted once.
WITH survived AS (
    INSERT INTO lanes AS l (sale_id, lane, survived_seq)
    SELECT $1, lane - 1, seq FROM unnest($3::bigint[]) WITH ORDINALITY AS s (seq, lane)
    ORDER BY lane
    ON CONFLICT (sale_id, lane) DO UPDATE SET survived_seq = EXCLUDED.survived_seq
    WHERE (SELECT redis_run IS DISTINCT FROM $2 FROM sales WHERE id = $1)
)
UPDATE sales SET redis_run = $2 WHERE id = $1;

-- name: of_another_run
-- A sale whose lanes were neither armed nor sealed in this run of Redis; or none.
SELECT id FROM sales
WHERE armed_at IS NOT NULL AND retired_at IS NULL AND redis_run IS DISTINCT FROM $1
ORDER BY id LIMIT 1;

-- name: tell_of_lost
-- Sales of which a buyer was answered with a later entry than the last rebuilding has found. What
-- was not rebuilt in this run, since it is retired, has lost nothing by it.
UPDATE sales AS s SET may_have_lost = true
FROM unnest($1::text[], $2::smallint[], $3::bigint[]) AS heard (sale_id, lane, seq)
JOIN lanes AS l USING (sale_id, lane)
WHERE s.id = heard.sale_id AND s.redis_run = $4
    AND NOT s.may_have_lost AND heard.seq > l.survived_seq;

-- name: note_seen
-- The newest entry number that was seen; it never goes down.
INSERT INTO lanes AS l (sale_id, lane, seen_seq)
SELECT * FROM unnest($1::text[], $2::smallint[], $3::bigint[])
ON CONFLICT (sale_id, lane) DO UPDATE SET seen_seq = EXCLUDED.seen_seq
WHERE l.seen_seq < EXCLUDED.seen_seq;

-- name: take_sale
-- One recovery of a sale at a time; held by the session, which Postgres ends where nothing is heard
-- of it: whoever stands still in the middle keeps nobody from going on.
SELECT pg_try_advisory_lock($1, hashtext($2)), set_config('idle_session_timeout', '60s', false);

-- name: release_sale
-- Others may look after the sale again.
SELECT pg_advisory_unlock($1, hashtext($2));

-- name: under_way
-- A recovery that was begun and not ended.
SELECT epoch FROM recoveries WHERE sale_id = $1 AND step <> 'opened';

-- name: raise_epoch
-- From now on every script refuses what an old epoch sends, also one that only Redis remembers.
UPDATE sales SET epoch = greatest(epoch, $2) + 1
WHERE id = $1 AND armed_at IS NOT NULL AND retired_at IS NULL
RETURNING epoch;

-- name: begin_recovery
-- What is about to be done, and why.
INSERT INTO recoveries (sale_id, epoch, reason) VALUES ($1, $2, $3);

-- name: begin_anew
-- One that was begun before Postgres went back goes on under an epoch that Redis has not seen.
UPDATE recoveries SET epoch = $2, reason = $3 WHERE sale_id = $1 AND step <> 'opened';

-- name: lock_sale
-- A cut that Redis has taken is counted before the capacity is read: its lock lasts until then.
SELECT FROM sales WHERE id = $1 FOR NO KEY UPDATE;

-- name: count_waves
-- Waves that the capacity holds already are sold by the rebuilding, and told to nobody again.
UPDATE supplies SET state = 'applied'
WHERE sale_id = $1 AND state = 'pending' AND applied_at IS NOT NULL AND quantity > 0;

-- name: forget_cuts
-- Of a refused cut nothing is taken any more: the rebuilt lanes have what the capacity says.
UPDATE supplies SET shares = NULL
WHERE sale_id = $1 AND state = 'refused' AND shares IS NOT NULL;

-- name: step_on
-- The next step, and how long the last one took.
UPDATE recoveries SET
    step = $3, took_ms = jsonb_set(took_ms, ARRAY[$4::text],
        to_jsonb(coalesce((took_ms ->> $4)::bigint, 0) + $5::bigint))
WHERE sale_id = $1 AND epoch = $2;

-- name: fence
-- Whoever still holds an entry of an earlier epoch settles it no more. A batch that is being
-- written keeps this waiting for its lane's row, and is read below.
INSERT INTO lanes AS l (sale_id, lane, drained_epoch)
SELECT $1, lane, $3 FROM generate_series(0, $2::integer - 1) AS lane ORDER BY lane
ON CONFLICT (sale_id, lane) DO UPDATE
SET drained_epoch = greatest(l.drained_epoch, EXCLUDED.drained_epoch);

-- name: forget_settled_letters
-- What was put aside and is settled after all, now that the stream was read from its beginning.
DELETE FROM dead_letters AS d USING lanes AS l
WHERE d.sale_id = $1 AND l.sale_id = d.sale_id AND l.lane = d.lane AND l.settled @> d.seq;

-- name: orders
-- Every order of a sale with the instant until which its payment may decide.
SELECT o.id, o.state, o.version, o.item, o.quantity, o.buyer_id,
    (extract(epoch FROM o.hold_expires_at) * 1000)::bigint,
    coalesce((extract(epoch FROM p.expires_at) * 1000)::bigint, 0)
FROM orders AS o
LEFT JOIN payments AS p ON p.order_id = o.id AND p.applied_at IS NULL
WHERE o.id > $1 AND o.id < $1 || '{';

-- name: lane_history
-- Entry numbers settled and put aside, the newest ids and numbers that anybody has seen.
SELECT
    l.lane, l.last_entry_id, l.seen_seq, l.settled,
    (SELECT range_agg(int8range(seq, seq + 1)) FROM dead_letters AS d
     WHERE d.sale_id = l.sale_id AND d.lane = l.lane) AS dead
FROM lanes AS l WHERE l.sale_id = $1;

-- name: note_lost
-- Accounts for entries that no disk has any more.
INSERT INTO lanes AS l (sale_id, lane, lost, seen_seq) VALUES ($1, $2, $3, $4)
ON CONFLICT (sale_id, lane) DO UPDATE SET
    lost = l.lost + EXCLUDED.lost, seen_seq = greatest(l.seen_seq, EXCLUDED.seen_seq);

-- name: may_have_lost
-- A buyer whose order is nowhere is told that it may have been lost.
UPDATE sales SET may_have_lost = true WHERE id = $1 AND NOT may_have_lost;

-- name: wish_again
-- What Redis was told of money, and may have forgotten before it was settled: it is told again. All
-- that survived is settled by now, so an order whose row does not show it yet has lost its event;
-- where Redis knows after all, it says so and nothing changes. Wishing again outlives whoever is at
-- work on the wish at this moment, with an answer of the old lanes in hand.
WITH lost AS (
    SELECT id, closing FROM orders WHERE id > $1 AND id < $1 || '{' AND closing IS NOT NULL
), asked AS (
    UPDATE item_changes AS c SET state = 'asked', leased_until = NULL
    FROM lost AS o
    WHERE o.closing = 'changing' AND c.state = 'done'
        AND c.id = (SELECT max(id) FROM item_changes AS last WHERE last.order_id = o.id)
), wishes AS (
    SELECT 'apply_payment' AS kind, p.id AS subject
    FROM payments AS p JOIN orders AS o ON o.id = p.order_id
    WHERE p.sale_id = $1 AND p.counts AND p.purpose IN ('full', 'deposit')
        AND o.state IN ('confirmed', 'paying', 'expired')
    UNION ALL
    SELECT CASE closing WHEN 'changing' THEN 'change_item' ELSE 'return_units' END, id FROM lost
)
INSERT INTO outbox AS o (kind, subject) SELECT kind, subject FROM wishes ORDER BY kind, subject
ON CONFLICT (kind, subject) DO UPDATE SET
    wishes = o.wishes + 1, attempts = 0, due_at = least(o.due_at, EXCLUDED.due_at);

-- name: end_recovery
-- The record of what was rebuilt.
UPDATE recoveries SET
    step = 'opened', opened_at = now(), orders = $3, live_units = $4, entries_lost = $5,
    took_ms = jsonb_set(took_ms, '{rebuilding}',
        to_jsonb(coalesce((took_ms ->> 'rebuilding')::bigint, 0) + $6::bigint))
WHERE sale_id = $1 AND epoch = $2
RETURNING took_ms, reason;
