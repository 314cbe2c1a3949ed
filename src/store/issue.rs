//! Making an API key: the secret goes to its owner, the verifier to the ledger.

use trinity_protocol::{ApiKey, KeyId};

use super::error::{Result, StoreError};
use super::ledger::Ledger;
use super::rows::{AccountId, ApiKeyRecord, KeySettings, NewKey};

/// How often another key is drawn if the ledger has its id already. Among 2^63 ids even one
/// repeat is a broken random source.
const MAX_DRAWS: u32 = 4;

/// Draws a key from the system's random source, stores its verifier, and returns the key
/// itself: the only copy there will ever be.
pub async fn issue_key(
    ledger: &dyn Ledger,
    account_id: AccountId,
    name: &str,
    created_at_ns: u64,
    expires_at_ns: Option<u64>,
    settings: &KeySettings,
) -> Result<(ApiKey, ApiKeyRecord)> {
    let mut draws = 0;
    loop {
        draws += 1;
        let key = draw()?;
        let new = NewKey {
            key_id: key.key_id(),
            account_id,
            name: name.to_owned(),
            verifier: key.verifier(),
            created_at_ns,
            expires_at_ns,
            settings: settings.clone(),
        };
        match ledger.create_key(new).await {
            Ok(record) => return Ok((key, record)),
            Err(StoreError::KeyTaken { .. }) if draws < MAX_DRAWS => {}
            Err(error) => return Err(error),
        }
    }
}

/// Draws a key that takes the place of another, with its name and settings, and returns it. The
/// old one is refused from `old_ends_at_ns` on, or from when it ends anyway, if that is sooner.
pub async fn rotate_key(
    ledger: &dyn Ledger,
    old: KeyId,
    created_at_ns: u64,
    expires_at_ns: Option<u64>,
    old_ends_at_ns: u64,
) -> Result<(ApiKey, ApiKeyRecord)> {
    let found = ledger.key(old).await?;
    if let Some(why) = found.unusable {
        return Err(StoreError::KeyUnusable { key_id: old, why });
    }
    let mut draws = 0;
    loop {
        draws += 1;
        let key = draw()?;
        let new = NewKey {
            key_id: key.key_id(),
            account_id: found.account_id,
            name: found.name.clone(),
            verifier: key.verifier(),
            created_at_ns,
            expires_at_ns,
            settings: found.settings.clone(),
        };
        match ledger.rotate_key(old, new, old_ends_at_ns).await {
            Ok(record) => return Ok((key, record)),
            Err(StoreError::KeyTaken { .. }) if draws < MAX_DRAWS => {}
            Err(error) => return Err(error),
        }
    }
}

fn draw() -> Result<ApiKey> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| StoreError::NoRandomness(e.to_string()))?;
    let id = getrandom::u64().map_err(|e| StoreError::NoRandomness(e.to_string()))?;
    // 63 bits, because SQL integers are signed. Zero is no id; it comes once in 2^63 draws.
    ApiKey::from_parts((id >> 1).max(1), secret).map_err(|_| StoreError::Invalid {
        what: "the key id",
        why: "is outside 1 to 2^63 - 1: draw another",
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn drawn_keys_are_valid_and_all_different() {
        let keys: Vec<_> = (0..1_000)
            .map(|_| draw().expect("the system has randomness"))
            .collect();
        assert!(keys.iter().all(|key| key.key_id().is_valid()));
        let ids: HashSet<_> = keys.iter().map(ApiKey::key_id).collect();
        let verifiers: HashSet<_> = keys.iter().map(|key| *key.verifier().as_bytes()).collect();
        assert_eq!((ids.len(), verifiers.len()), (1_000, 1_000));
    }
}
