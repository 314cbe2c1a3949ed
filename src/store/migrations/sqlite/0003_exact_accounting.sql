-- Migration 3, SQLite: settings of keys, who changed since when, usage by the second with its sums, and reports.
--
-- A table is made anew where its shape changes; what was in it is carried over. Nothing refers to the tables that
-- are made anew, so dropping the old ones breaks no reference.

-- Which change touched a row last, so that a server can ask for what changed since. The triggers below keep it.
ALTER TABLE tiers ADD COLUMN revision INTEGER NOT NULL DEFAULT 0 CHECK (revision >= 0);
ALTER TABLE accounts ADD COLUMN revision INTEGER NOT NULL DEFAULT 0 CHECK (revision >= 0);

CREATE INDEX accounts_by_revision ON accounts (revision);

-- API keys. The verifier is derived from the secret one way; the secret is nowhere. Whoever reads a verifier can
-- sign requests with it, so this file is as private as a password file.
--
-- Limits of its own: NULL is "as the tier has it", -1 is "no limit"; 0 is not allowed. A rate and its burst are one
-- limit. Whether allowed_networks can be read at all is more than a CHECK can tell: a server takes a row that means
-- nothing for a refused key and reports it.
CREATE TABLE api_keys_anew (
    key_id              INTEGER PRIMARY KEY CHECK (key_id >= 1),
    account_id          INTEGER NOT NULL REFERENCES accounts (id),
    name                TEXT NOT NULL
                        CHECK (length(name) BETWEEN 1 AND 128
                               AND trim(name) = name
                               AND instr(name, char(0)) = 0
                               AND name NOT GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*'),
    verifier            BLOB NOT NULL UNIQUE CHECK (length(verifier) = 32),
    created_at_ns       INTEGER NOT NULL CHECK (created_at_ns >= 0),
    -- Neither is compared with created_at_ns: ending a key must work whatever the clock says.
    expires_at_ns       INTEGER CHECK (expires_at_ns >= 0),
    revoked_at_ns       INTEGER CHECK (revoked_at_ns >= 0),
    requests_per_month  INTEGER CHECK (requests_per_month = -1 OR requests_per_month BETWEEN 1 AND 1000000000000000),
    requests_per_second INTEGER CHECK (requests_per_second = -1 OR requests_per_second BETWEEN 1 AND 1000000000),
    burst               INTEGER CHECK (burst = -1 OR burst BETWEEN 1 AND 1000000000),
    reports_per_month   INTEGER CHECK (reports_per_month = -1 OR reports_per_month BETWEEN 1 AND 1000000000),
    allow_udp           INTEGER NOT NULL DEFAULT 1 CHECK (allow_udp IN (0, 1)),
    allow_http          INTEGER NOT NULL DEFAULT 1 CHECK (allow_http IN (0, 1)),
    allowed_networks    TEXT NOT NULL DEFAULT '' -- 10.0.0.0/8,2001:db8::/32: comma separated; '' is any; 16 at most
                        CHECK (length(allowed_networks) <= 703
                               AND length(allowed_networks) - length(replace(allowed_networks, ',', '')) <= 15
                               AND instr(allowed_networks, char(0)) = 0
                               AND allowed_networks NOT GLOB '*[^0-9a-f:./,]*'
                               AND (allowed_networks = '' OR ',' || allowed_networks || ',' NOT GLOB '*,,*')),
    scope               TEXT NOT NULL DEFAULT 'customer' CHECK (scope IN ('customer', 'operator')),
    replaces            INTEGER REFERENCES api_keys (key_id) CHECK (replaces <> key_id),
    revision            INTEGER NOT NULL DEFAULT 0 CHECK (revision >= 0),
    CHECK ((requests_per_second IS NULL) = (burst IS NULL)),
    CHECK ((requests_per_second IS -1) = (burst IS -1)),
    CHECK (allow_udp = 1 OR allow_http = 1)
) STRICT;

INSERT INTO api_keys_anew (key_id, account_id, name, verifier, created_at_ns, expires_at_ns, revoked_at_ns)
SELECT key_id, account_id, name, verifier, created_at_ns, expires_at_ns, revoked_at_ns FROM api_keys ORDER BY key_id;

DROP TABLE api_keys;
ALTER TABLE api_keys_anew RENAME TO api_keys;

CREATE INDEX api_keys_by_account ON api_keys (account_id);
CREATE INDEX api_keys_by_revision ON api_keys (revision);
CREATE INDEX api_keys_by_replaced ON api_keys (replaces) WHERE replaces IS NOT NULL;

CREATE TRIGGER api_keys_stay_revoked BEFORE UPDATE OF revoked_at_ns ON api_keys
WHEN OLD.revoked_at_ns IS NOT NULL AND NEW.revoked_at_ns IS NOT OLD.revoked_at_ns BEGIN
    SELECT RAISE(ABORT, 'a revoked key stays revoked: create a new key instead');
END;

CREATE TRIGGER api_keys_keep_identity BEFORE UPDATE OF key_id, account_id, verifier, replaces ON api_keys
WHEN NEW.key_id IS NOT OLD.key_id OR NEW.account_id IS NOT OLD.account_id OR NEW.verifier IS NOT OLD.verifier
     OR NEW.replaces IS NOT OLD.replaces BEGIN
    SELECT RAISE(ABORT, 'a key keeps its id, account, verifier and what it replaces: create a new key instead');
END;

CREATE TRIGGER api_keys_are_kept BEFORE DELETE ON api_keys BEGIN
    SELECT RAISE(ABORT, 'usage is billed by key: revoke a key instead of deleting it');
END;

-- A change raises the one number and stamps its row with it. The stamp is itself an update, which the WHEN tells
-- from a change by anybody: it ends there, with recursive triggers on as well.
DROP TRIGGER tiers_revision_insert;
DROP TRIGGER tiers_revision_update;
DROP TRIGGER accounts_revision_insert;
DROP TRIGGER accounts_revision_update;

CREATE TRIGGER tiers_revision_insert AFTER INSERT ON tiers BEGIN
    UPDATE revision SET value = value + 1;
    UPDATE tiers SET revision = (SELECT value FROM revision) WHERE name = NEW.name;
END;

CREATE TRIGGER tiers_revision_update AFTER UPDATE ON tiers WHEN NEW.revision = OLD.revision BEGIN
    UPDATE revision SET value = value + 1;
    UPDATE tiers SET revision = (SELECT value FROM revision) WHERE name = NEW.name;
END;

CREATE TRIGGER accounts_revision_insert AFTER INSERT ON accounts BEGIN
    UPDATE revision SET value = value + 1;
    UPDATE accounts SET revision = (SELECT value FROM revision) WHERE id = NEW.id;
END;

CREATE TRIGGER accounts_revision_update AFTER UPDATE ON accounts WHEN NEW.revision = OLD.revision BEGIN
    UPDATE revision SET value = value + 1;
    UPDATE accounts SET revision = (SELECT value FROM revision) WHERE id = NEW.id;
END;

CREATE TRIGGER api_keys_revision_insert AFTER INSERT ON api_keys BEGIN
    UPDATE revision SET value = value + 1;
    UPDATE api_keys SET revision = (SELECT value FROM revision) WHERE key_id = NEW.key_id;
END;

CREATE TRIGGER api_keys_revision_update AFTER UPDATE ON api_keys WHEN NEW.revision = OLD.revision BEGIN
    UPDATE revision SET value = value + 1;
    UPDATE api_keys SET revision = (SELECT value FROM revision) WHERE key_id = NEW.key_id;
END;

-- Usage by the second, now in the order of time: a flush writes to one place, and dropping old seconds frees whole
-- pages. No foreign key to api_keys: usage that was counted must find its place whatever became of the key, or one
-- odd row would hold up everybody's flush. api_keys_are_kept keeps the reference whole from the other side.
CREATE TABLE usage_anew (
    key_id         INTEGER NOT NULL CHECK (key_id >= 0),
    second         INTEGER NOT NULL CHECK (second BETWEEN 0 AND 253402300799),
    protocol       INTEGER NOT NULL CHECK (protocol IN (1, 2)), -- 1 UDP, 2 HTTP
    outcome        INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 65535), -- wire code; 0 is charged
    count          INTEGER NOT NULL CHECK (count >= 1),
    latency_sum_ns INTEGER NOT NULL CHECK (latency_sum_ns >= 0),
    latency_max_ns INTEGER NOT NULL CHECK (latency_max_ns >= 0),
    PRIMARY KEY (second, key_id, protocol, outcome)
) STRICT, WITHOUT ROWID;

