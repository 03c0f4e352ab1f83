-- Statements on money that goes back, and on what a provider told. Money is in minor units.

-- name: insert_refunds
-- Asking twice is asking once: only what is new is returned, and only that is counted.
INSERT INTO refunds (id, payment_id, order_id, amount, currency, cause, reason)
SELECT c.id, c.payment_id, c.order_id, c.amount, c.currency, c.cause, c.reason
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[]
) AS c (id, payment_id, order_id, amount, currency, cause, reason)
ON CONFLICT (id) DO NOTHING RETURNING id;

-- name: add_refunding
-- The CHECK is the last word: no more is asked back than came in.
UPDATE payments AS p SET refunding = p.refunding + c.amount
FROM (
    SELECT u.id, sum(u.amount)::bigint AS amount
    FROM unnest($1::text[], $2::bigint[]) AS u (id, amount) GROUP BY u.id
) AS c
WHERE p.id = c.id;

-- name: refunds_by_id
-- Refunds with what their payments are called at the provider.
SELECT r.id, r.payment_id, r.order_id, r.amount, r.currency, r.cause, r.reason, r.state,
    p.provider, p.provider_ref AS payment_ref,
    (extract(epoch FROM r.created_at) * 1000)::bigint AS created_at_ms,
    (extract(epoch FROM r.done_at) * 1000)::bigint AS done_at_ms
FROM refunds AS r JOIN payments AS p ON p.id = r.payment_id
WHERE r.id = ANY ($1::text[]) ORDER BY r.id;

-- name: refunds_of_order
-- Everything that goes back of an order, oldest first.
SELECT r.id, r.payment_id, r.order_id, r.amount, r.currency, r.cause, r.reason, r.state,
    p.provider, p.provider_ref AS payment_ref,
    (extract(epoch FROM r.created_at) * 1000)::bigint AS created_at_ms,
    (extract(epoch FROM r.done_at) * 1000)::bigint AS done_at_ms
FROM refunds AS r JOIN payments AS p ON p.id = r.payment_id
WHERE r.order_id = $1 ORDER BY r.created_at, r.id;

-- name: mark_refunds
-- How far the provider is with them, unless it has told us more since we knew their state.
UPDATE refunds AS r SET state = c.state, provider_ref = coalesce(c.ref, r.provider_ref)
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS c (id, state, known, ref)
WHERE r.id = c.id AND r.state = c.known RETURNING r.id;

-- name: unheard_refunds
-- Payments with a refund that the provider has had since $1, and whose end nobody has told.
SELECT DISTINCT r.payment_id FROM refunds AS r
WHERE r.state = 'sent' AND r.created_at <= $1 AND NOT EXISTS (
    SELECT FROM outbox AS o WHERE o.kind = 'recall_payment' AND o.subject = r.payment_id
)
LIMIT $2;

-- name: refund_under_way
-- Since when the provider has had the oldest refund of a payment that is not done (milliseconds).
SELECT (extract(epoch FROM min(created_at)) * 1000)::bigint FROM refunds
WHERE payment_id = $1 AND state = 'sent';

-- name: known_entries
-- Which of some events are in the ledger already.
SELECT e.provider, e.event_id, e.state, e.note FROM ledger_entries AS e
JOIN unnest($1::text[], $2::text[]) AS c (provider, event_id)
    ON e.provider = c.provider AND e.event_id = c.event_id;

-- name: payments_by_ref
-- Payments by the provider's own names for them.
SELECT p.id, p.provider, p.provider_ref FROM payments AS p
JOIN unnest($1::text[], $2::text[]) AS c (provider, ref)
    ON p.provider = c.provider AND p.provider_ref = c.ref;

-- name: insert_entries
-- What a provider told us, and what became of it. An event that is there already is an error: it
-- was looked for, so somebody else has just written it, and the whole is judged anew.
INSERT INTO ledger_entries (
    provider, event_id, kind, type, provider_ref, payment_id, refund_id, order_id, sale_id, amount,
    currency, fee, occurred_at, state, note, payload
)
SELECT c.provider, c.event_id, c.kind, c.type, c.provider_ref, c.payment_id, c.refund_id,
    p.order_id, p.sale_id, c.amount, c.currency, c.fee,
    timestamptz 'epoch' + c.occurred_at_ms * interval '1 millisecond',
    c.state, c.note, c.payload::jsonb
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::text[], $13::text[], $14::text[]
) WITH ORDINALITY AS c (
    provider, event_id, kind, type, provider_ref, payment_id, refund_id, amount, currency, fee,
    occurred_at_ms, state, note, payload, place
)
LEFT JOIN payments AS p ON p.id = c.payment_id
ORDER BY c.place;

-- name: update_entries
-- Events that were kept, and what became of them now.
UPDATE ledger_entries AS e SET
    state = c.state, note = c.note, payment_id = c.payment_id, refund_id = c.refund_id,
    order_id = p.order_id, sale_id = p.sale_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS c (provider, event_id, state, note, payment_id, refund_id)
LEFT JOIN payments AS p ON p.id = c.payment_id
WHERE e.provider = c.provider AND e.event_id = c.event_id
    AND e.state IN ('received', 'unmatched');

-- name: waiting_entries
-- Events kept for later, the oldest first, behind an instant of arrival (microseconds).
SELECT provider, event_id, kind, type, provider_ref,
    coalesce(payment_id, payload ->> 'payment_id') AS payment_id,
    payload ->> 'refund_id' AS refund_id, amount, currency, fee,
    (extract(epoch FROM occurred_at) * 1000)::bigint AS occurred_at_ms,
    (extract(epoch FROM received_at) * 1000000)::bigint AS place
FROM ledger_entries
WHERE state IN ('received', 'unmatched')
    AND received_at > timestamptz 'epoch' + $1::bigint * interval '1 microsecond'
ORDER BY received_at LIMIT $2;

-- name: waiting_for_payments
-- Events of some payments that came before they could be used.
SELECT provider, event_id, kind, type, provider_ref,
    coalesce(payment_id, payload ->> 'payment_id') AS payment_id,
    payload ->> 'refund_id' AS refund_id, amount, currency, fee,
    (extract(epoch FROM occurred_at) * 1000)::bigint AS occurred_at_ms
FROM ledger_entries
WHERE payment_id = ANY ($1::text[]) AND state = 'received' ORDER BY received_at;

-- name: take_money
-- What a payment has become through events.
UPDATE payments AS p SET
    state = c.state, captured = c.captured, refunding = c.refunding, refunded = c.refunded,
    fee = c.fee, provider_ref = coalesce(p.provider_ref, c.ref),
    captured_at = CASE WHEN c.captured > 0 OR c.state = 'captured'
        THEN coalesce(p.captured_at, now()) ELSE p.captured_at END
FROM unnest(
    $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[]
) AS c (id, state, captured, refunding, refunded, fee, ref)
WHERE p.id = c.id;

-- name: end_refunds
-- Refunds that the provider has paid out, or will not.
UPDATE refunds AS r SET
    state = c.state, done_at = CASE WHEN c.state = 'done' THEN now() ELSE r.done_at END
FROM unnest($1::text[], $2::text[]) AS c (id, state) WHERE r.id = c.id;

-- name: insert_foreign_refunds
-- Money that was given back at the provider without our asking.
INSERT INTO refunds (id, payment_id, order_id, amount, currency, cause, reason, state, done_at)
SELECT c.id, c.payment_id, p.order_id, c.amount, c.currency, 'provider', '', 'done', now()
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
    AS c (id, payment_id, amount, currency)
JOIN payments AS p ON p.id = c.payment_id;
