//! Keys made for a test.

use std::path::Path;

use trinity_beast::store::{LEDGER_FILE, Ledger, NewAccount, SqliteLedger};
use trinity_protocol::ApiKey;

/// Ten thousand keys of one account without limits, in the ledger of a data directory.
///
/// They are written by SQL in one transaction: one commit a key would be ten thousand
/// fsyncs, which is not what the test is about.
pub(crate) fn ten_thousand(dir: &Path) -> Vec<ApiKey> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let account = runtime.block_on(async {
        let ledger = SqliteLedger::open_or_create(dir).await.expect("opened");
        let new = NewAccount {
            name: "many".into(),
            tier: "partner".into(),
            created_at_ns: 1,
        };
        ledger.create_account(new).await.expect("made")
    });
    let keys: Vec<_> = (0..10_000_u64)
        .map(|i| {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).expect("randomness");
            ApiKey::from_parts(
                (getrandom::u64().expect("randomness") >> 14 << 13 | i).max(1),
                secret,
            )
            .expect("an id of 63 bits")
        })
        .collect();
    let mut ledger = rusqlite::Connection::open(dir.join(LEDGER_FILE)).expect("opened");
    let transaction = ledger.transaction().expect("begun");
    {
        let sql =
            "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns) VALUES (?, ?, ?, ?, 1)";
        let mut insert = transaction.prepare(sql).expect("the schema fits");
        for (i, key) in keys.iter().enumerate() {
            let verifier = *key.verifier().as_bytes();
            insert
                .execute(rusqlite::params![
                    key.key_id().0 as i64,
                    account.id.0,
                    format!("key {i}"),
                    verifier
                ])
                .expect("inserted");
        }
    }
    transaction.commit().expect("committed");
    keys
}
