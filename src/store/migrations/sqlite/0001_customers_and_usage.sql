-- Migration 1, SQLite: customers and their keys, settings, and usage.
--
-- Times end in _ns (nanoseconds since the Unix epoch, UTC) or are called `second` (whole
-- seconds since the Unix epoch). The CHECKs hold for hand-written SQL as well: what would
-- mislead the server (a negative limit, a verifier of the wrong length) cannot be stored.

-- What a tier allows, as data. NULL is "no limit"; 0 is not allowed, because a customer who
-- may do nothing is a disabled account. A rate and its burst are one limit: both or neither.
CREATE TABLE tiers (
    name                TEXT NOT NULL PRIMARY KEY
                        CHECK (length(name) BETWEEN 1 AND 32 AND name NOT GLOB '*[^a-z0-9_-]*'),
    requests_per_month  INTEGER CHECK (requests_per_month BETWEEN 1 AND 1000000000000000),
    -- A rate above one per nanosecond has no meaning to the limiter, and burst x interval
    -- must stay within 63 bits of nanoseconds.
    requests_per_second INTEGER CHECK (requests_per_second BETWEEN 1 AND 1000000000),
    burst               INTEGER CHECK (burst BETWEEN 1 AND 1000000000),
    reports_per_month   INTEGER CHECK (reports_per_month BETWEEN 1 AND 1000000000),
    CHECK ((requests_per_second IS NULL) = (burst IS NULL))
) STRICT, WITHOUT ROWID;

INSERT INTO tiers (name, requests_per_month, requests_per_second, burst, reports_per_month) VALUES
    ('free',         1000,    1,    5,   10),
    ('pro',         50000,   10,   20,   10),
    ('enterprise', 500000,   50,  100,   10),
    ('unlimited',    NULL,  100,  200, NULL),
    ('lifetime',     NULL,  100,  200, NULL),
    ('partner',      NULL, NULL, NULL, NULL);

-- Who is billed. AUTOINCREMENT: an id is never given out twice, so that no one is ever
-- billed for a predecessor. A name is never all digits, so that a command can take either
-- the name or the id.
CREATE TABLE accounts (
    id            INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id >= 1),
    name          TEXT NOT NULL UNIQUE
                  CHECK (length(name) BETWEEN 1 AND 128
                         AND trim(name) = name
                         AND name GLOB '*[^0-9]*'
                         AND instr(name, char(0)) = 0
                         AND name NOT GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*'),
    tier          TEXT NOT NULL REFERENCES tiers (name),
    created_at_ns INTEGER NOT NULL CHECK (created_at_ns >= 0),
    disabled      INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1))
) STRICT;

CREATE INDEX accounts_by_tier ON accounts (tier);

-- Which tier an account had, and when: accounts.tier is what holds now, this is its history.
-- Triggers write it, so that no tool can change a tier without leaving the record.
CREATE TABLE subscriptions (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id   INTEGER NOT NULL REFERENCES accounts (id),
    tier         TEXT NOT NULL REFERENCES tiers (name),
    starts_at_ns INTEGER NOT NULL CHECK (starts_at_ns >= 0),
    ends_at_ns   INTEGER CHECK (ends_at_ns >= starts_at_ns)
) STRICT;

CREATE UNIQUE INDEX subscriptions_one_open ON subscriptions (account_id) WHERE ends_at_ns IS NULL;
CREATE INDEX subscriptions_by_tier ON subscriptions (tier);

CREATE TRIGGER accounts_open_subscription AFTER INSERT ON accounts BEGIN
    INSERT INTO subscriptions (account_id, tier, starts_at_ns)
    VALUES (NEW.id, NEW.tier, NEW.created_at_ns);
END;

CREATE TRIGGER accounts_change_subscription AFTER UPDATE OF tier ON accounts WHEN NEW.tier <> OLD.tier BEGIN
    -- A clock that stepped back must not make the change fail.
    UPDATE subscriptions
    SET ends_at_ns = max(starts_at_ns, CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER) * 1000000)
    WHERE account_id = NEW.id AND ends_at_ns IS NULL;
    INSERT INTO subscriptions (account_id, tier, starts_at_ns)
    SELECT NEW.id, NEW.tier, max(ends_at_ns) FROM subscriptions WHERE account_id = NEW.id;
END;

