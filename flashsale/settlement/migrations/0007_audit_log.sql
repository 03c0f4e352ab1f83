-- The audit log: who changed what, one hash chain a merchant; and buyer keys that retire later.

ALTER TABLE merchant_buyer_keys
    ADD COLUMN label text NOT NULL DEFAULT '' CHECK (length(label) <= 200),
    -- An announced retirement: until then this key verifies beside its successor.
    ADD COLUMN retires_at timestamptz;

CREATE TABLE audit_log (
    merchant_id text COLLATE "C" NOT NULL REFERENCES merchants (id),
    -- From 1 without gaps; two entries after the same one do not fit (INV-17).
    seq bigint NOT NULL CHECK (seq > 0),
    -- What is hashed, letter by letter: JSON as jsonb writes it, the hash before it included.
    entry text NOT NULL,
    -- SHA-256 of the entry's UTF-8, in hex: whoever has the text can check it.
    hash text COLLATE "C" NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    sale_id text COLLATE "C" GENERATED ALWAYS AS (entry::jsonb ->> 'sale_id') STORED,
    PRIMARY KEY (merchant_id, seq)
);
CREATE INDEX audit_log_by_sale ON audit_log (sale_id, seq) WHERE sale_id IS NOT NULL;

-- Where each chain ends. Its row's lock puts a merchant's entries one behind the other, and it
-- gives away a chain whose newest entries were taken off.
CREATE TABLE audit_heads (
    merchant_id text COLLATE "C" PRIMARY KEY REFERENCES merchants (id),
    seq bigint NOT NULL DEFAULT 0 CHECK (seq >= 0),
    hash text COLLATE "C" NOT NULL DEFAULT repeat('0', 64)
);

CREATE FUNCTION forbid_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% only grows: its rows are never changed or removed', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_change();
CREATE TRIGGER audit_heads_stay BEFORE DELETE OR TRUNCATE ON audit_heads
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_change();

