-- Outbound webhooks: endpoints, events in the order of each order, deliveries.

CREATE TABLE webhook_endpoints (
    id text COLLATE "C" PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL REFERENCES merchants (id),
    url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
    -- Newest first; the older one signs beside it for a while. In clear: signing takes the secret.
    secrets text[] NOT NULL CHECK (cardinality(secrets) BETWEEN 1 AND 2),
    -- Until when the older one signs.
    previous_until timestamptz,
    -- Which types are sent; none named means every type.
    types text[] NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled', 'deleted')),
    -- Why it was disabled, in words for the merchant.
    note text,
    created_at timestamptz NOT NULL,
    -- When it left `active`.
    ended_at timestamptz
);
CREATE INDEX webhook_endpoints_by_merchant ON webhook_endpoints (merchant_id, created_at, id);
-- Every settled batch asks whether anybody listens at all.
CREATE INDEX webhook_endpoints_active ON webhook_endpoints (merchant_id) WHERE state = 'active';

-- Written under the lock of the order's row: the events of an order are numbered as they happened.
CREATE TABLE webhook_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL,
    type text NOT NULL,
    sale_id text COLLATE "C",
    order_id text COLLATE "C",
    data json NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

-- No foreign keys: settlement writes thousands of rows at once, and each would be looked up.
CREATE TABLE webhook_deliveries (
    endpoint_id text COLLATE "C" NOT NULL,
    event_id bigint NOT NULL,
    order_id text COLLATE "C",
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- When it may be tried next; while somebody tries it, when their lease ends.
    next_at timestamptz NOT NULL DEFAULT now(),
    -- Put off because an earlier event of its order is not delivered yet.
    blocked boolean NOT NULL DEFAULT false,
    -- Raised by every claim: who comes back after a lease has ended changes nothing.
    fence integer NOT NULL DEFAULT 0,
    give_up_at timestamptz NOT NULL DEFAULT now() + interval '3 days',
    done_at timestamptz,
    -- The last answer, cut off; and the last few attempts as {at, status, error, took_ms}.
    answer text,
    log jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (endpoint_id, event_id)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_at)
    WHERE state = 'pending';
CREATE INDEX webhook_deliveries_in_order ON webhook_deliveries (order_id, event_id)
    WHERE state = 'pending' AND order_id IS NOT NULL;
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (endpoint_id, event_id)
    WHERE state = 'dead';

-- At how many units a sale was last seen sold out: it is told once for each capacity.
CREATE TABLE webhook_sold_out (
    sale_id text COLLATE "C" PRIMARY KEY REFERENCES sales (id) ON DELETE CASCADE,
    capacity bigint NOT NULL,
    at timestamptz NOT NULL
);

-- One event for whoever listens, in the caller's transaction; its number, or NULL where nobody
-- does. Whoever tells of an order has locked the order's row.
CREATE FUNCTION announce_event(
    a_merchant text, a_type text, a_sale text, an_order text, some_data json
) RETURNS bigint LANGUAGE sql AS $$
    WITH listening AS (
        SELECT id FROM webhook_endpoints
        WHERE merchant_id = a_merchant AND state = 'active'
            AND (types = '{}' OR a_type = ANY (types))
    ), told AS (
        INSERT INTO webhook_events (merchant_id, type, sale_id, order_id, data)
        SELECT a_merchant, a_type, a_sale, an_order, some_data WHERE EXISTS (SELECT FROM listening)
        RETURNING id
    ), sent AS (
        INSERT INTO webhook_deliveries (endpoint_id, event_id, order_id)
        SELECT l.id, t.id, an_order FROM told AS t CROSS JOIN listening AS l
    )
    SELECT id FROM told;
$$;

-- Those of some sales whose merchants listen; the cheap question, asked once a batch.
CREATE FUNCTION sales_listened_to(some_sales text[]) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT array_agg(s.id) FROM sales AS s
    WHERE s.id = ANY (some_sales) AND EXISTS (
        SELECT FROM webhook_endpoints AS e
        WHERE e.merchant_id = s.merchant_id AND e.state = 'active'
    );
$$;

