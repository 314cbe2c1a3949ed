-- Migration 2, SQLite: the symbols that customers may ask for, and the markets that price them.
--
-- Plain types only, so that another engine can hold the same rows. Lists whose order matters
-- (routes, spellings) are text with commas. Whether the rows make a table together (routes lead
-- somewhere, no name means two things) is checked by the server before it takes them.

-- A symbol keeps its id, name, base and quote for ever: usage and prices are kept by them. Ids
-- rise, and the servers' tables follow their order. `seeded` counts how often the program wrote
-- the row from its built-in table; a change without that is an operator's, and from then on the
-- program leaves the row alone.
CREATE TABLE symbols (
    id            INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id >= 1),
    name          TEXT NOT NULL UNIQUE
                  CHECK (length(name) BETWEEN 1 AND 16 AND name NOT GLOB '*[^!-~]*' AND name NOT GLOB '*[a-z,@=]*'),
    base          TEXT NOT NULL
                  CHECK (length(base) BETWEEN 1 AND 16 AND base NOT GLOB '*[^!-~]*' AND base NOT GLOB '*[a-z,@=]*'),
    quote         TEXT NOT NULL
                  CHECK (length(quote) BETWEEN 1 AND 16 AND quote NOT GLOB '*[^!-~]*' AND quote NOT GLOB '*[a-z,@=]*'),
    exponent      INTEGER NOT NULL CHECK (exponent BETWEEN -15 AND 0), -- price = mantissa x 10^exponent
    tick          TEXT NOT NULL                                        -- a price, as exact decimal text
                  CHECK (length(tick) BETWEEN 1 AND 32 AND tick NOT GLOB '*[^0-9.]*' AND tick GLOB '*[1-9]*'
                         AND tick NOT GLOB '*.*.*'),
    min_sources   INTEGER NOT NULL DEFAULT 2 CHECK (min_sources BETWEEN 1 AND 16),
    max_age_ms    INTEGER NOT NULL DEFAULT 60000 CHECK (max_age_ms BETWEEN 1 AND 4294967295),
    hard_age_ms   INTEGER NOT NULL DEFAULT 600000 CHECK (hard_age_ms BETWEEN 1 AND 4294967295),
    jump_bps      INTEGER NOT NULL DEFAULT 1500 CHECK (jump_bps BETWEEN 1 AND 4294967295),
    dispute_bps   INTEGER NOT NULL DEFAULT 500 CHECK (dispute_bps BETWEEN 1 AND 4294967295),
    peg_bps       INTEGER CHECK (peg_bps BETWEEN 1 AND 4294967295),    -- NULL: not meant to be worth 1
    streamed      INTEGER NOT NULL DEFAULT 1 CHECK (streamed IN (0, 1)),
    routes        TEXT NOT NULL DEFAULT ''                             -- names of rates, best first
                  CHECK (length(routes) <= 67 AND routes NOT GLOB '*[^!-~]*' AND routes NOT GLOB '*[a-z@=]*'
                         AND ',' || routes || ',' NOT GLOB '*,,*' OR routes = ''),
    retired_at_ns INTEGER CHECK (retired_at_ns >= 0),                  -- NULL: it is offered
    origin        TEXT NOT NULL DEFAULT 'operator' CHECK (origin IN ('builtin', 'operator')),
    seeded        INTEGER NOT NULL DEFAULT 0 CHECK (seeded >= 0),
    updated_at_ns INTEGER NOT NULL DEFAULT (unixepoch() * 1000000000) CHECK (updated_at_ns >= 0),
    CHECK (base <> quote),
    CHECK (hard_age_ms >= max_age_ms)
) STRICT;

-- Other names, each of one symbol at a time. From until_ns on an alias is unknown.
CREATE TABLE symbol_aliases (
    alias     TEXT NOT NULL PRIMARY KEY
              CHECK (length(alias) BETWEEN 1 AND 16 AND alias NOT GLOB '*[^!-~]*' AND alias NOT GLOB '*[a-z,@=]*'),
    symbol_id INTEGER NOT NULL REFERENCES symbols (id),
    until_ns  INTEGER CHECK (until_ns >= 1)
) STRICT, WITHOUT ROWID;