-- The only way in. It runs with its owner's rights, so that who works with the tables needs none
-- on the log itself; pg_temp comes last, or a temporary table of the same name would take it in.
CREATE FUNCTION append_to_audit_log(
    merchant text, actor text, action text, subject text, sale text, detail jsonb
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    head audit_heads;
    text_of_entry text;
BEGIN
    INSERT INTO audit_heads (merchant_id) VALUES (merchant) ON CONFLICT DO NOTHING;
    SELECT * INTO head FROM audit_heads WHERE merchant_id = merchant FOR UPDATE;
    text_of_entry := jsonb_build_object(
        'merchant_id', merchant, 'seq', head.seq + 1, 'previous', head.hash,
        'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'actor', actor, 'action', action, 'subject', subject, 'sale_id', sale,
        'detail', coalesce(detail, '{}')
    )::text;
    head.hash := encode(sha256(convert_to(text_of_entry, 'UTF8')), 'hex');
    INSERT INTO audit_log (merchant_id, seq, entry, hash)
    VALUES (merchant, head.seq + 1, text_of_entry, head.hash);
    UPDATE audit_heads SET seq = head.seq + 1, hash = head.hash WHERE merchant_id = merchant;
    RETURN head.seq + 1;
END $$;

-- Writes down a change made in a merchant's name, in the transaction that makes it. Whose name
-- that is, the session says (`flashsale.acting`, set by flashsale.auditlog while a call is under
-- way); what nobody in particular does, the clock's work and settlement, is not logged. The first
-- change of a transaction stands for all of it. The arguments are the column that names the
-- subject, and then those whose new values may be told: nothing else of a row is, secrets least.
CREATE FUNCTION note_merchant_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    acting text := coalesce(current_setting('flashsale.acting', true), '');
    act jsonb;
    now_is jsonb := to_jsonb(NEW);
    was jsonb := '{}';
    told jsonb;
BEGIN
    IF acting = ''
        OR current_setting('flashsale.noted', true) IS NOT DISTINCT FROM pg_current_xact_id()::text
    THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        was := to_jsonb(OLD);
    END IF;
    SELECT jsonb_object_agg(name, now_is -> name) INTO told FROM unnest(TG_ARGV) AS name
    WHERE coalesce(was -> name, 'null') <> coalesce(now_is -> name, 'null');
    IF told IS NULL THEN
        RETURN NULL;
    END IF;
    act := acting::jsonb;
    PERFORM set_config('flashsale.noted', pg_current_xact_id()::text, true);
    PERFORM append_to_audit_log(
        act ->> 'merchant_id', act ->> 'actor', act ->> 'action',
        coalesce(act ->> 'subject', now_is ->> TG_ARGV[0]),
        coalesce(
            act ->> 'sale_id', now_is ->> 'sale_id',
            CASE WHEN TG_TABLE_NAME = 'sales' THEN now_is ->> 'id' END
        ),
        told
    );
    RETURN NULL;
END $$;

-- Columns are named where only some of them are a merchant's doing: the rest belongs to the clock
-- and to settlement, which never pay for this.
CREATE TRIGGER noted AFTER INSERT OR UPDATE OF state, name, kind, starts_at, ends_at,
    per_buyer_limit, hold_seconds, published_supply, admission, registration, lanes, durability,
    cancellation, preorder ON sales
    FOR EACH ROW EXECUTE FUNCTION note_merchant_change(
        'id', 'state', 'name', 'kind', 'starts_at', 'ends_at', 'per_buyer_limit', 'hold_seconds',
        'published_supply', 'admission', 'registration', 'lanes', 'durability', 'cancellation',
        'preorder');
CREATE TRIGGER noted AFTER INSERT OR UPDATE OF sku, name, price_amount, deposit_amount, ships_at
    ON sale_items
    FOR EACH ROW EXECUTE FUNCTION note_merchant_change(
        'sku', 'item', 'name', 'price_amount', 'price_currency', 'deposit_amount', 'ships_at');
CREATE TRIGGER noted AFTER INSERT ON supplies
    FOR EACH ROW EXECUTE FUNCTION note_merchant_change(
        'id', 'item', 'quantity', 'at', 'reason');
CREATE TRIGGER noted AFTER INSERT OR UPDATE OF revoked_at ON api_keys
    FOR EACH ROW EXECUTE FUNCTION note_merchant_change(
        'id', 'label', 'scope', 'prefix', 'expires_at', 'revoked_at');
CREATE TRIGGER noted AFTER INSERT OR UPDATE OF state, retires_at ON merchant_buyer_keys
    FOR EACH ROW EXECUTE FUNCTION note_merchant_change(
        'kid', 'label', 'algorithm', 'state', 'retires_at', 'retired_at');
CREATE TRIGGER noted AFTER INSERT ON refunds
    FOR EACH ROW EXECUTE FUNCTION note_merchant_change(
        'order_id', 'id', 'amount', 'currency', 'cause', 'reason');
CREATE TRIGGER noted AFTER INSERT OR UPDATE ON shipments
    FOR EACH ROW EXECUTE FUNCTION note_merchant_change(
        'order_id', 'carrier', 'tracking_number');
CREATE TRIGGER noted AFTER INSERT ON lots
    FOR EACH ROW EXECUTE FUNCTION note_merchant_change(
        'id', 'item', 'quantity', 'reason');
CREATE TRIGGER noted AFTER INSERT ON ship_dates
    FOR EACH ROW EXECUTE FUNCTION note_merchant_change(
        'id', 'item', 'wave', 'before', 'ships_at', 'reason', 'free_until');
-- Not the address: what a merchant is called by may carry a token in its path.
CREATE TRIGGER noted AFTER INSERT OR UPDATE OF url, types, state, previous_until
    ON webhook_endpoints
    FOR EACH ROW EXECUTE FUNCTION note_merchant_change(
        'id', 'types', 'state', 'previous_until');
