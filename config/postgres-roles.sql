-- Three roles instead of one, for production: run this as a superuser in the engine's database,
-- then `flashsale migrate` as flashsale_owner, then this again; after each later migration, again.
--     psql -d flashsale -v ON_ERROR_STOP=1 -f config/postgres-roles.sql
-- Passwords are yours to set: ALTER ROLE flashsale_app PASSWORD '…'. A test runs the engine as
-- these.
--
-- flashsale_owner     owns the tables: migrations only
-- flashsale_app       web, settle, timekeeper, dispatch and the commands: rows, and never a table
-- flashsale_readonly  audits, reports, a person looking: reads, and no secret

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['flashsale_owner', 'flashsale_app', 'flashsale_readonly'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', name);
        END IF;
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO flashsale_owner, flashsale_app, flashsale_readonly',
        current_database());
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO flashsale_owner;
GRANT USAGE ON SCHEMA public TO flashsale_app, flashsale_readonly;

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO flashsale_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO flashsale_app;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO flashsale_app;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM flashsale_readonly;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO flashsale_readonly;

-- What of that is taken back. Tables that a migration has yet to bring are skipped.
DO $$
DECLARE
    secret record;
    name text;
BEGIN
    -- What the schema is, and what order ids are made with, is the owner's.
    -- The audit log is written by its function alone, which runs as the owner.
    FOREACH name IN ARRAY ARRAY['migrations', 'engine', 'audit_log', 'audit_heads'] LOOP
        IF to_regclass(name) IS NOT NULL THEN
            EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON %I FROM flashsale_app', name);
        END IF;
    END LOOP;
    -- What happened, happened: it may get further, and is never removed.
    FOREACH name IN ARRAY ARRAY[
        'merchants', 'merchant_buyer_keys', 'api_keys', 'sales', 'orders', 'lanes', 'dead_letters',
        'payments', 'refunds', 'ledger_entries', 'shipments'
    ] LOOP
        IF to_regclass(name) IS NOT NULL THEN
            EXECUTE format('REVOKE DELETE ON %I FROM flashsale_app', name);
        END IF;
    END LOOP;
    -- What a provider told us stays as it came: what it belongs to and how far it got is ours.
    IF to_regclass('ledger_entries') IS NOT NULL THEN
        REVOKE UPDATE ON ledger_entries FROM flashsale_app;
        GRANT UPDATE (payment_id, refund_id, order_id, sale_id, state, note)
            ON ledger_entries TO flashsale_app;
    END IF;
    -- Who only looks has no use for what signs, opens or is for buyers alone: of these tables
    -- all columns but the secret ones.
    FOR secret IN
        SELECT * FROM (VALUES
            ('engine', ARRAY['order_id_secret']),
            ('merchant_buyer_keys', ARRAY['secret']),
            ('api_keys', ARRAY['key_hash']),
            ('webhook_endpoints', ARRAY['secrets']),
            ('payments', ARRAY['checkout_url'])
        ) AS hidden (tablename, columns) WHERE to_regclass(tablename) IS NOT NULL
    LOOP
        EXECUTE format('REVOKE SELECT ON %I FROM flashsale_readonly', secret.tablename);
        EXECUTE format(
            'GRANT SELECT (%s) ON %I TO flashsale_readonly',
            (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
             WHERE attrelid = to_regclass(secret.tablename) AND attnum > 0
                AND NOT attisdropped AND attname <> ALL (secret.columns)),
            secret.tablename);
    END LOOP;
END $$;
