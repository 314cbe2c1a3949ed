-- Migration 1, Postgres: customers and their keys, settings, and usage.
--
-- Everything lies in the schema `public` of a database of its own, so that a person finds it with
-- plain psql. Names are qualified all the same: a session with another search_path must not run
-- other tables' rules. Times end in _ns (nanoseconds since the Unix epoch, UTC) or are called
-- `second` or `start` (whole seconds since the Unix epoch). The constraints hold for hand-written
-- SQL as well: what would mislead the server cannot be stored. Text sorts by its bytes (COLLATE "C"),
-- as the servers do.

-- ---- what tells servers to reload ----------------------------------------------------------------

CREATE TABLE public.revision (
    id    smallint PRIMARY KEY CHECK (id = 1),
    value bigint NOT NULL CHECK (value >= 0)
);

INSERT INTO public.revision (id, value) VALUES (1, 0);

COMMENT ON TABLE public.revision IS
    'One number that rises with every transaction that changes what servers must know of, and with no other: usage leaves it alone.';
COMMENT ON COLUMN public.revision.value IS 'Servers poll it, and load what was changed since.';

-- Once per transaction: the row's lock puts transactions in the order of their commits, and what
-- one of them changes is seen all at once, so one number is enough for it. A million keys inserted
-- one by one in a transaction must not leave a million dead rows behind.
CREATE FUNCTION public.ledger_bump_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.revision SET value = value + 1 WHERE id = 1 AND xmin <> pg_current_xact_id()::xid;
    PERFORM pg_notify('trinity_beast_changes', '');
    RETURN NULL;
END $$;

CREATE FUNCTION public.ledger_stamp_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := (SELECT value FROM public.revision WHERE id = 1);
    RETURN NEW;
END $$;

-- Says no, with the words it is given.
CREATE FUNCTION public.ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'restrict_violation';
END $$;

-- ---- tiers ---------------------------------------------------------------------------------------

CREATE TABLE public.tiers (
    name                text COLLATE "C" PRIMARY KEY CHECK (name ~ '^[a-z0-9_-]{1,32}$'),
    requests_per_month  bigint CHECK (requests_per_month BETWEEN 1 AND 1000000000000000),
    requests_per_second integer CHECK (requests_per_second BETWEEN 1 AND 1000000000),
    burst               integer CHECK (burst BETWEEN 1 AND 1000000000),
    reports_per_month   integer CHECK (reports_per_month BETWEEN 1 AND 1000000000),
    revision            bigint NOT NULL DEFAULT 0,
    CONSTRAINT tiers_rate_and_burst_are_one_limit CHECK ((requests_per_second IS NULL) = (burst IS NULL))
);

INSERT INTO public.tiers (name, requests_per_month, requests_per_second, burst, reports_per_month) VALUES
    ('free',         1000,    1,    5,   10),
    ('pro',         50000,   10,   20,   10),
    ('enterprise', 500000,   50,  100,   10),
    ('unlimited',    NULL,  100,  200, NULL),
    ('lifetime',     NULL,  100,  200, NULL),
    ('partner',      NULL, NULL, NULL, NULL);

COMMENT ON TABLE public.tiers IS
    'What a tier allows each of its keys. NULL is no limit; 0 is not allowed, because a customer who may do nothing is a disabled account.';
COMMENT ON COLUMN public.tiers.requests_per_month IS 'Charged requests in a UTC calendar month.';
COMMENT ON COLUMN public.tiers.requests_per_second IS 'Sustained rate; a rate and its burst are one limit: both or neither.';
COMMENT ON COLUMN public.tiers.burst IS 'Requests that may come at once.';
COMMENT ON COLUMN public.tiers.reports_per_month IS 'Usage reports in a UTC calendar month.';
COMMENT ON COLUMN public.tiers.revision IS 'The revision of its last change; kept by a trigger.';

-- ---- accounts ------------------------------------------------------------------------------------

