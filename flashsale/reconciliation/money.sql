-- The audit's reads of money: every order against its payments, every payment against the ledger.
-- Each line that a statement returns is one equation, added up over its places: `waiting` are
-- places that differ and are on their way, which the sums leave out; `wrong` differ for good.

-- name: balances
-- The equations of one sale. $2: orders that unsettled events will change; $3 to $5: seconds that
-- money may be on its way, a payment's outcome to its order, and an order's closing to Redis.
WITH paid_in AS MATERIALIZED (
    SELECT order_id,
        coalesce(sum(captured - refunded) FILTER (WHERE counts), 0) AS kept,
        coalesce(sum(captured - refunded) FILTER (WHERE NOT counts), 0) AS idle,
        sum(amount) FILTER (WHERE counts AND purpose = 'deposit') AS deposit,
        bool_or(applied_at IS NULL AND captured > 0) AS arriving,
        max(greatest(captured_at, applied_at)) AS moved_at
    FROM payments WHERE sale_id = $1 GROUP BY order_id
), given_back AS (
    SELECT r.order_id,
        coalesce(sum(r.amount) FILTER (
            WHERE p.counts AND r.state = 'done' AND r.cause IN ('merchant', 'provider')
        ), 0) AS granted,
        max(greatest(r.created_at, r.done_at)) AS moved_at
    FROM payments AS p JOIN refunds AS r ON r.payment_id = p.id
    WHERE p.sale_id = $1 GROUP BY r.order_id
), wished AS (
    SELECT subject, max(created_at) > now() - $5 * interval '1 second' AS lately
    FROM outbox GROUP BY subject
), told AS (
    SELECT p.id, p.captured, p.refunded, p.refunding, p.fee,
        p.applied_at, p.captured_at, p.expires_at,
        coalesce(l.captured, 0) AS ledger_captured, coalesce(l.refunded, 0) AS ledger_refunded,
        coalesce(l.fee, 0) AS ledger_fee, coalesce(r.done, 0) AS done
    FROM payments AS p
    LEFT JOIN (
        SELECT e.payment_id, sum(e.amount) FILTER (WHERE e.kind = 'captured') AS captured,
            sum(e.amount) FILTER (WHERE e.kind = 'refunded') AS refunded, sum(e.fee) AS fee
        FROM ledger_entries AS e JOIN payments AS q ON q.id = e.payment_id
        WHERE q.sale_id = $1 AND e.state = 'applied' GROUP BY e.payment_id
    ) AS l ON l.payment_id = p.id
    LEFT JOIN (
        SELECT d.payment_id, sum(d.amount) AS done
        FROM refunds AS d JOIN payments AS q ON q.id = d.payment_id
        WHERE q.sale_id = $1 AND d.state = 'done' GROUP BY d.payment_id
    ) AS r ON r.payment_id = p.id
    WHERE p.sale_id = $1
), standing AS MATERIALIZED (
    SELECT o.id, o.state, o.closing,
        CASE
            WHEN o.state IN ('paid', 'fulfilled') THEN 'price'
            WHEN o.state IN ('deposit_paid', 'allocated', 'balance_due', 'forfeited')
                THEN 'deposit'
            ELSE 'unpaid'
        END AS owes,
        o.unit_amount * o.quantity AS price,
        coalesce(m.deposit, i.deposit_amount * o.quantity, o.unit_amount * o.quantity) AS deposit,
        coalesce(m.kept, 0) AS kept, coalesce(m.idle, 0) AS idle,
        coalesce(g.granted, 0) AS granted, s.order_id IS NOT NULL AS shipped,
        c.id IS NOT NULL AS coming, coalesce(m.arriving, false) AS arriving,
        greatest(m.moved_at, g.moved_at, o.settled_at) > now() - $3 * interval '1 second'
            AS moving,
        coalesce(w.lately, false) AS wished,
        coalesce(g.moved_at > now() - $5 * interval '1 second', false) AS given_lately
    FROM orders AS o
    LEFT JOIN sale_items AS i ON i.sale_id = $1 AND i.item = o.item
    LEFT JOIN paid_in AS m ON m.order_id = o.id
    LEFT JOIN given_back AS g ON g.order_id = o.id
    LEFT JOIN shipments AS s ON s.order_id = o.id
    LEFT JOIN wished AS w ON w.subject = o.id
    LEFT JOIN unnest($2::text[]) AS c (id) ON c.id = o.id
    WHERE o.id >= $1 AND o.id < $1 || '~'
), sides (equation, name, lhs, rhs, moves) AS (
    SELECT owes, id, kept,
        CASE owes WHEN 'price' THEN price WHEN 'deposit' THEN deposit ELSE granted END - granted,
        closing IS NOT NULL OR arriving OR coming OR wished OR (owes = 'unpaid' AND moving)
    FROM standing WHERE kept <> 0 OR owes <> 'unpaid'
    UNION ALL
    SELECT 'idle', id, idle, 0, arriving OR moving FROM standing WHERE idle <> 0
    UNION ALL
    SELECT 'shipped', id, shipped::int, (state = 'fulfilled')::int, false
    FROM standing WHERE shipped OR state = 'fulfilled'
    UNION ALL
    SELECT 'closing', id, 1, 0, coming OR wished OR given_lately
    FROM standing WHERE closing IS NOT NULL
    UNION ALL
    SELECT 'captured', id, captured, ledger_captured, false FROM told
    UNION ALL
    SELECT 'refunded', id, refunded, ledger_refunded, false FROM told
    WHERE refunded <> 0 OR ledger_refunded <> 0
    UNION ALL
    SELECT 'fees', id, fee, ledger_fee, false FROM told WHERE fee <> 0 OR ledger_fee <> 0
    UNION ALL
    SELECT 'done', id, refunded, done, false FROM told WHERE refunded <> 0 OR done <> 0
    UNION ALL
    SELECT 'asked', id, refunded, least(refunding, refunded), false FROM told
    WHERE refunded <> 0
    UNION ALL
    SELECT 'unapplied', id, 1, 0,
        coalesce(captured_at, expires_at) > now() - $4 * interval '1 second'
    FROM told WHERE applied_at IS NULL
    UNION ALL
    SELECT 'once', order_id || ' ' || purpose, count(*), 1, false
    FROM payments WHERE sale_id = $1 AND counts GROUP BY order_id, purpose
    UNION ALL
    SELECT 'currency', p.id, 1, 0, false
    FROM payments AS p JOIN orders AS o ON o.id = p.order_id
    JOIN sale_items AS i ON i.sale_id = o.sale_id AND i.item = o.item
    WHERE p.sale_id = $1 AND p.currency <> i.price_currency
    UNION ALL
    SELECT 'event', provider || ' ' || event_id, count(*), 1, false
    FROM ledger_entries WHERE sale_id = $1 GROUP BY provider, event_id
    UNION ALL
    SELECT 'movement', kind || ' ' || coalesce(refund_id, payment_id, event_id),
        count(*), count(coalesce(refund_id, payment_id)) / count(*), false
    FROM ledger_entries
    WHERE sale_id = $1 AND state = 'applied' AND kind IN ('captured', 'refunded')
    GROUP BY kind, coalesce(refund_id, payment_id, event_id)
)
SELECT equation,
    coalesce(sum(lhs) FILTER (WHERE lhs = rhs OR NOT moves), 0)::bigint AS lhs,
    coalesce(sum(rhs) FILTER (WHERE lhs = rhs OR NOT moves), 0)::bigint AS rhs,
    count(*) FILTER (WHERE lhs <> rhs AND moves) AS waiting,
    count(*) FILTER (WHERE lhs <> rhs AND NOT moves) AS wrong,
    coalesce((array_agg(name) FILTER (WHERE lhs <> rhs AND NOT moves))[1:3], '{}') AS names,
    coalesce((array_agg(lhs) FILTER (WHERE lhs <> rhs AND NOT moves))[1:3], '{}')::bigint[]
        AS lefts,
    coalesce((array_agg(rhs) FILTER (WHERE lhs <> rhs AND NOT moves))[1:3], '{}')::bigint[]
        AS rights