-- API keys. The verifier is derived from the secret one way; the secret is nowhere. Whoever
-- reads a verifier can sign requests with it, so this file is as private as a password file.
CREATE TABLE api_keys (
    key_id        INTEGER PRIMARY KEY CHECK (key_id >= 1),
    account_id    INTEGER NOT NULL REFERENCES accounts (id),
    name          TEXT NOT NULL
                  CHECK (length(name) BETWEEN 1 AND 128
                         AND trim(name) = name
                         AND instr(name, char(0)) = 0
                         AND name NOT GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*'),
    verifier      BLOB NOT NULL UNIQUE CHECK (length(verifier) = 32),
    created_at_ns INTEGER NOT NULL CHECK (created_at_ns >= 0),
    expires_at_ns INTEGER CHECK (expires_at_ns > created_at_ns),
    -- Not compared with created_at_ns: revoking must work whatever the clock says.
    revoked_at_ns INTEGER CHECK (revoked_at_ns >= 0)
) STRICT;

CREATE INDEX api_keys_by_account ON api_keys (account_id);

CREATE TRIGGER api_keys_stay_revoked BEFORE UPDATE OF revoked_at_ns ON api_keys
WHEN OLD.revoked_at_ns IS NOT NULL AND NEW.revoked_at_ns IS NOT OLD.revoked_at_ns BEGIN
    SELECT RAISE(ABORT, 'a revoked key stays revoked: create a new key instead');
END;

CREATE TRIGGER api_keys_keep_identity BEFORE UPDATE OF key_id, account_id, verifier ON api_keys
WHEN NEW.key_id IS NOT OLD.key_id OR NEW.account_id IS NOT OLD.account_id OR NEW.verifier IS NOT OLD.verifier BEGIN
    SELECT RAISE(ABORT, 'a key keeps its id, account and verifier: create a new key instead');
END;

CREATE TRIGGER api_keys_are_kept BEFORE DELETE ON api_keys BEGIN
    SELECT RAISE(ABORT, 'usage is billed by key: revoke a key instead of deleting it');
END;

-- Settings of the running service, by name.
CREATE TABLE parameters (
    name          TEXT NOT NULL PRIMARY KEY
                  CHECK (length(name) BETWEEN 1 AND 64 AND name NOT GLOB '*[^a-z0-9_.]*'),
    value         TEXT NOT NULL CHECK (length(value) <= 4096 AND instr(value, char(0)) = 0),
    updated_at_ns INTEGER NOT NULL CHECK (updated_at_ns >= 0)
) STRICT, WITHOUT ROWID;

-- What is billed: requests by key, second, protocol and outcome. No foreign key to api_keys:
-- usage that was counted must find its place whatever became of the key, or one odd row
-- would hold up everybody's flush. api_keys_are_kept keeps the reference whole from the
-- other side.
CREATE TABLE usage (
    key_id         INTEGER NOT NULL CHECK (key_id >= 0),
    second         INTEGER NOT NULL CHECK (second BETWEEN 0 AND 253402300799),
    protocol       INTEGER NOT NULL CHECK (protocol IN (1, 2)), -- 1 UDP, 2 HTTP
    outcome        INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 65535), -- wire code; 0 is charged
    count          INTEGER NOT NULL CHECK (count >= 1),
    latency_sum_ns INTEGER NOT NULL CHECK (latency_sum_ns >= 0),
    latency_max_ns INTEGER NOT NULL CHECK (latency_max_ns >= 0),
    PRIMARY KEY (key_id, second, protocol, outcome)
) STRICT, WITHOUT ROWID;

-- Detail, not billed: answered entries by key, symbol, second and price status.
CREATE TABLE usage_symbols (
    key_id  INTEGER NOT NULL CHECK (key_id >= 0),
    symbol  TEXT NOT NULL CHECK (length(symbol) BETWEEN 1 AND 16 AND symbol NOT GLOB '*[^!-~]*'),
    second  INTEGER NOT NULL CHECK (second BETWEEN 0 AND 253402300799),
    status  INTEGER NOT NULL CHECK (status BETWEEN 0 AND 255),
    entries INTEGER NOT NULL CHECK (entries >= 1),
    PRIMARY KEY (key_id, symbol, second, status)
) STRICT, WITHOUT ROWID;

-- Which flushes were applied, so that a retry changes nothing. The sums tell a retry from a
-- second flush that wrongly bears the same id, which must not vanish in silence.
CREATE TABLE flushes (
    node        TEXT NOT NULL CHECK (length(node) BETWEEN 1 AND 128 AND instr(node, char(0)) = 0),
    boot        INTEGER NOT NULL, -- 64 bits, kept as a signed number: compared, never ordered
    shard       INTEGER NOT NULL CHECK (shard BETWEEN 0 AND 4294967295),
    sequence    INTEGER NOT NULL CHECK (sequence >= 0),
    applied_at  INTEGER NOT NULL DEFAULT (unixepoch()), -- Unix seconds, the ledger's clock
    usage_rows  INTEGER NOT NULL CHECK (usage_rows >= 0),
    requests    INTEGER NOT NULL CHECK (requests >= 0),
    symbol_rows INTEGER NOT NULL CHECK (symbol_rows >= 0),
    entries     INTEGER NOT NULL CHECK (entries >= 0),
    PRIMARY KEY (node, boot, shard, sequence)
) STRICT, WITHOUT ROWID;

-- One number that rises with every change a server must know of, and with no other: usage
-- flushes leave it alone. Servers poll it with a one-row SELECT.
CREATE TABLE revision (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    value INTEGER NOT NULL CHECK (value >= 0)
) STRICT;

INSERT INTO revision (id, value) VALUES (1, 0);

CREATE TRIGGER accounts_revision_insert AFTER INSERT ON accounts BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER accounts_revision_update AFTER UPDATE ON accounts BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER accounts_revision_delete AFTER DELETE ON accounts BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER subscriptions_revision_insert AFTER INSERT ON subscriptions BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER subscriptions_revision_update AFTER UPDATE ON subscriptions BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER subscriptions_revision_delete AFTER DELETE ON subscriptions BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER tiers_revision_insert AFTER INSERT ON tiers BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER tiers_revision_update AFTER UPDATE ON tiers BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER tiers_revision_delete AFTER DELETE ON tiers BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER api_keys_revision_insert AFTER INSERT ON api_keys BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER api_keys_revision_update AFTER UPDATE ON api_keys BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER api_keys_revision_delete AFTER DELETE ON api_keys BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER parameters_revision_insert AFTER INSERT ON parameters BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER parameters_revision_update AFTER UPDATE ON parameters BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER parameters_revision_delete AFTER DELETE ON parameters BEGIN
    UPDATE revision SET value = value + 1;
END;