INSERT INTO usage_anew (key_id, second, protocol, outcome, count, latency_sum_ns, latency_max_ns)
SELECT key_id, second, protocol, outcome, count, latency_sum_ns, latency_max_ns FROM usage
ORDER BY second, key_id, protocol, outcome;

DROP TABLE usage;
ALTER TABLE usage_anew RENAME TO usage;

-- Detail, not billed: answered entries by key, symbol, second and price status.
CREATE TABLE usage_symbols_anew (
    key_id  INTEGER NOT NULL CHECK (key_id >= 0),
    symbol  TEXT NOT NULL CHECK (length(symbol) BETWEEN 1 AND 16 AND symbol NOT GLOB '*[^!-~]*'),
    second  INTEGER NOT NULL CHECK (second BETWEEN 0 AND 253402300799),
    status  INTEGER NOT NULL CHECK (status BETWEEN 0 AND 255),
    entries INTEGER NOT NULL CHECK (entries >= 1),
    PRIMARY KEY (second, key_id, symbol, status)
) STRICT, WITHOUT ROWID;

INSERT INTO usage_symbols_anew (key_id, symbol, second, status, entries)
SELECT key_id, symbol, second, status, entries FROM usage_symbols ORDER BY second, key_id, symbol, status;

DROP TABLE usage_symbols;
ALTER TABLE usage_symbols_anew RENAME TO usage_symbols;