FROM sides GROUP BY equation;

-- name: sums
-- The sums alone, for a sale that is over: one pass over its payments and one over its ledger.
WITH paid AS (
    SELECT coalesce(sum(captured), 0) AS captured, coalesce(sum(refunded), 0) AS refunded,
        coalesce(sum(least(refunded, refunding)), 0) AS asked
    FROM payments WHERE sale_id = $1
), told AS (
    SELECT coalesce(sum(amount) FILTER (WHERE kind = 'captured'), 0) AS captured,
        coalesce(sum(amount) FILTER (WHERE kind = 'refunded'), 0) AS refunded
    FROM ledger_entries WHERE sale_id = $1 AND state = 'applied'
), sides (equation, lhs, rhs) AS (
    SELECT 'captured', paid.captured, told.captured FROM paid, told
    UNION ALL SELECT 'refunded', paid.refunded, told.refunded FROM paid, told
    UNION ALL SELECT 'asked', paid.refunded, paid.asked FROM paid
)
SELECT equation, lhs::bigint, rhs::bigint, 0::bigint AS waiting, (lhs <> rhs)::int::bigint AS wrong,
    CASE WHEN lhs <> rhs THEN ARRAY['the sale'] ELSE '{}' END AS names,
    ARRAY[lhs]::bigint[] AS lefts, ARRAY[rhs]::bigint[] AS rights
