//! What servers take from the ledger's symbols, and what they do not.

use rusqlite::Connection;
use tempfile::TempDir;
use trinity_protocol::Symbol;

use super::*;
use crate::market::symbol::SymbolId;
use crate::market::symbol_row::end_of_day;
use crate::store::{LEDGER_FILE, SqliteLedger, SymbolChange, SymbolPatch};

/// 2027-06-01T00:00:00Z.
const NOW: u64 = 1_811_808_000_000_000_000;

fn symbol(name: &str) -> Symbol {
    Symbol::new(name).expect("a symbol")
}

/// As the `sqlite3` shell would have it, with foreign keys on.
fn by_hand(dir: &TempDir) -> Connection {
    let connection = Connection::open(dir.path().join(LEDGER_FILE)).expect("opens");
    connection
        .pragma_update(None, "foreign_keys", true)
        .expect("sets");
    connection
}

async fn start() -> (TempDir, Arc<SqliteLedger>, SymbolSync) {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Arc::new(SqliteLedger::open_or_create(dir.path()).await.expect("opens"));
    let sync = SymbolSync::start(Arc::clone(&ledger) as _, NOW)
        .await
        .expect("readable");
    (dir, ledger, sync)
}

async fn polled(sync: &mut SymbolSync, now_ns: u64) -> Option<Arc<SymbolTable>> {
    sync.poll(now_ns).await.expect("readable")
}

#[tokio::test]
async fn a_fresh_ledger_gives_the_programs_own_table() {
    let (_dir, _ledger, mut sync) = start().await;
    let (table, own) = (sync.table(), SymbolTable::builtin());
    assert_eq!(sync.problem(), None);
    assert_eq!(table.len(), own.len());
    for ((id, spec), (own_id, own_spec)) in table.symbols().zip(own.symbols()) {
        assert_eq!((id, spec.name, spec.tick), (own_id, own_spec.name, own_spec.tick));
        let seats = |table: &SymbolTable| table.seats(id).iter().map(|seat| seat.venue).collect::<Vec<_>>();
        assert_eq!(seats(&table), seats(&own), "{}", spec.name);
    }
    assert!(polled(&mut sync, NOW).await.is_none(), "nothing changed");
}

#[tokio::test]
async fn a_symbol_written_by_hand_is_served_and_its_id_comes_last() {
    let (dir, _ledger, mut sync) = start().await;
    let known = sync.table().len() as u32;
    let sql = by_hand(&dir);
    sql.execute_batch(
        "BEGIN;
         INSERT INTO symbols (name, base, quote, exponent, tick, routes)
         VALUES ('FOO-USD', 'FOO', 'USD', -8, '0.0001', 'USDT-USD');
         INSERT INTO symbol_markets (symbol_id, venue, spellings)
         VALUES (last_insert_rowid(), 'kraken', 'FOO/USD'), (last_insert_rowid(), 'coinbase', 'FOO-USD');
         COMMIT;",
    )
    .expect("good rows");
    let table = polled(&mut sync, NOW).await.expect("a new table");
    let id = table.resolve("foo/usd").expect("it is there");
    assert_eq!((id, table.seats(id).len()), (SymbolId(known), 2));

    sql.execute_batch("UPDATE symbols SET min_sources = 1, max_age_ms = 5000 WHERE name = 'FOO-USD'")
        .expect("good");
    let table = polled(&mut sync, NOW).await.expect("a new table");
    let spec = table.symbol(id);
    assert_eq!((spec.min_sources, spec.max_age_ms), (1, 5_000));

    sql.execute_batch(&format!(
        "UPDATE symbols SET retired_at_ns = {NOW} WHERE name = 'FOO-USD'"
    ))
    .expect("good");
    let table = polled(&mut sync, NOW).await.expect("a new table");
    assert!(table.resolve("FOO-USD").is_none() && table.symbol(id).retired);
    assert_eq!(table.len() as u32, known + 1, "ids stay given out");
}

