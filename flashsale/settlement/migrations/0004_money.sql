-- Payments: what was asked of a provider, what a provider told us, and what is still to be done.

ALTER TABLE orders
    DROP CONSTRAINT orders_state_check,
    ADD CONSTRAINT orders_state_check CHECK (state IN (
        'confirmed', 'paying', 'paid', 'deposit_paid', 'allocated', 'balance_due', 'fulfilled',
        'refunded', 'forfeited', 'expired', 'cancelled', 'rejected')),
    -- What was decided here under the row's lock and Redis is about to be told; the event that
    -- answers clears it. Meanwhile nothing else may be decided about the order.
    ADD COLUMN closing text CHECK (closing IN ('refunded', 'forfeited', 'changing'));

ALTER TABLE sales
    -- What a buyer who has paid may do: {"paid": "refund" | "refused", "within_minutes": n}.
    ADD COLUMN cancellation jsonb NOT NULL DEFAULT '{"paid": "refund"}',
    -- How a pre-order collects its balance; NULL for every other kind.
    ADD COLUMN preorder jsonb CHECK ((preorder IS NOT NULL) = (kind = 'preorder'));

CREATE TABLE payments (
    id text COLLATE "C" PRIMARY KEY,
    order_id text COLLATE "C" NOT NULL REFERENCES orders (id),
    sale_id text COLLATE "C" NOT NULL,
    merchant_id text COLLATE "C" NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('full', 'deposit', 'balance')),
    attempt integer NOT NULL CHECK (attempt > 0),
    provider text NOT NULL CHECK (provider IN ('none', 'sandbox', 'stripe')),
    -- The provider's own name for it, once the provider has answered.
    provider_ref text COLLATE "C",
    checkout_url text,
    -- Whether the provider may charge the same buyer again without being asked (a balance).
    saved boolean NOT NULL DEFAULT false,
    -- Charged by what was saved of an earlier one: there is no page on which the buyer pays it.
    automatic boolean NOT NULL DEFAULT false,
    amount bigint NOT NULL CHECK (amount >= 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    state text NOT NULL DEFAULT 'created'
        CHECK (state IN ('created', 'open', 'captured', 'declined', 'void')),
    captured bigint NOT NULL DEFAULT 0 CHECK (captured >= 0),
    -- Asked to be given back, and given back: nobody gets back more than came in.
    refunding bigint NOT NULL DEFAULT 0 CHECK (refunding BETWEEN 0 AND captured),
    refunded bigint NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND refunding),
    fee bigint NOT NULL DEFAULT 0,
    -- Whether this is the money that pays the order; what else comes in goes back.
    counts boolean NOT NULL DEFAULT false,
    -- What was wrong, in words for the buyer: the unit was gone, it was paid twice.
    note text,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    captured_at timestamptz,
    -- When its outcome has reached the order; until then no other payment of it may begin.
    applied_at timestamptz,
    UNIQUE (order_id, purpose, attempt)
);
CREATE UNIQUE INDEX payments_one_at_a_time ON payments (order_id) WHERE applied_at IS NULL;
CREATE UNIQUE INDEX payments_count_once ON payments (order_id, purpose) WHERE counts;
CREATE UNIQUE INDEX payments_by_ref ON payments (provider, provider_ref);
CREATE INDEX payments_overdue ON payments (expires_at) WHERE applied_at IS NULL;
CREATE INDEX payments_by_sale ON payments (sale_id, id);

CREATE TABLE refunds (
    -- Derived from the payment and the reason's key: asking twice is asking once.
    id text COLLATE "C" PRIMARY KEY,
    payment_id text COLLATE "C" NOT NULL REFERENCES payments (id),
    order_id text COLLATE "C" NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    cause text NOT NULL CHECK (cause IN
        ('late', 'duplicate', 'cancelled', 'merchant', 'sale_cancelled', 'default', 'provider')),
    reason text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'sent', 'done', 'failed')),
    provider_ref text,
    created_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz
);
CREATE INDEX refunds_by_order ON refunds (order_id, created_at);
CREATE INDEX refunds_by_payment ON refunds (payment_id);

-- The money ledger: one row for each event of a provider, keyed by its id; never changed but for
-- how far it has got.
CREATE TABLE ledger_entries (
    provider text NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN
        ('captured', 'declined', 'expired', 'refunded', 'refund_failed', 'other')),
    type text NOT NULL,
    provider_ref text,
    payment_id text COLLATE "C" REFERENCES payments (id),
    refund_id text COLLATE "C" REFERENCES refunds (id),
    order_id text COLLATE "C",
    sale_id text COLLATE "C",
    amount bigint NOT NULL DEFAULT 0 CHECK (amount >= 0),
    currency text NOT NULL DEFAULT '',
    fee bigint NOT NULL DEFAULT 0,
    occurred_at timestamptz NOT NULL,
    -- Not now(): the order of arrival, also within one transaction, is who came first.
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- received: kept until what it belongs to is known. quarantined: wrong, an operator looks.
    state text NOT NULL CHECK (state IN
        ('received', 'applied', 'ignored', 'unmatched', 'quarantined')),
    note text,
    payload jsonb NOT NULL,
    PRIMARY KEY (provider, event_id)
);
CREATE INDEX ledger_by_payment ON ledger_entries (payment_id, received_at);
CREATE INDEX ledger_by_sale ON ledger_entries (sale_id, received_at);
CREATE INDEX ledger_waiting ON ledger_entries (received_at)
    WHERE state IN ('received', 'unmatched');
CREATE INDEX ledger_quarantined ON ledger_entries (received_at) WHERE state = 'quarantined';

-- What is still to be done outside Postgres (a provider, Redis), committed with the change that
-- asks for it and deleted once it is done. One row a wish, however often it is wished.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    subject text COLLATE "C" NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    -- Counts the wishing: a row is deleted only as it was when the work on it began, so that a
    -- wish made meanwhile is not lost.
    wishes integer NOT NULL DEFAULT 1,
    due_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, subject)
);
CREATE INDEX outbox_due ON outbox (due_at, id);

CREATE TABLE shipments (
    order_id text COLLATE "C" PRIMARY KEY REFERENCES orders (id),
    sale_id text COLLATE "C" NOT NULL,
    carrier text NOT NULL CHECK (length(carrier) BETWEEN 1 AND 100),
    tracking_number text NOT NULL CHECK (length(tracking_number) BETWEEN 1 AND 100),
    shipped_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX shipments_by_sale ON shipments (sale_id, order_id);