CREATE TABLE public.accounts (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY CHECK (id >= 1),
    name          text COLLATE "C" NOT NULL UNIQUE
                  CHECK (char_length(name) BETWEEN 1 AND 128 AND btrim(name) = name
                         AND name !~ '[\u0001-\u001f\u007f]' AND name ~ '[^0-9]'),
    tier          text COLLATE "C" NOT NULL REFERENCES public.tiers (name),
    created_at_ns bigint NOT NULL CHECK (created_at_ns >= 0),
    disabled      boolean NOT NULL DEFAULT false,
    revision      bigint NOT NULL DEFAULT 0
);

CREATE INDEX accounts_by_tier ON public.accounts (tier);
CREATE INDEX accounts_by_revision ON public.accounts (revision);

COMMENT ON TABLE public.accounts IS 'Who is billed.';
COMMENT ON COLUMN public.accounts.id IS 'Never given out twice, so that no one is ever billed for a predecessor.';
COMMENT ON COLUMN public.accounts.name IS 'Never all digits, so that a command can take either the name or the id.';
COMMENT ON COLUMN public.accounts.tier IS 'The tier that holds now; its history is in subscriptions.';
COMMENT ON COLUMN public.accounts.created_at_ns IS 'When it was made.';
COMMENT ON COLUMN public.accounts.disabled IS 'Whether all its keys are refused.';
COMMENT ON COLUMN public.accounts.revision IS 'The revision of its last change; kept by a trigger.';

CREATE TABLE public.subscriptions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id   bigint NOT NULL REFERENCES public.accounts (id),
    tier         text COLLATE "C" NOT NULL REFERENCES public.tiers (name),
    starts_at_ns bigint NOT NULL CHECK (starts_at_ns >= 0),
    ends_at_ns   bigint CHECK (ends_at_ns >= starts_at_ns)
);

CREATE UNIQUE INDEX subscriptions_one_open ON public.subscriptions (account_id) WHERE ends_at_ns IS NULL;
CREATE INDEX subscriptions_by_account ON public.subscriptions (account_id, id);
CREATE INDEX subscriptions_by_tier ON public.subscriptions (tier);

COMMENT ON TABLE public.subscriptions IS
    'Which tier an account had, and when. Triggers on accounts write it, so that no tool can change a tier without leaving the record.';
COMMENT ON COLUMN public.subscriptions.id IS 'Rises with time.';
COMMENT ON COLUMN public.subscriptions.account_id IS 'Whose tier it was.';
COMMENT ON COLUMN public.subscriptions.tier IS 'The tier.';
COMMENT ON COLUMN public.subscriptions.starts_at_ns IS 'Since when.';
COMMENT ON COLUMN public.subscriptions.ends_at_ns IS 'Until when; NULL is the one that holds now.';

