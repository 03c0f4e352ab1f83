-- Statements of the outbox: what is still to be done outside Postgres.

-- name: wish
-- A wish committed with the change that asks for it. Wishing again makes it due at once and tells
-- whoever is at work on it that there is more to do.
INSERT INTO outbox AS o (kind, subject, due_at)
SELECT c.kind, c.subject, now() + c.delay_ms * interval '1 millisecond'
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS c (kind, subject, delay_ms)
ORDER BY c.kind, c.subject
ON CONFLICT (kind, subject) DO UPDATE SET
    wishes = o.wishes + 1, attempts = 0, due_at = least(o.due_at, EXCLUDED.due_at);

-- name: remind
-- A wish that should be there; where it is, it keeps its turn.
INSERT INTO outbox (kind, subject)
SELECT c.kind, c.subject FROM unnest($1::text[], $2::text[]) AS c (kind, subject)
ORDER BY c.kind, c.subject
ON CONFLICT (kind, subject) DO NOTHING;

-- name: claim
-- Due wishes of some kinds, for as long as the lease: who dies with one leaves it to the next.
WITH due AS (
    SELECT id FROM outbox WHERE due_at <= now() AND kind = ANY ($1::text[])
    ORDER BY due_at, id LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE outbox AS o
SET due_at = now() + $3::bigint * interval '1 millisecond', attempts = o.attempts + 1
FROM due WHERE o.id = due.id
RETURNING o.id, o.kind, o.subject, o.attempts, o.wishes;

-- name: renew
-- Whoever works on wishes keeps them: those that nobody has claimed or wished again since.
UPDATE outbox AS o SET due_at = now() + $4::bigint * interval '1 millisecond'
FROM unnest($1::bigint[], $2::integer[], $3::integer[]) AS c (id, attempts, wishes)
WHERE o.id = c.id AND o.attempts = c.attempts AND o.wishes = c.wishes
    AND o.due_at < now() + $4::bigint * interval '0.7 milliseconds';

-- name: done
-- Finished, unless wished again meanwhile.
DELETE FROM outbox AS o USING unnest($1::bigint[], $2::integer[]) AS c (id, wishes)
WHERE o.id = c.id AND o.wishes = c.wishes;

-- name: forget
-- Finished by whoever wished it.
DELETE FROM outbox WHERE kind = $1 AND subject = ANY ($2::text[]);

-- name: put_off
-- Not finished: later again.
UPDATE outbox AS o
SET due_at = now() + c.delay_ms * interval '1 millisecond', last_error = c.error
FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::text[])
    AS c (id, wishes, delay_ms, error)
WHERE o.id = c.id AND o.wishes = c.wishes;

-- name: backlog
-- How much is waiting, and for how long the oldest that is due has been (milliseconds).
SELECT count(*) AS waiting,
    coalesce((extract(epoch FROM now() - min(created_at)) * 1000)::bigint, 0) AS oldest_ms
FROM outbox;

-- name: due_wishes
-- How many could be carried out now, as far as they are counted.
SELECT count(*) FROM (SELECT FROM outbox WHERE due_at <= now() LIMIT $1) AS due;