-- Events and deliveries of the orders in `told` (id, state, sale_id, item, buyer_id, quantity,
-- unit_amount, type). Text, because it is planned for each batch: a plan made for one order would
-- compare thousands with thousands one by one.
CREATE FUNCTION webhook_statement(told text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'WITH told AS (' || told || '), events AS (
        INSERT INTO webhook_events (merchant_id, type, sale_id, order_id, data)
        SELECT s.merchant_id, t.type, t.sale_id, t.id, json_build_object(
            ''order_id'', t.id, ''sale_id'', t.sale_id, ''sku'', i.sku,
            ''quantity'', t.quantity, ''state'', t.state, ''buyer_id'', t.buyer_id,
            ''unit_price'', json_build_object(
                ''amount'', t.unit_amount, ''currency'', i.price_currency))
        FROM told AS t
        JOIN sales AS s ON s.id = t.sale_id
        JOIN sale_items AS i ON i.sale_id = t.sale_id AND i.item = t.item
        WHERE t.sale_id = ANY ($1) AND EXISTS (
            SELECT FROM webhook_endpoints AS e
            WHERE e.merchant_id = s.merchant_id AND e.state = ''active''
                AND (e.types = ''{}'' OR t.type = ANY (e.types)))
        RETURNING id, merchant_id, type, order_id
    )
    INSERT INTO webhook_deliveries (endpoint_id, event_id, order_id)
    SELECT e.id, v.id, v.order_id FROM events AS v
    JOIN webhook_endpoints AS e ON e.merchant_id = v.merchant_id AND e.state = ''active''
        AND (e.types = ''{}'' OR v.type = ANY (e.types))';
$$;

-- An event tells the state that an order has reached. What settlement skipped in between is not
-- told; an order that is being paid when it is first seen has been confirmed.
CREATE FUNCTION tell_of_new_orders() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    heard text[];
BEGIN
    IF NOT EXISTS (SELECT FROM webhook_endpoints WHERE state = 'active') THEN
        RETURN NULL;
    END IF;
    heard := sales_listened_to(ARRAY(SELECT DISTINCT sale_id FROM fresh));
    IF heard IS NOT NULL THEN
        EXECUTE webhook_statement(
            'SELECT *, ''order.'' || CASE state WHEN ''paying'' THEN ''confirmed'' ELSE state END
            AS type FROM fresh') USING heard;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER webhooks_of_new_orders AFTER INSERT ON orders
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_new_orders();

CREATE FUNCTION tell_of_changed_orders() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    heard text[];
BEGIN
    IF NOT EXISTS (SELECT FROM webhook_endpoints WHERE state = 'active') THEN
        RETURN NULL;
    END IF;
    heard := sales_listened_to(ARRAY(SELECT DISTINCT sale_id FROM fresh));
    IF heard IS NULL THEN
        RETURN NULL;
    END IF;
    -- An order is rejected in the transaction that inserted it: it never was confirmed.
    WITH unsaid AS (
        DELETE FROM webhook_deliveries AS d USING fresh AS f, webhook_endpoints AS e
        WHERE f.state = 'rejected' AND f.sale_id = ANY (heard) AND d.endpoint_id = e.id
            AND d.order_id = f.id AND d.state = 'pending'
        RETURNING d.event_id
    )
    DELETE FROM webhook_events AS v USING unsaid AS u WHERE v.id = u.event_id;
    -- Back from an attempt to pay is nothing new; another SKU is, in the same state.
    EXECUTE webhook_statement(
        'SELECT f.*, ''order.'' || CASE f.state WHEN s.state THEN ''changed'' ELSE f.state END
        AS type FROM fresh AS f JOIN stale AS s USING (id)
        WHERE (f.state <> s.state AND f.state NOT IN (''confirmed'', ''paying''))
            OR (f.state = s.state AND f.item <> s.item)') USING heard;
    RETURN NULL;
END $$;
CREATE TRIGGER webhooks_of_changed_orders AFTER UPDATE ON orders
    REFERENCING OLD TABLE AS stale NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_changed_orders();

CREATE FUNCTION tell_of_sale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce_event(
        NEW.merchant_id,
        'sale.' || CASE
            WHEN NEW.state <> 'open' THEN NEW.state
            WHEN OLD.state = 'paused' THEN 'resumed'
            ELSE 'opened'
        END,
        NEW.id, NULL,
        json_build_object('sale_id', NEW.id, 'name', NEW.name, 'state', NEW.state));
    RETURN NULL;
END $$;
CREATE TRIGGER webhooks_of_sales AFTER UPDATE OF state ON sales
    FOR EACH ROW WHEN (NEW.state <> OLD.state)
    EXECUTE FUNCTION tell_of_sale();

-- Money that came too late, or twice, and goes back by itself: no state of the order shows it.
CREATE FUNCTION tell_of_money_sent_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce_event(
        p.merchant_id, 'payment.' || NEW.cause || '_refunded', p.sale_id, NEW.order_id,
        json_build_object(
            'order_id', NEW.order_id, 'sale_id', p.sale_id, 'payment_id', p.id,
            'refund_id', NEW.id,
            'amount', json_build_object('amount', NEW.amount, 'currency', NEW.currency)))
    FROM payments AS p WHERE p.id = NEW.payment_id;
    RETURN NULL;
END $$;
CREATE TRIGGER webhooks_of_money_sent_back AFTER INSERT ON refunds
    FOR EACH ROW WHEN (NEW.cause IN ('late', 'duplicate'))
    EXECUTE FUNCTION tell_of_money_sent_back();
