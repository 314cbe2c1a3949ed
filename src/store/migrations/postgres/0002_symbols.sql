-- Migration 2, Postgres: the symbols that customers may ask for, and the markets that price them.
--
-- Lists whose order matters (routes, spellings) are text with commas. Whether the rows make a table
-- together (routes lead somewhere, no name means two things) is checked by the server before it
-- takes them.

CREATE TABLE public.symbols (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY CHECK (id >= 1),
    name          text COLLATE "C" NOT NULL UNIQUE CHECK (name ~ '^[!-~]{1,16}$' AND name !~ '[a-z,@=]'),
    base          text COLLATE "C" NOT NULL CHECK (base ~ '^[!-~]{1,16}$' AND base !~ '[a-z,@=]'),
    quote         text COLLATE "C" NOT NULL CHECK (quote ~ '^[!-~]{1,16}$' AND quote !~ '[a-z,@=]'),
    exponent      smallint NOT NULL CHECK (exponent BETWEEN -15 AND 0),
    tick          text COLLATE "C" NOT NULL
                  CHECK (char_length(tick) BETWEEN 1 AND 32 AND tick ~ '^[0-9]*[.]?[0-9]*$' AND tick ~ '[1-9]'),
    min_sources   smallint NOT NULL DEFAULT 2 CHECK (min_sources BETWEEN 1 AND 16),
    max_age_ms    bigint NOT NULL DEFAULT 60000 CHECK (max_age_ms BETWEEN 1 AND 4294967295),
    hard_age_ms   bigint NOT NULL DEFAULT 600000 CHECK (hard_age_ms BETWEEN 1 AND 4294967295),
    jump_bps      bigint NOT NULL DEFAULT 1500 CHECK (jump_bps BETWEEN 1 AND 4294967295),
    dispute_bps   bigint NOT NULL DEFAULT 500 CHECK (dispute_bps BETWEEN 1 AND 4294967295),
    peg_bps       bigint CHECK (peg_bps BETWEEN 1 AND 4294967295),
    streamed      boolean NOT NULL DEFAULT true,
    routes        text COLLATE "C" NOT NULL DEFAULT ''
                  CHECK (char_length(routes) <= 67
                         AND (routes = '' OR routes ~ '^[!-~]+$' AND routes !~ '[a-z@=]' AND ',' || routes || ',' !~ ',,')),
    retired_at_ns bigint CHECK (retired_at_ns >= 0),
    origin        text NOT NULL DEFAULT 'operator' CHECK (origin IN ('builtin', 'operator')),
    seeded        bigint NOT NULL DEFAULT 0 CHECK (seeded >= 0),
    updated_at_ns bigint NOT NULL DEFAULT (extract(epoch FROM now()) * 1000000000)::bigint CHECK (updated_at_ns >= 0),
    CONSTRAINT symbols_base_and_quote_differ CHECK (base <> quote),
    CONSTRAINT symbols_are_stale_before_they_are_gone CHECK (hard_age_ms >= max_age_ms)
);

COMMENT ON TABLE public.symbols IS
    'A symbol keeps its id, name, base and quote for ever: usage and prices are kept by them. `trinity-beast symbols` changes them.';
COMMENT ON COLUMN public.symbols.id IS 'Rises; the servers'' tables follow this order.';
COMMENT ON COLUMN public.symbols.name IS 'Canonical name, BASE-QUOTE.';
COMMENT ON COLUMN public.symbols.base IS 'Asset that is priced.';
COMMENT ON COLUMN public.symbols.quote IS 'Asset it is priced in.';
COMMENT ON COLUMN public.symbols.exponent IS 'Price = mantissa x 10^exponent.';
COMMENT ON COLUMN public.symbols.tick IS 'Smallest price step that means anything, as exact decimal text.';
COMMENT ON COLUMN public.symbols.min_sources IS 'Venues needed for a live price.';
COMMENT ON COLUMN public.symbols.max_age_ms IS 'Older quotes are not used, an older price is stale.';
COMMENT ON COLUMN public.symbols.hard_age_ms IS 'An older price is not given at all.';
COMMENT ON COLUMN public.symbols.jump_bps IS 'A move beyond this is held until it is confirmed; basis points.';
COMMENT ON COLUMN public.symbols.dispute_bps IS 'Two venues further apart are in dispute; basis points.';
COMMENT ON COLUMN public.symbols.peg_bps IS 'How far from 1 a pegged asset is off its peg; NULL is not meant to be worth 1.';
COMMENT ON COLUMN public.symbols.streamed IS 'Whether venues are asked to stream it.';
COMMENT ON COLUMN public.symbols.routes IS 'Names of the rates that quotes in other currencies are converted with, best first, with commas.';
COMMENT ON COLUMN public.symbols.retired_at_ns IS 'When it was retired; NULL is offered.';
COMMENT ON COLUMN public.symbols.origin IS 'builtin rows follow the program; what an operator touched is the operator''s.';
COMMENT ON COLUMN public.symbols.seeded IS 'How often the program wrote the row from its built-in table; a change without that is an operator''s.';
COMMENT ON COLUMN public.symbols.updated_at_ns IS 'When it was last changed.';