FROM sides;

-- name: notes
-- Numbers of a sale's money, and what an operator has to look at.
SELECT
    (SELECT count(*) FROM payments WHERE sale_id = $1) AS payments,
    (SELECT count(*) FROM ledger_entries WHERE sale_id = $1) AS ledger_rows,
    (SELECT count(*) FROM ledger_entries WHERE sale_id = $1 AND state = 'quarantined')
        AS quarantined,
    (SELECT count(*) FROM ledger_entries WHERE sale_id = $1 AND state IN ('received', 'unmatched'))
        AS unmatched,
    g.granted, g.amount AS granted_amount, g.failed AS refunds_failed
FROM (
    SELECT
        count(*) FILTER (WHERE p.counts AND r.state = 'done'
            AND r.cause IN ('merchant', 'provider')) AS granted,
        coalesce(sum(r.amount) FILTER (WHERE p.counts AND r.state = 'done'
            AND r.cause IN ('merchant', 'provider')), 0)::bigint AS amount,
        count(*) FILTER (WHERE r.state = 'failed') AS failed
    FROM payments AS p JOIN refunds AS r ON r.payment_id = p.id WHERE p.sale_id = $1
) AS g;

-- name: installation_notes
-- What of the money belongs to no sale, or waits to be done. $1: attempts that are too many.
SELECT
    (SELECT count(*) FROM ledger_entries WHERE state = 'quarantined' AND sale_id IS NULL)
        AS quarantined,
    (SELECT count(*) FROM ledger_entries
        WHERE state IN ('received', 'unmatched') AND sale_id IS NULL) AS unmatched,
    (SELECT count(*) FROM ledger_entries AS e LEFT JOIN payments AS p ON p.id = e.payment_id
        WHERE e.state = 'applied' AND e.kind IN ('captured', 'refunded')
            AND (p.sale_id IS NULL OR p.sale_id IS DISTINCT FROM e.sale_id)) AS misplaced,
    (SELECT count(*) FROM outbox) AS outbox,
    (SELECT count(*) FROM outbox WHERE attempts >= $1) AS stuck;

-- name: ledger_rows
-- Some movements of a provider as its callbacks told them: by their ids, and by their payments.
-- What was told twice, by two names, is found by the one that changed something.
SELECT event_id, kind, payment_id, refund_id, amount, currency, fee FROM ledger_entries
WHERE provider = $1 AND kind IN ('captured', 'refunded')
    AND (event_id = ANY ($2::text[]) OR payment_id = ANY ($3::text[]))
ORDER BY state = 'ignored', event_id;

-- name: page_of_movements
-- A provider's movements that its statement must show by now, behind an event id; one that was
-- told twice, by two names, it shows once.
SELECT event_id FROM ledger_entries
WHERE provider = $1 AND event_id > $2 AND kind IN ('captured', 'refunded')
    AND state <> 'ignored'
    AND received_at < now() - $3 * interval '1 second'
ORDER BY event_id LIMIT $4;