-- Seconds before from_second (the start of a UTC day) may have been dropped, in whole or in part; the sums below
-- stay, and hold the seconds that are gone as well.
CREATE TABLE usage_kept (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    from_second INTEGER NOT NULL CHECK (from_second BETWEEN 0 AND 253402300799 AND from_second % 86400 = 0)
) STRICT;

INSERT INTO usage_kept (id, from_second) VALUES (1, 0);

-- The sums of usage, written by the flush that writes the seconds. `start` is the first second of the span. Those by
-- key are found through an index of their own, which a row enters once, with its first request.
CREATE TABLE usage_minutes (
    key_id         INTEGER NOT NULL CHECK (key_id >= 0),
    start          INTEGER NOT NULL CHECK (start BETWEEN 0 AND 253402300799 AND start % 60 = 0),
    protocol       INTEGER NOT NULL CHECK (protocol IN (1, 2)),
    outcome        INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 65535),
    count          INTEGER NOT NULL CHECK (count >= 1),
    latency_sum_ns INTEGER NOT NULL CHECK (latency_sum_ns >= 0),
    latency_max_ns INTEGER NOT NULL CHECK (latency_max_ns >= 0),
    PRIMARY KEY (start, key_id, protocol, outcome)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_minutes_by_key ON usage_minutes (key_id, start);

-- `node` is the one that answered; '' is usage from before nodes were told apart.
CREATE TABLE usage_hours (
    key_id         INTEGER NOT NULL CHECK (key_id >= 0),
    start          INTEGER NOT NULL CHECK (start BETWEEN 0 AND 253402300799 AND start % 3600 = 0),
    protocol       INTEGER NOT NULL CHECK (protocol IN (1, 2)),
    outcome        INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 65535),
    node           TEXT NOT NULL CHECK (length(node) <= 128 AND instr(node, char(0)) = 0),
    count          INTEGER NOT NULL CHECK (count >= 1),
    latency_sum_ns INTEGER NOT NULL CHECK (latency_sum_ns >= 0),
    latency_max_ns INTEGER NOT NULL CHECK (latency_max_ns >= 0),
    PRIMARY KEY (start, key_id, protocol, outcome, node)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_hours_by_key ON usage_hours (key_id, start);

