//! Accounts, tiers and API keys.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use trinity_protocol::{KeyId, Verifier};

use super::{optional_unsigned, sql_integer, unsigned};
use crate::store::error::{Result, StoreError};
use crate::store::rows::{
    Account, AccountId, AccountRef, ApiKeyRecord, KeyPage, KeySettings, Limits, LoadedKey, NewAccount,
    NewKey, Protocols, Revocation, Scope, Tier,
};

const ACCOUNTS: &str = "SELECT id, name, tier, created_at_ns, disabled FROM accounts";

const KEYS: &str = "
    SELECT t.requests_per_month, t.requests_per_second, t.burst, t.reports_per_month,
           k.key_id, k.account_id, k.verifier, k.expires_at_ns, k.revoked_at_ns, a.disabled,
           a.name, a.tier, k.name, k.created_at_ns
    FROM api_keys k JOIN accounts a ON a.id = k.account_id JOIN tiers t ON t.name = a.tier";

const KEY_ENTRIES: &str = "
    SELECT t.requests_per_month, t.requests_per_second, t.burst, t.reports_per_month,
           k.key_id, k.account_id, k.verifier, k.expires_at_ns,
           k.revoked_at_ns IS NOT NULL OR a.disabled
    FROM api_keys k JOIN accounts a ON a.id = k.account_id JOIN tiers t ON t.name = a.tier
    WHERE k.key_id > ?1 ORDER BY k.key_id LIMIT ?2";