CREATE TABLE public.symbol_aliases (
    alias     text COLLATE "C" PRIMARY KEY CHECK (alias ~ '^[!-~]{1,16}$' AND alias !~ '[a-z,@=]'),
    symbol_id bigint NOT NULL REFERENCES public.symbols (id),
    until_ns  bigint CHECK (until_ns >= 1)
);

CREATE INDEX symbol_aliases_by_symbol ON public.symbol_aliases (symbol_id);

COMMENT ON TABLE public.symbol_aliases IS 'Other names, each of one symbol at a time.';
COMMENT ON COLUMN public.symbol_aliases.alias IS 'The name.';
COMMENT ON COLUMN public.symbol_aliases.symbol_id IS 'Whose it is.';
COMMENT ON COLUMN public.symbol_aliases.until_ns IS 'From then on it is unknown; NULL is never.';

CREATE TABLE public.symbol_markets (
    symbol_id     bigint NOT NULL REFERENCES public.symbols (id),
    venue         text COLLATE "C" NOT NULL CHECK (venue ~ '^[a-z0-9-]{1,32}$'),
    spellings     text COLLATE "C" NOT NULL
                  CHECK (char_length(spellings) <= 271 AND spellings ~ '^[!-~]+$' AND spellings !~ '[*="\\]'
                         AND ',' || spellings || ',' !~ ',,'),
    unit_exponent smallint NOT NULL DEFAULT 0 CHECK (unit_exponent BETWEEN -18 AND 18),
    PRIMARY KEY (symbol_id, venue)
);

COMMENT ON TABLE public.symbol_markets IS 'Who trades it.';
COMMENT ON COLUMN public.symbol_markets.symbol_id IS 'Which symbol.';
COMMENT ON COLUMN public.symbol_markets.venue IS 'The venue''s name.';
COMMENT ON COLUMN public.symbol_markets.spellings IS 'How the venue writes it, with commas; the first is the one to subscribe with.';
COMMENT ON COLUMN public.symbol_markets.unit_exponent IS 'The venue''s price times 10^this is the price of one unit.';

CREATE FUNCTION public.ledger_check_symbol() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.id <= (SELECT max(id) FROM public.symbols) THEN
            RAISE EXCEPTION 'symbol ids rise: leave the id out, the ledger gives the next one'
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.id <> OLD.id OR NEW.name <> OLD.name OR NEW.base <> OLD.base OR NEW.quote <> OLD.quote THEN
        RAISE EXCEPTION 'a symbol keeps its id, name, base and quote: retire it and add another'
            USING ERRCODE = 'restrict_violation';
    END IF;
    -- What anybody but the program's own seeding changes belongs to the operator.
    IF NEW.origin = 'builtin' AND NEW.seeded = OLD.seeded THEN
        NEW.origin := 'operator';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION public.ledger_take_symbol_over() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE public.symbols SET origin = 'operator' WHERE id = OLD.symbol_id AND origin = 'builtin';
    END IF;
    IF TG_OP <> 'DELETE' THEN
        UPDATE public.symbols SET origin = 'operator' WHERE id = NEW.symbol_id AND origin = 'builtin';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER symbols_keep_their_rules BEFORE INSERT OR UPDATE ON public.symbols
    FOR EACH ROW EXECUTE FUNCTION public.ledger_check_symbol();
CREATE TRIGGER symbols_are_kept BEFORE DELETE ON public.symbols
    FOR EACH ROW EXECUTE FUNCTION public.ledger_refuse('usage is kept by symbol: set retired_at_ns instead of deleting it');
CREATE TRIGGER symbols_are_kept_whole BEFORE TRUNCATE ON public.symbols
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_refuse('usage is kept by symbol: set retired_at_ns instead of deleting it');
CREATE TRIGGER symbol_aliases_are_an_operators AFTER INSERT OR UPDATE OR DELETE ON public.symbol_aliases
    FOR EACH ROW EXECUTE FUNCTION public.ledger_take_symbol_over();
CREATE TRIGGER symbol_markets_are_an_operators AFTER INSERT OR UPDATE OR DELETE ON public.symbol_markets
    FOR EACH ROW EXECUTE FUNCTION public.ledger_take_symbol_over();

CREATE TRIGGER symbols_revision BEFORE INSERT OR UPDATE OR DELETE ON public.symbols
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_bump_revision();
CREATE TRIGGER symbol_aliases_revision BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.symbol_aliases
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_bump_revision();
CREATE TRIGGER symbol_markets_revision BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.symbol_markets
    FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_bump_revision();