CREATE TABLE usage_days (
    key_id         INTEGER NOT NULL CHECK (key_id >= 0),
    start          INTEGER NOT NULL CHECK (start BETWEEN 0 AND 253402300799 AND start % 86400 = 0),
    protocol       INTEGER NOT NULL CHECK (protocol IN (1, 2)),
    outcome        INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 65535),
    node           TEXT NOT NULL CHECK (length(node) <= 128 AND instr(node, char(0)) = 0),
    count          INTEGER NOT NULL CHECK (count >= 1),
    latency_sum_ns INTEGER NOT NULL CHECK (latency_sum_ns >= 0),
    latency_max_ns INTEGER NOT NULL CHECK (latency_max_ns >= 0),
    PRIMARY KEY (start, key_id, protocol, outcome, node)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_days_by_key ON usage_days (key_id, start);

-- The monthly counters that caps are held against: start is the first second of a UTC calendar month.
CREATE TABLE usage_months (
    key_id   INTEGER NOT NULL CHECK (key_id >= 0),
    start    INTEGER NOT NULL
             CHECK (start BETWEEN 0 AND 253402300799 AND start = unixepoch(start, 'unixepoch', 'start of month')),
    requests INTEGER NOT NULL CHECK (requests >= 1),
    charged  INTEGER NOT NULL CHECK (charged BETWEEN 0 AND requests), -- outcome 0
    PRIMARY KEY (start, key_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_symbols_hours (
    key_id  INTEGER NOT NULL CHECK (key_id >= 0),
    symbol  TEXT NOT NULL CHECK (length(symbol) BETWEEN 1 AND 16 AND symbol NOT GLOB '*[^!-~]*'),
    start   INTEGER NOT NULL CHECK (start BETWEEN 0 AND 253402300799 AND start % 3600 = 0),
    status  INTEGER NOT NULL CHECK (status BETWEEN 0 AND 255),
    entries INTEGER NOT NULL CHECK (entries >= 1),
    PRIMARY KEY (start, key_id, symbol, status)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_symbols_days (
    key_id  INTEGER NOT NULL CHECK (key_id >= 0),
    symbol  TEXT NOT NULL CHECK (length(symbol) BETWEEN 1 AND 16 AND symbol NOT GLOB '*[^!-~]*'),
    start   INTEGER NOT NULL CHECK (start BETWEEN 0 AND 253402300799 AND start % 86400 = 0),
    status  INTEGER NOT NULL CHECK (status BETWEEN 0 AND 255),
    entries INTEGER NOT NULL CHECK (entries >= 1),
    PRIMARY KEY (start, key_id, symbol, status)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_symbols_days_by_key ON usage_symbols_days (key_id, start);

-- The sums of what is there already. Latency is summed in halves and saturates, because SQLite refuses sums beyond
-- 63 bits and saturated rows may be among these.
INSERT INTO usage_minutes (key_id, start, protocol, outcome, count, latency_sum_ns, latency_max_ns)
SELECT key_id, second - second % 60, protocol, outcome, sum(count),
       CASE WHEN sum(latency_sum_ns >> 32) >= 2147483648 THEN 9223372036854775807
            ELSE min((sum(latency_sum_ns >> 32) << 32) + sum(latency_sum_ns & 4294967295), 9223372036854775807) END,
       max(latency_max_ns)
FROM usage GROUP BY second - second % 60, key_id, protocol, outcome;

INSERT INTO usage_hours (key_id, start, protocol, outcome, node, count, latency_sum_ns, latency_max_ns)
SELECT key_id, start - start % 3600, protocol, outcome, '', sum(count),
       CASE WHEN sum(latency_sum_ns >> 32) >= 2147483648 THEN 9223372036854775807
            ELSE min((sum(latency_sum_ns >> 32) << 32) + sum(latency_sum_ns & 4294967295), 9223372036854775807) END,
       max(latency_max_ns)
FROM usage_minutes GROUP BY start - start % 3600, key_id, protocol, outcome;

INSERT INTO usage_days (key_id, start, protocol, outcome, node, count, latency_sum_ns, latency_max_ns)
SELECT key_id, start - start % 86400, protocol, outcome, '', sum(count),
       CASE WHEN sum(latency_sum_ns >> 32) >= 2147483648 THEN 9223372036854775807
            ELSE min((sum(latency_sum_ns >> 32) << 32) + sum(latency_sum_ns & 4294967295), 9223372036854775807) END,
       max(latency_max_ns)
FROM usage_hours GROUP BY start - start % 86400, key_id, protocol, outcome;

INSERT INTO usage_months (key_id, start, requests, charged)
SELECT key_id, unixepoch(start, 'unixepoch', 'start of month'), sum(count), sum(iif(outcome = 0, count, 0))
FROM usage_days GROUP BY unixepoch(start, 'unixepoch', 'start of month'), key_id;

INSERT INTO usage_symbols_hours (key_id, symbol, start, status, entries)
SELECT key_id, symbol, second - second % 3600, status, sum(entries)
FROM usage_symbols GROUP BY second - second % 3600, key_id, symbol, status;

INSERT INTO usage_symbols_days (key_id, symbol, start, status, entries)
SELECT key_id, symbol, start - start % 86400, status, sum(entries)
FROM usage_symbols_hours GROUP BY start - start % 86400, key_id, symbol, status;

-- The last flush of each counter. A counter's flushes come in order, so a sequence at or below the last is a retry;
-- the sums of the last one tell a retry from another flush that wrongly bears its id, which must not vanish in
-- silence. The totals are of all flushes of the counter, for the audit to hold the usage against.
CREATE TABLE flushes_anew (
    node              TEXT NOT NULL CHECK (length(node) BETWEEN 1 AND 128 AND instr(node, char(0)) = 0),
    boot              INTEGER NOT NULL, -- 64 bits, kept as a signed number: compared, never ordered
    shard             INTEGER NOT NULL CHECK (shard BETWEEN 0 AND 4294967295),
    sequence          INTEGER NOT NULL CHECK (sequence >= 0),
    applied_at        INTEGER NOT NULL DEFAULT (unixepoch()), -- Unix seconds, the ledger's clock
    usage_rows        INTEGER NOT NULL CHECK (usage_rows >= 0),
    requests          INTEGER NOT NULL CHECK (requests >= 0),
    symbol_rows       INTEGER NOT NULL CHECK (symbol_rows >= 0),
    entries           INTEGER NOT NULL CHECK (entries >= 0),
    total_usage_rows  INTEGER NOT NULL CHECK (total_usage_rows >= usage_rows),
    total_requests    INTEGER NOT NULL CHECK (total_requests >= requests),
    total_symbol_rows INTEGER NOT NULL CHECK (total_symbol_rows >= symbol_rows),
    total_entries     INTEGER NOT NULL CHECK (total_entries >= entries),
    PRIMARY KEY (node, boot, shard)
) STRICT, WITHOUT ROWID;

INSERT INTO flushes_anew
    (node, boot, shard, sequence, applied_at, usage_rows, requests, symbol_rows, entries,
     total_usage_rows, total_requests, total_symbol_rows, total_entries)
SELECT f.node, f.boot, f.shard, f.sequence, f.applied_at, f.usage_rows, f.requests, f.symbol_rows, f.entries,
       t.usage_rows, t.requests, t.symbol_rows, t.entries
FROM (SELECT node, boot, shard, max(sequence) AS sequence, sum(usage_rows) AS usage_rows, sum(requests) AS requests,
             sum(symbol_rows) AS symbol_rows, sum(entries) AS entries
      FROM flushes GROUP BY node, boot, shard) t
JOIN flushes f ON f.node = t.node AND f.boot = t.boot AND f.shard = t.shard AND f.sequence = t.sequence;

DROP TABLE flushes;
ALTER TABLE flushes_anew RENAME TO flushes;

-- Usage reports that were asked for; a key has so many in a UTC calendar month.
CREATE TABLE report_log (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id INTEGER NOT NULL REFERENCES api_keys (key_id),
    month  INTEGER NOT NULL -- first second of the month of at_ns
           CHECK (month BETWEEN 0 AND 253402300799 AND month = unixepoch(month, 'unixepoch', 'start of month')),
    kind   TEXT NOT NULL CHECK (length(kind) BETWEEN 1 AND 32 AND kind NOT GLOB '*[^a-z0-9-]*'),
    format TEXT NOT NULL CHECK (length(format) BETWEEN 1 AND 16 AND format NOT GLOB '*[^a-z0-9-]*'),
    at_ns  INTEGER NOT NULL CHECK (at_ns >= 0)
) STRICT;

CREATE INDEX report_log_by_key ON report_log (key_id, month);