#[tokio::test]
async fn rows_that_make_no_table_keep_the_last_good_one_and_say_why() {
    let (dir, ledger, mut sync) = start().await;
    let before = sync.table();
    let sql = by_hand(&dir);
    for (bad, good, why) in [
        (
            "UPDATE symbols SET routes = 'NOPE-USD' WHERE name = 'SOL-USD'",
            "UPDATE symbols SET routes = 'USDT-USD,USDC-USD' WHERE name = 'SOL-USD'",
            "symbol SOL-USD, routes: NOPE-USD is no symbol",
        ),
        (
            "UPDATE symbols SET tick = '0.000000000001' WHERE name = 'SOL-USD'",
            "UPDATE symbols SET tick = '0.0001' WHERE name = 'SOL-USD'",
            "symbol SOL-USD, tick: `0.000000000001` is not a price step",
        ),
        (
            "INSERT INTO symbol_markets (symbol_id, venue, spellings) SELECT id, 'mtgox', 'X' FROM symbols \
             WHERE name = 'SOL-USD'",
            "DELETE FROM symbol_markets WHERE venue = 'mtgox'",
            "symbol SOL-USD, markets: `mtgox` is no venue; known: coinbase",
        ),
    ] {
        sql.execute_batch(bad).expect("each row is good by itself");
        assert!(polled(&mut sync, NOW).await.is_none(), "{bad}");
        let problem = sync.problem().expect("told").to_owned();
        assert!(
            problem.contains(why) && problem.contains("symbols check"),
            "{problem}"
        );
        assert!(Arc::ptr_eq(&sync.table(), &before));
        // A start on such a ledger serves the program's own symbols rather than none.
        let fallen = SymbolSync::start(Arc::clone(&ledger) as _, NOW)
            .await
            .expect("readable");
        assert!(fallen.problem().is_some_and(|problem| problem.contains(why)));
        assert!(fallen.table().resolve("BTC-USD").is_some());

        sql.execute_batch(good).expect("good");
        assert!(polled(&mut sync, NOW).await.is_none(), "as before");
        assert_eq!(sync.problem(), None, "put right");
    }
}

#[tokio::test]
async fn a_name_ends_on_its_day_without_any_change_of_the_ledger() {
    let (_dir, _ledger, mut sync) = start().await;
    let end = end_of_day("2027-12-31").expect("a day");
    let pol = sync.table().resolve("POL-USD");
    assert_eq!(sync.table().resolve("MATIC"), pol);
    assert!(polled(&mut sync, end - 1).await.is_none());
    let table = polled(&mut sync, end).await.expect("a new table");
    assert_eq!(table.resolve("MATIC"), None);
    assert_eq!(table.resolve("POL-USD"), pol);
    assert!(polled(&mut sync, end).await.is_none(), "once");
}

#[tokio::test]
async fn a_name_ends_while_the_ledgers_rows_are_bad() {
    let (dir, _ledger, mut sync) = start().await;
    by_hand(&dir)
        .execute_batch("UPDATE symbols SET routes = 'NOPE-USD' WHERE name = 'SOL-USD'")
        .expect("good by itself");
    let end = end_of_day("2027-12-31").expect("a day");
    let table = polled(&mut sync, end).await.expect("a new table of the old rows");
    assert!(table.resolve("MATIC").is_none() && table.resolve("SOL").is_some());
    assert!(sync.problem().is_some());
}

#[tokio::test]
async fn other_changes_of_the_ledger_make_no_new_table() {
    let (_dir, ledger, mut sync) = start().await;
    ledger.set_parameter("a", "1", NOW).await.expect("sets");
    assert!(polled(&mut sync, NOW).await.is_none());
}

#[tokio::test]
async fn ids_stay_when_a_bad_start_gave_them_out() {
    let (dir, ledger, sync) = start().await;
    drop(sync);
    // A symbol of the operator's stands in the ledger before one that a newer program brings.
    let sql = by_hand(&dir);
    sql.execute_batch(
        "INSERT INTO symbols (name, base, quote, exponent, tick, routes)
         VALUES ('FOO-USD', 'FOO', 'USD', -8, '0.0001', 'NOPE-USD')",
    )
    .expect("good by itself");
    let mut sync = SymbolSync::start(Arc::clone(&ledger) as _, NOW)
        .await
        .expect("readable");
    assert!(sync.problem().is_some());
    let given: Vec<_> = sync.table().symbols().map(|(_, spec)| spec.name).collect();
    sql.execute_batch("UPDATE symbols SET routes = '' WHERE name = 'FOO-USD'")
        .expect("good");
    let table = polled(&mut sync, NOW).await.expect("a new table");
    let now: Vec<_> = table.symbols().map(|(_, spec)| spec.name).collect();
    assert_eq!(now[..given.len()], given);
    assert_eq!(now[given.len()..], [symbol("FOO-USD")]);
}

#[tokio::test]
async fn a_change_from_another_process_is_followed() {
    let (dir, _ledger, mut sync) = start().await;
    let other = SqliteLedger::open_existing(dir.path()).await.expect("opens");
    let patch = SymbolPatch {
        min_sources: Some(3),
        no_markets: vec!["gate".into()],
        ..SymbolPatch::default()
    };
    let change = SymbolChange::Set {
        name: symbol("BTC-USDT"),
        patch: Box::new(patch),
    };
    other.change_symbol(&change, None, NOW).await.expect("made");
    let table = polled(&mut sync, NOW).await.expect("a new table");
    let id = table.resolve("BTC-USDT").expect("there");
    assert_eq!(table.symbol(id).min_sources, 3);
    assert!(table.seats(id).iter().all(|seat| seat.venue.name() != "gate"));
}