CREATE FUNCTION public.ledger_keep_subscriptions() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    at_ns bigint;
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO public.subscriptions (account_id, tier, starts_at_ns)
        VALUES (NEW.id, NEW.tier, NEW.created_at_ns);
        RETURN NULL;
    END IF;
    -- The program says which time it goes by; hand-written SQL goes by this server's clock.
    at_ns := coalesce(nullif(current_setting('trinity_beast.at_ns', true), '')::bigint,
                      (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint);
    -- A clock that stepped back must not make the change fail.
    UPDATE public.subscriptions SET ends_at_ns = greatest(starts_at_ns, at_ns)
    WHERE account_id = NEW.id AND ends_at_ns IS NULL;
    INSERT INTO public.subscriptions (account_id, tier, starts_at_ns)
    SELECT NEW.id, NEW.tier, coalesce(max(ends_at_ns), at_ns) FROM public.subscriptions WHERE account_id = NEW.id;
    RETURN NULL;
END $$;

CREATE TRIGGER accounts_open_subscription AFTER INSERT ON public.accounts
    FOR EACH ROW EXECUTE FUNCTION public.ledger_keep_subscriptions();
CREATE TRIGGER accounts_change_subscription AFTER UPDATE OF tier ON public.accounts
    FOR EACH ROW WHEN (NEW.tier <> OLD.tier) EXECUTE FUNCTION public.ledger_keep_subscriptions();

-- ---- keys ----------------------------------------------------------------------------------------

-- Raises the type's own error for a text that is no network.
CREATE FUNCTION public.ledger_networks_are_sound(networks text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT networks = '' OR
        (SELECT count(*) <= 16 AND bool_and(one ~ '^(([0-9]{1,3}[.]){3}[0-9]{1,3}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)/[0-9]{1,3}$' AND one::cidr IS NOT NULL)
         FROM unnest(string_to_array(networks, ',')) AS one)
$$;

CREATE TABLE public.api_keys (
    key_id              bigint PRIMARY KEY CHECK (key_id >= 1),
    account_id          bigint NOT NULL REFERENCES public.accounts (id),
    name                text COLLATE "C" NOT NULL
                        CHECK (char_length(name) BETWEEN 1 AND 128 AND btrim(name) = name
                               AND name !~ '[\u0001-\u001f\u007f]'),
    verifier            bytea NOT NULL UNIQUE CHECK (octet_length(verifier) = 32),
    created_at_ns       bigint NOT NULL CHECK (created_at_ns >= 0),
    -- Not compared with created_at_ns: ending and revoking must work whatever the clock says.
    expires_at_ns       bigint CHECK (expires_at_ns >= 0),
    revoked_at_ns       bigint CHECK (revoked_at_ns >= 0),
    allow_udp           boolean NOT NULL DEFAULT true,
    allow_http          boolean NOT NULL DEFAULT true,
    allowed_networks    text NOT NULL DEFAULT '' CHECK (public.ledger_networks_are_sound(allowed_networks)),
    scope               text NOT NULL DEFAULT 'customer' CHECK (scope IN ('customer', 'operator')),
    requests_per_month  bigint CHECK (requests_per_month = -1 OR requests_per_month BETWEEN 1 AND 1000000000000000),
    requests_per_second integer CHECK (requests_per_second = -1 OR requests_per_second BETWEEN 1 AND 1000000000),
    burst               integer CHECK (burst = -1 OR burst BETWEEN 1 AND 1000000000),
    reports_per_month   integer CHECK (reports_per_month = -1 OR reports_per_month BETWEEN 1 AND 1000000000),
    replaces            bigint REFERENCES public.api_keys (key_id),
    revision            bigint NOT NULL DEFAULT 0,
    CONSTRAINT api_keys_one_protocol_at_least CHECK (allow_udp OR allow_http),
    CONSTRAINT api_keys_rate_and_burst_are_one_limit
        CHECK ((requests_per_second IS NULL) = (burst IS NULL)
               AND coalesce((requests_per_second = -1) = (burst = -1), true)),
    CONSTRAINT api_keys_replace_another CHECK (replaces <> key_id)
);

CREATE INDEX api_keys_by_account ON public.api_keys (account_id);
CREATE INDEX api_keys_by_revision ON public.api_keys (revision);
CREATE INDEX api_keys_by_replaced ON public.api_keys (replaces) WHERE replaces IS NOT NULL;

COMMENT ON TABLE public.api_keys IS
    'API keys. The verifier is derived from the secret one way; the secret is nowhere. Whoever reads a verifier can sign requests with it.';
COMMENT ON COLUMN public.api_keys.key_id IS 'The public name of the key, random.';
COMMENT ON COLUMN public.api_keys.account_id IS 'Whose it is.';
COMMENT ON COLUMN public.api_keys.name IS 'What its owner calls it.';
COMMENT ON COLUMN public.api_keys.verifier IS 'Checks what the key signs; as private as a password.';
COMMENT ON COLUMN public.api_keys.created_at_ns IS 'When it was made.';
COMMENT ON COLUMN public.api_keys.expires_at_ns IS 'From when on it is refused; NULL is never.';
COMMENT ON COLUMN public.api_keys.revoked_at_ns IS 'When it was revoked; a revoked key stays revoked.';
COMMENT ON COLUMN public.api_keys.allow_udp IS 'Whether it may be used over UDP.';
COMMENT ON COLUMN public.api_keys.allow_http IS 'Whether it may be used over HTTP and WebSocket.';
COMMENT ON COLUMN public.api_keys.allowed_networks IS 'From which source networks, as 10.0.0.0/8,2001:db8::/32, at most 16; from any if empty.';
COMMENT ON COLUMN public.api_keys.scope IS 'Whose usage it may see: its account''s (customer) or everybody''s (operator).';
COMMENT ON COLUMN public.api_keys.requests_per_month IS 'Instead of the tier''s: NULL is as the tier has it, -1 is no limit.';
COMMENT ON COLUMN public.api_keys.requests_per_second IS 'Instead of the tier''s, together with burst: NULL is as the tier has it, -1 is no limit.';
COMMENT ON COLUMN public.api_keys.burst IS 'Instead of the tier''s, together with requests_per_second.';
COMMENT ON COLUMN public.api_keys.reports_per_month IS 'Instead of the tier''s: NULL is as the tier has it, -1 is no limit.';
COMMENT ON COLUMN public.api_keys.replaces IS 'The key that it took the place of, if it came by rotation.';
COMMENT ON COLUMN public.api_keys.revision IS 'The revision of its last change; kept by a trigger.';

CREATE TRIGGER api_keys_stay_revoked BEFORE UPDATE OF revoked_at_ns ON public.api_keys
    FOR EACH ROW WHEN (OLD.revoked_at_ns IS NOT NULL AND NEW.revoked_at_ns IS DISTINCT FROM OLD.revoked_at_ns)
    EXECUTE FUNCTION public.ledger_refuse('a revoked key stays revoked: create a new key instead');
CREATE TRIGGER api_keys_keep_identity BEFORE UPDATE OF key_id, account_id, verifier, replaces ON public.api_keys
    FOR EACH ROW WHEN (NEW.key_id <> OLD.key_id OR NEW.account_id <> OLD.account_id OR NEW.verifier <> OLD.verifier
                       OR NEW.replaces IS DISTINCT FROM OLD.replaces)
    EXECUTE FUNCTION public.ledger_refuse('a key keeps its id, account, verifier and what it replaces: create a new key instead');
CREATE TRIGGER api_keys_are_kept BEFORE DELETE ON public.api_keys
    FOR EACH ROW EXECUTE FUNCTION public.ledger_refuse('usage is billed by key: revoke a key instead of deleting it');
CREATE TRIGGER api_keys_are_kept_whole BEFORE TRUNCATE ON public.api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_refuse('usage is billed by key: revoke a key instead of deleting it');

-- ---- parameters ----------------------------------------------------------------------------------

CREATE TABLE public.parameters (
    name          text COLLATE "C" PRIMARY KEY CHECK (name ~ '^[a-z0-9_.]{1,64}$'),
    value         text NOT NULL CHECK (char_length(value) <= 4096),
    updated_at_ns bigint NOT NULL CHECK (updated_at_ns >= 0)
);

COMMENT ON TABLE public.parameters IS 'Settings of the running service; `trinity-beast params list` says what each does.';
COMMENT ON COLUMN public.parameters.name IS 'Which.';
COMMENT ON COLUMN public.parameters.value IS 'A value that a server cannot use changes nothing and is reported.';
COMMENT ON COLUMN public.parameters.updated_at_ns IS 'When it was last set.';

-- ---- revision triggers ---------------------------------------------------------------------------

-- Before the statement, so that every change takes the revision's lock before any other: two
-- changes wait for each other and never lock each other out.
CREATE TRIGGER tiers_revision BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.tiers
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_bump_revision();
CREATE TRIGGER accounts_revision BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.accounts
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_bump_revision();
CREATE TRIGGER subscriptions_revision BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.subscriptions
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_bump_revision();
CREATE TRIGGER api_keys_revision BEFORE INSERT OR UPDATE OR DELETE ON public.api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_bump_revision();
CREATE TRIGGER parameters_revision BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.parameters
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_bump_revision();

CREATE TRIGGER tiers_stamp BEFORE INSERT OR UPDATE ON public.tiers
    FOR EACH ROW EXECUTE FUNCTION public.ledger_stamp_revision();
CREATE TRIGGER accounts_stamp BEFORE INSERT OR UPDATE ON public.accounts
    FOR EACH ROW EXECUTE FUNCTION public.ledger_stamp_revision();
CREATE TRIGGER api_keys_stamp BEFORE INSERT OR UPDATE ON public.api_keys
    FOR EACH ROW EXECUTE FUNCTION public.ledger_stamp_revision();

-- ---- usage ---------------------------------------------------------------------------------------

-- No foreign key to api_keys: usage that was counted must find its place whatever became of the
-- key, or one odd row would hold up everybody's flush. api_keys_are_kept keeps the reference whole
-- from the other side.
CREATE TABLE public.usage (
    key_id         bigint NOT NULL CHECK (key_id >= 0),
    second         bigint NOT NULL CHECK (second BETWEEN 0 AND 253402300799),
    protocol       smallint NOT NULL CHECK (protocol IN (1, 2)),
    outcome        integer NOT NULL CHECK (outcome BETWEEN 0 AND 65535),
    count          bigint NOT NULL CHECK (count >= 1),
    latency_sum_ns bigint NOT NULL CHECK (latency_sum_ns >= 0),
    latency_max_ns bigint NOT NULL CHECK (latency_max_ns >= 0),
    PRIMARY KEY (second, key_id, protocol, outcome)
) PARTITION BY RANGE (second);

COMMENT ON TABLE public.usage IS 'What is billed: requests by key, second, protocol and outcome. A partition for each UTC day.';
COMMENT ON COLUMN public.usage.key_id IS 'Whose requests; 0 for those that no key signed.';
COMMENT ON COLUMN public.usage.second IS 'The second they were answered in.';
COMMENT ON COLUMN public.usage.protocol IS '1 UDP, 2 HTTP.';
COMMENT ON COLUMN public.usage.outcome IS 'The wire code they were answered with; 0 is charged.';
COMMENT ON COLUMN public.usage.count IS 'How many; a batch is one.';
COMMENT ON COLUMN public.usage.latency_sum_ns IS 'Time from receiving to answering, summed; stops at 2^63 - 1.';
COMMENT ON COLUMN public.usage.latency_max_ns IS 'The longest of these times.';

CREATE TABLE public.usage_symbols (
    key_id  bigint NOT NULL CHECK (key_id >= 0),
    symbol  text COLLATE "C" NOT NULL CHECK (symbol ~ '^[!-~]{1,16}$'),
    second  bigint NOT NULL CHECK (second BETWEEN 0 AND 253402300799),
    status  smallint NOT NULL CHECK (status BETWEEN 0 AND 255),
    entries bigint NOT NULL CHECK (entries >= 1),
    PRIMARY KEY (second, key_id, symbol, status)
) PARTITION BY RANGE (second);

COMMENT ON TABLE public.usage_symbols IS 'Detail, not billed: answered entries by key, symbol, second and price status. A partition for each UTC day.';
COMMENT ON COLUMN public.usage_symbols.key_id IS 'Whose entries.';
COMMENT ON COLUMN public.usage_symbols.symbol IS 'What was asked for.';
COMMENT ON COLUMN public.usage_symbols.second IS 'The second they were answered in.';
COMMENT ON COLUMN public.usage_symbols.status IS 'The wire status of the price.';
COMMENT ON COLUMN public.usage_symbols.entries IS 'How many.';

CREATE TABLE public.usage_kept (
    id        smallint PRIMARY KEY CHECK (id = 1),
    from_second bigint NOT NULL CHECK (from_second >= 0 AND from_second % 86400 = 0)
);

INSERT INTO public.usage_kept (id, from_second) VALUES (1, 0);

COMMENT ON TABLE public.usage_kept IS 'One row: how far back usage is kept by the second.';
COMMENT ON COLUMN public.usage_kept.from_second IS 'Usage of earlier seconds goes into the sums alone.';

-- Makes room for a UTC day (days since the Unix epoch), unless it was dropped before; tells whether
-- it made any. A table is made apart and attached, which does not hold up running flushes.
CREATE FUNCTION public.ledger_make_day(day bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    first  bigint := day * 86400;
    suffix text := to_char(to_timestamp(first) AT TIME ZONE 'UTC', 'YYYYMMDD');
    parent text;
    made   boolean := false;
BEGIN
    IF to_regclass('public.usage_' || suffix) IS NOT NULL AND to_regclass('public.usage_symbols_' || suffix) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(6071499117159348480);
    IF first < (SELECT from_second FROM public.usage_kept WHERE id = 1) THEN
        RETURN false;
    END IF;
    FOREACH parent IN ARRAY ARRAY['usage', 'usage_symbols'] LOOP
        CONTINUE WHEN to_regclass(format('public.%I', parent || '_' || suffix)) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL, CHECK (second >= %s AND second < %s))',
                       parent || '_' || suffix, parent, first, first + 86400);
        EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%s) TO (%s)',
                       parent, parent || '_' || suffix, first, first + 86400);
        made := true;
    END LOOP;
    RETURN made;