pub(super) fn tiers(connection: &Connection) -> Result<Vec<Tier>> {
    let mut statement = connection.prepare_cached(
        "SELECT requests_per_month, requests_per_second, burst, reports_per_month, name FROM tiers ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Tier {
            limits: limits(row)?,
            name: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn create_account(connection: &Connection, new: NewAccount) -> Result<Account> {
    let tiers = tiers(connection)?;
    if !tiers.iter().any(|tier| tier.name == new.tier) {
        let known: Vec<_> = tiers.into_iter().map(|tier| tier.name).collect();
        return Err(StoreError::NoSuchTier {
            name: new.tier,
            known: known.join(", "),
        });
    }
    let created_at = sql_integer("the time", new.created_at_ns)?;
    let added = connection
        .prepare_cached(
            "INSERT INTO accounts (name, tier, created_at_ns) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO NOTHING",
        )?
        .execute(params![new.name, new.tier, created_at])?;
    if added == 0 {
        return Err(StoreError::AccountExists { name: new.name });
    }
    account(connection, &AccountRef::Name(new.name))
}

pub(super) fn list_accounts(connection: &Connection) -> Result<Vec<Account>> {
    let mut statement = connection.prepare_cached(&format!("{ACCOUNTS} ORDER BY id"))?;
    let rows = statement.query_map([], account_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn account(connection: &Connection, which: &AccountRef) -> Result<Account> {
    let (condition, value) = match which {
        AccountRef::Id(id) => ("id", Value::Integer(id.0)),
        AccountRef::Name(name) => ("name", Value::Text(name.clone())),
    };
    connection
        .prepare_cached(&format!("{ACCOUNTS} WHERE {condition} = ?1"))?
        .query_row([value], account_row)
        .optional()?
        .ok_or_else(|| StoreError::NoSuchAccount {
            which: which.to_string(),
        })
}

pub(super) fn create_key(connection: &Connection, new: &NewKey) -> Result<ApiKeyRecord> {
    account(connection, &AccountRef::Id(new.account_id))?;
    let added = connection
        .prepare_cached(
            "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns, expires_at_ns)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            sql_integer("the key id", new.key_id.0)?,
            new.account_id.0,
            new.name,
            new.verifier.as_bytes(),
            sql_integer("the time", new.created_at_ns)?,
            new.expires_at_ns
                .map(|at| sql_integer("the key's expiry", at))
                .transpose()?,
        ])?;
    if added == 0 {
        return Err(StoreError::KeyTaken { key_id: new.key_id });
    }
    key(connection, new.key_id)
}

pub(super) fn list_keys(connection: &Connection, account: Option<AccountId>) -> Result<Vec<ApiKeyRecord>> {
    let order = "ORDER BY k.created_at_ns, k.key_id";
    let keys = match account {
        None => connection
            .prepare_cached(&format!("{KEYS} {order}"))?
            .query_map([], key_row)?
            .collect::<rusqlite::Result<_>>()?,
        Some(id) => connection
            .prepare_cached(&format!("{KEYS} WHERE k.account_id = ?1 {order}"))?
            .query_map([id.0], key_row)?
            .collect::<rusqlite::Result<_>>()?,
    };
    Ok(keys)
}

pub(super) fn key(connection: &Connection, key_id: KeyId) -> Result<ApiKeyRecord> {
    let missing = || StoreError::NoSuchKey { key_id };
    let id = i64::try_from(key_id.0).map_err(|_| missing())?;
    connection
        .prepare_cached(&format!("{KEYS} WHERE k.key_id = ?1"))?
        .query_row([id], key_row)
        .optional()?
        .ok_or_else(missing)
}

pub(super) fn revoke_key(connection: &Connection, key_id: KeyId, at_ns: u64) -> Result<Revocation> {
    let found = key(connection, key_id)?;
    if let Some(at_ns) = found.revoked_at_ns {
        return Ok(Revocation::AlreadyRevoked { at_ns });
    }
    connection
        .prepare_cached("UPDATE api_keys SET revoked_at_ns = ?2 WHERE key_id = ?1")?
        .execute(params![
            sql_integer("the key id", key_id.0)?,
            sql_integer("the time", at_ns)?
        ])?;
    Ok(Revocation::Revoked)
}

pub(super) fn load_keys(connection: &Connection, after: Option<KeyId>, limit: usize) -> Result<KeyPage> {
    let mut statement = connection.prepare_cached(KEY_ENTRIES)?;
    let after = after.map_or(0, |key_id| key_id.0 as i64);
    let rows = statement.query_map(params![after, limit as i64], |row| {
        Ok(LoadedKey {
            limits: limits(row)?,
            key_id: KeyId(unsigned(row, 4)?),
            account_id: AccountId(row.get(5)?),
            verifier: Verifier::from_bytes(row.get(6)?),
            protocols: Protocols::default(),
            networks: Vec::new(),
            scope: Scope::default(),
            expires_at_ns: optional_unsigned(row, 7)?,
            refused: row.get(8)?,
        })
    })?;
    let keys = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(KeyPage {
        next: (keys.len() == limit).then(|| keys[keys.len() - 1].key_id),
        keys,
        unusable: Vec::new(),
    })
}

/// The limits in the first four columns.
fn limits(row: &Row<'_>) -> rusqlite::Result<Limits> {
    Ok(Limits {
        requests_per_month: optional_unsigned(row, 0)?,
        requests_per_second: row.get(1)?,
        burst: row.get(2)?,
        reports_per_month: row.get(3)?,
    })
}

fn account_row(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: AccountId(row.get(0)?),
        name: row.get(1)?,
        tier: row.get(2)?,
        created_at_ns: unsigned(row, 3)?,
        disabled: row.get(4)?,
    })
}

fn key_row(row: &Row<'_>) -> rusqlite::Result<ApiKeyRecord> {
    Ok(ApiKeyRecord {
        limits: limits(row)?,
        settings: KeySettings::default(),
        replaces: None,
        key_id: KeyId(unsigned(row, 4)?),
        account_id: AccountId(row.get(5)?),
        verifier: Verifier::from_bytes(row.get(6)?),
        expires_at_ns: optional_unsigned(row, 7)?,
        revoked_at_ns: optional_unsigned(row, 8)?,
        account_disabled: row.get(9)?,
        account: row.get(10)?,
        tier: row.get(11)?,
        name: row.get(12)?,
        created_at_ns: unsigned(row, 13)?,
    })
}
