//! The demo account: what makes a first start useful without reading anything first.

use anyhow::Context;

use super::data_dir::DataDir;
use crate::store::{AccountRef, KeySettings, Ledger, NewAccount, StoreError, issue_key};

/// The account's name, and the name of its key.
pub const NAME: &str = "demo";
/// No limits, so that it can be loaded; metered all the same.
pub const TIER: &str = "partner";

/// Makes the demo account and key on the first start; tells whether it made the key.
///
/// Nothing is made in a ledger that has accounts of its own. A demo account that has no
/// key was interrupted in its making and is completed.
pub async fn ensure(ledger: &dyn Ledger, data: &DataDir, now_ns: u64) -> anyhow::Result<bool> {
    let account = match ledger.account(&AccountRef::Name(NAME.into())).await {
        Ok(account) => account,
        Err(StoreError::NoSuchAccount { .. }) => {
            if !ledger.list_accounts().await?.is_empty() {
                return Ok(false);
            }
            let new = NewAccount {
                name: NAME.into(),
                tier: TIER.into(),
                created_at_ns: now_ns,
            };
            ledger
                .create_account(new)
                .await
                .context("cannot make the demo account")?
        }
        Err(error) => return Err(error.into()),
    };
    let keys = ledger.list_keys(Some(account.id)).await?;
    if !keys.is_empty() || data.demo_key_path().exists() {
        return Ok(false);
    }
    let (key, _) = issue_key(ledger, account.id, NAME, now_ns, None, &KeySettings::default())
        .await
        .context("cannot make the demo key")?;
    data.write_demo_key(key.expose().as_str())
        .with_context(|| format!("cannot write {}", data.demo_key_path().display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use trinity_protocol::ApiKey;

    use super::*;
    use crate::store::SqliteLedger;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    }

    #[test]
    fn the_first_start_makes_one_demo_key_and_later_ones_make_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(dir.path()).expect("free");
        runtime().block_on(async {
            let ledger = SqliteLedger::open_or_create(dir.path()).await.expect("opened");
            assert!(ensure(&ledger, &data, 1).await.expect("made"));
            let text = std::fs::read_to_string(data.demo_key_path()).expect("written");
            let key: ApiKey = text.parse().expect("a key");
            let record = ledger.key(key.key_id()).await.expect("stored");
            assert_eq!((record.tier.as_str(), record.verifier), (TIER, key.verifier()));
            assert!(!ensure(&ledger, &data, 2).await.expect("nothing to do"));
            std::fs::remove_file(data.demo_key_path()).expect("removed");
            assert!(!ensure(&ledger, &data, 3).await.expect("the owner removed it"));
        });
    }

    #[test]
    fn a_ledger_with_accounts_gets_no_demo() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(dir.path()).expect("free");
        runtime().block_on(async {
            let ledger = SqliteLedger::open_or_create(dir.path()).await.expect("opened");
            let new = NewAccount {
                name: "real".into(),
                tier: "pro".into(),
                created_at_ns: 1,
            };
            ledger.create_account(new).await.expect("made");
            assert!(!ensure(&ledger, &data, 2).await.expect("nothing to do"));
            assert!(!data.demo_key_path().exists());
        });
    }
}