END $$;

COMMENT ON FUNCTION public.ledger_make_day(bigint) IS 'Makes room for the usage of a UTC day, counted from the Unix epoch.';

-- Drops the seconds of a UTC day for good; tells whether there were any. Waits for flushes, but no
-- longer than the caller's lock_timeout.
CREATE FUNCTION public.ledger_drop_day(day bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    suffix text := to_char(to_timestamp(day * 86400) AT TIME ZONE 'UTC', 'YYYYMMDD');
    parent text;
    filled boolean;
    any_of boolean := false;
BEGIN
    PERFORM pg_advisory_xact_lock(6071499117159348480);
    UPDATE public.usage_kept SET from_second = (day + 1) * 86400 WHERE id = 1 AND from_second < (day + 1) * 86400;
    FOREACH parent IN ARRAY ARRAY['usage', 'usage_symbols'] LOOP
        CONTINUE WHEN to_regclass(format('public.%I', parent || '_' || suffix)) IS NULL;
        EXECUTE format('ALTER TABLE public.%I DETACH PARTITION public.%I', parent, parent || '_' || suffix);
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', parent || '_' || suffix) INTO filled;
        EXECUTE format('DROP TABLE public.%I', parent || '_' || suffix);
        any_of := any_of OR filled;
    END LOOP;
    RETURN any_of;
END $$;

COMMENT ON FUNCTION public.ledger_drop_day(bigint) IS 'Drops the seconds of a UTC day, counted from the Unix epoch; sums stay.';

-- The sums. Time comes first in their keys, so that a flush writes to one place. Room is left in
-- each page, because a row is updated for as long as its span lasts.
CREATE TABLE public.usage_minutes (
    key_id         bigint NOT NULL CHECK (key_id >= 0),
    start          bigint NOT NULL CHECK (start >= 0 AND start % 60 = 0),
    protocol       smallint NOT NULL CHECK (protocol IN (1, 2)),
    outcome        integer NOT NULL CHECK (outcome BETWEEN 0 AND 65535),
    count          bigint NOT NULL CHECK (count >= 1),
    latency_sum_ns bigint NOT NULL CHECK (latency_sum_ns >= 0),
    latency_max_ns bigint NOT NULL CHECK (latency_max_ns >= 0),
    PRIMARY KEY (start, key_id, protocol, outcome)
) WITH (fillfactor = 80);

CREATE INDEX usage_minutes_by_key ON public.usage_minutes (key_id, start);

COMMENT ON TABLE public.usage_minutes IS 'Usage summed by the minute; kept in the transaction of the flush. Columns as in usage.';

CREATE TABLE public.usage_hours (
    key_id         bigint NOT NULL CHECK (key_id >= 0),
    start          bigint NOT NULL CHECK (start >= 0 AND start % 3600 = 0),
    protocol       smallint NOT NULL CHECK (protocol IN (1, 2)),
    outcome        integer NOT NULL CHECK (outcome BETWEEN 0 AND 65535),
    node           text COLLATE "C" NOT NULL,
    count          bigint NOT NULL CHECK (count >= 1),
    latency_sum_ns bigint NOT NULL CHECK (latency_sum_ns >= 0),
    latency_max_ns bigint NOT NULL CHECK (latency_max_ns >= 0),
    PRIMARY KEY (start, key_id, protocol, outcome, node)
) WITH (fillfactor = 80);

CREATE INDEX usage_hours_by_key ON public.usage_hours (key_id, start);

COMMENT ON TABLE public.usage_hours IS 'Usage summed by the hour and node; kept in the transaction of the flush. Columns as in usage.';
COMMENT ON COLUMN public.usage_hours.node IS 'Which node counted them.';

CREATE TABLE public.usage_days (
    key_id         bigint NOT NULL CHECK (key_id >= 0),
    start          bigint NOT NULL CHECK (start >= 0 AND start % 86400 = 0),
    protocol       smallint NOT NULL CHECK (protocol IN (1, 2)),
    outcome        integer NOT NULL CHECK (outcome BETWEEN 0 AND 65535),
    node           text COLLATE "C" NOT NULL,
    count          bigint NOT NULL CHECK (count >= 1),
    latency_sum_ns bigint NOT NULL CHECK (latency_sum_ns >= 0),
    latency_max_ns bigint NOT NULL CHECK (latency_max_ns >= 0),
    PRIMARY KEY (start, key_id, protocol, outcome, node)
) WITH (fillfactor = 80);

CREATE INDEX usage_days_by_key ON public.usage_days (key_id, start);

COMMENT ON TABLE public.usage_days IS 'Usage summed by the UTC day and node; kept in the transaction of the flush. Columns as in usage.';
COMMENT ON COLUMN public.usage_days.node IS 'Which node counted them.';

CREATE TABLE public.usage_months (
    start    bigint NOT NULL CHECK (start >= 0 AND start % 86400 = 0),
    key_id   bigint NOT NULL CHECK (key_id >= 0),
    requests bigint NOT NULL CHECK (requests >= 1),
    charged  bigint NOT NULL CHECK (charged BETWEEN 0 AND requests),
    PRIMARY KEY (start, key_id)
) WITH (fillfactor = 50);

COMMENT ON TABLE public.usage_months IS 'Requests by UTC calendar month and key, which monthly caps are held against; kept in the transaction of the flush.';
COMMENT ON COLUMN public.usage_months.start IS 'First second of the month.';
COMMENT ON COLUMN public.usage_months.key_id IS 'Whose requests.';
COMMENT ON COLUMN public.usage_months.requests IS 'Requests of every outcome.';
COMMENT ON COLUMN public.usage_months.charged IS 'Requests of outcome 0.';

CREATE TABLE public.usage_symbols_hours (
    key_id  bigint NOT NULL CHECK (key_id >= 0),
    symbol  text COLLATE "C" NOT NULL CHECK (symbol ~ '^[!-~]{1,16}$'),
    start   bigint NOT NULL CHECK (start >= 0 AND start % 3600 = 0),
    status  smallint NOT NULL CHECK (status BETWEEN 0 AND 255),
    entries bigint NOT NULL CHECK (entries >= 1),
    PRIMARY KEY (start, key_id, symbol, status)
) WITH (fillfactor = 80);

COMMENT ON TABLE public.usage_symbols_hours IS 'Entries summed by the hour; kept in the transaction of the flush. Columns as in usage_symbols.';

CREATE TABLE public.usage_symbols_days (
    key_id  bigint NOT NULL CHECK (key_id >= 0),
    symbol  text COLLATE "C" NOT NULL CHECK (symbol ~ '^[!-~]{1,16}$'),
    start   bigint NOT NULL CHECK (start >= 0 AND start % 86400 = 0),
    status  smallint NOT NULL CHECK (status BETWEEN 0 AND 255),
    entries bigint NOT NULL CHECK (entries >= 1),
    PRIMARY KEY (start, key_id, symbol, status)
) WITH (fillfactor = 80);

CREATE INDEX usage_symbols_days_by_key ON public.usage_symbols_days (key_id, start);

COMMENT ON TABLE public.usage_symbols_days IS 'Entries summed by the UTC day; kept in the transaction of the flush. Columns as in usage_symbols.';

CREATE TABLE public.flushes (
    node              text COLLATE "C" NOT NULL CHECK (char_length(node) BETWEEN 1 AND 128),
    boot              bigint NOT NULL,
    shard             bigint NOT NULL CHECK (shard BETWEEN 0 AND 4294967295),
    sequence          bigint NOT NULL CHECK (sequence >= 0),
    applied_at        bigint NOT NULL DEFAULT extract(epoch FROM now())::bigint,
    usage_rows        bigint NOT NULL CHECK (usage_rows >= 0),
    requests          bigint NOT NULL CHECK (requests >= 0),
    symbol_rows       bigint NOT NULL CHECK (symbol_rows >= 0),
    entries           bigint NOT NULL CHECK (entries >= 0),
    total_usage_rows  numeric(39) NOT NULL CHECK (total_usage_rows >= usage_rows),
    total_requests    numeric(39) NOT NULL CHECK (total_requests >= requests),
    total_symbol_rows numeric(39) NOT NULL CHECK (total_symbol_rows >= symbol_rows),
    total_entries     numeric(39) NOT NULL CHECK (total_entries >= entries),
    PRIMARY KEY (node, boot, shard)
) WITH (fillfactor = 50);

COMMENT ON TABLE public.flushes IS
    'The last flush of each counter, so that a retry changes nothing, and what all its flushes brought.';
COMMENT ON COLUMN public.flushes.node IS 'The node''s name.';
COMMENT ON COLUMN public.flushes.boot IS 'Drawn at each start of the node''s process; 64 bits, compared and never ordered.';
COMMENT ON COLUMN public.flushes.shard IS 'Which of the node''s counters.';
COMMENT ON COLUMN public.flushes.sequence IS 'The last flush that was applied; one at or below it is a retry.';
COMMENT ON COLUMN public.flushes.applied_at IS 'When, Unix seconds, this server''s clock.';
COMMENT ON COLUMN public.flushes.usage_rows IS 'Request rows of the last flush: the four sums tell a retry from another flush under its id.';
COMMENT ON COLUMN public.flushes.requests IS 'Requests of the last flush.';
COMMENT ON COLUMN public.flushes.symbol_rows IS 'Symbol rows of the last flush.';
COMMENT ON COLUMN public.flushes.entries IS 'Entries of the last flush.';
COMMENT ON COLUMN public.flushes.total_usage_rows IS 'Request rows of all flushes.';
COMMENT ON COLUMN public.flushes.total_requests IS 'Requests of all flushes: `trinity-beast audit` holds them against the sums.';
COMMENT ON COLUMN public.flushes.total_symbol_rows IS 'Symbol rows of all flushes.';
COMMENT ON COLUMN public.flushes.total_entries IS 'Entries of all flushes.';

CREATE TABLE public.report_log (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id bigint NOT NULL REFERENCES public.api_keys (key_id),
    month  bigint NOT NULL CHECK (month >= 0 AND month % 86400 = 0),
    at_ns  bigint NOT NULL CHECK (at_ns >= 0),
    kind   text NOT NULL CHECK (kind ~ '^[a-z0-9-]{1,32}$'),
    format text NOT NULL CHECK (format ~ '^[a-z0-9-]{1,16}$')
);

CREATE INDEX report_log_by_key ON public.report_log (key_id, month);

COMMENT ON TABLE public.report_log IS 'Usage reports that were made.';
COMMENT ON COLUMN public.report_log.id IS 'Rises with time.';
COMMENT ON COLUMN public.report_log.key_id IS 'Who asked.';
COMMENT ON COLUMN public.report_log.month IS 'First second of the UTC calendar month it counts for.';
COMMENT ON COLUMN public.report_log.at_ns IS 'When.';
COMMENT ON COLUMN public.report_log.kind IS 'Which report.';
COMMENT ON COLUMN public.report_log.format IS 'In which form.';