CREATE INDEX symbol_aliases_by_symbol ON symbol_aliases (symbol_id);

-- Who trades it. The first spelling is the one to subscribe with; the venue's price times
-- 10^unit_exponent is the price of one unit.
CREATE TABLE symbol_markets (
    symbol_id     INTEGER NOT NULL REFERENCES symbols (id),
    venue         TEXT NOT NULL CHECK (length(venue) BETWEEN 1 AND 32 AND venue NOT GLOB '*[^a-z0-9-]*'),
    spellings     TEXT NOT NULL
                  CHECK (length(spellings) BETWEEN 1 AND 271 AND spellings NOT GLOB '*[^!-~]*'
                         AND spellings NOT GLOB '*[*="\]*' AND ',' || spellings || ',' NOT GLOB '*,,*'),
    unit_exponent INTEGER NOT NULL DEFAULT 0 CHECK (unit_exponent BETWEEN -18 AND 18),
    PRIMARY KEY (symbol_id, venue)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER symbols_rise AFTER INSERT ON symbols
WHEN NEW.id < (SELECT max(id) FROM symbols) BEGIN
    SELECT RAISE(ABORT, 'symbol ids rise: leave the id out, the ledger gives the next one');
END;

CREATE TRIGGER symbols_keep_identity BEFORE UPDATE OF id, name, base, quote ON symbols
WHEN NEW.id IS NOT OLD.id OR NEW.name IS NOT OLD.name OR NEW.base IS NOT OLD.base OR NEW.quote IS NOT OLD.quote BEGIN
    SELECT RAISE(ABORT, 'a symbol keeps its id, name, base and quote: retire it and add another');
END;

CREATE TRIGGER symbols_are_kept BEFORE DELETE ON symbols BEGIN
    SELECT RAISE(ABORT, 'usage is kept by symbol: set retired_at_ns instead of deleting it');
END;

-- What anybody but the program's own seeding changes belongs to the operator.
CREATE TRIGGER symbols_taken_over AFTER UPDATE ON symbols
WHEN NEW.origin = 'builtin' AND NEW.seeded = OLD.seeded BEGIN
    UPDATE symbols SET origin = 'operator' WHERE id = NEW.id;
END;

CREATE TRIGGER symbols_revision_insert AFTER INSERT ON symbols BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER symbols_revision_update AFTER UPDATE ON symbols BEGIN
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER symbol_aliases_insert AFTER INSERT ON symbol_aliases BEGIN
    UPDATE symbols SET origin = 'operator' WHERE id = NEW.symbol_id AND origin = 'builtin';
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER symbol_aliases_update AFTER UPDATE ON symbol_aliases BEGIN
    UPDATE symbols SET origin = 'operator' WHERE id IN (OLD.symbol_id, NEW.symbol_id) AND origin = 'builtin';
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER symbol_aliases_delete AFTER DELETE ON symbol_aliases BEGIN
    UPDATE symbols SET origin = 'operator' WHERE id = OLD.symbol_id AND origin = 'builtin';
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER symbol_markets_insert AFTER INSERT ON symbol_markets BEGIN
    UPDATE symbols SET origin = 'operator' WHERE id = NEW.symbol_id AND origin = 'builtin';
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER symbol_markets_update AFTER UPDATE ON symbol_markets BEGIN
    UPDATE symbols SET origin = 'operator' WHERE id IN (OLD.symbol_id, NEW.symbol_id) AND origin = 'builtin';
    UPDATE revision SET value = value + 1;
END;

CREATE TRIGGER symbol_markets_delete AFTER DELETE ON symbol_markets BEGIN
    UPDATE symbols SET origin = 'operator' WHERE id = OLD.symbol_id AND origin = 'builtin';
    UPDATE revision SET value = value + 1;
END;
