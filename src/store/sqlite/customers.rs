//! Accounts, what they subscribe to, and tiers.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{optional_unsigned, sql_integer, unsigned};
use crate::store::error::{Result, StoreError};
use crate::store::rows::{
    Account, AccountId, AccountPatch, AccountRef, Limits, NewAccount, Subscription, Tier,
};

const ACCOUNTS: &str = "SELECT id, name, tier, created_at_ns, disabled FROM accounts";

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

pub(super) fn create_tier(connection: &Connection, tier: &Tier) -> Result<()> {
    let added = connection
        .prepare_cached(
            "INSERT INTO tiers (name, requests_per_month, requests_per_second, burst, reports_per_month)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (name) DO NOTHING",
        )?
        .execute(tier_values(tier)?)?;
    if added == 0 {
        return Err(StoreError::TierExists {
            name: tier.name.clone(),
        });
    }
    Ok(())
}

pub(super) fn set_tier(connection: &Connection, tier: &Tier) -> Result<()> {
    if known_tier(connection, &tier.name)? == *tier {
        return Ok(());
    }
    connection
        .prepare_cached(
            "UPDATE tiers SET requests_per_month = ?2, requests_per_second = ?3, burst = ?4, reports_per_month = ?5
             WHERE name = ?1",
        )?
        .execute(tier_values(tier)?)?;
    Ok(())
}

pub(super) fn create_account(connection: &Connection, new: NewAccount) -> Result<Account> {
    known_tier(connection, &new.tier)?;
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

pub(super) fn change_account(
    connection: &Connection,
    which: &AccountRef,
    patch: &AccountPatch,
    at_ns: u64,
) -> Result<Account> {
    let before = account(connection, which)?;
    let after = patch.on(&before);
    if after == before {
        return Ok(before);
    }
    known_tier(connection, &after.tier)?;
    let taken = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM accounts WHERE name = ?1 AND id <> ?2)")?
        .query_row(params![after.name, after.id.0], |row| row.get(0))?;
    if taken {
        return Err(StoreError::AccountExists { name: after.name });
    }
    connection
        .prepare_cached("UPDATE accounts SET name = ?2, tier = ?3, disabled = ?4 WHERE id = ?1")?
        .execute(params![after.id.0, after.name, after.tier, after.disabled])?;
    if after.tier != before.tier {
        date_subscriptions(connection, after.id, sql_integer("the time", at_ns)?)?;
    }
    Ok(after)
}

pub(super) fn subscriptions(connection: &Connection, account: AccountId) -> Result<Vec<Subscription>> {
    let mut statement = connection.prepare_cached(
        "SELECT tier, starts_at_ns, ends_at_ns FROM subscriptions WHERE account_id = ?1
         ORDER BY ends_at_ns IS NULL, id",
    )?;
    let rows = statement.query_map([account.0], |row| {
        Ok(Subscription {
            tier: row.get(0)?,
            starts_at_ns: unsigned(row, 1)?,
            ends_at_ns: optional_unsigned(row, 2)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The trigger has dated the change by SQLite's clock, for hand-written SQL; the caller knows when it
/// was. A clock that stepped back must not make the change fail.
fn date_subscriptions(connection: &Connection, account: AccountId, at_ns: i64) -> Result<()> {
    let (ended, since): (i64, i64) = connection
        .prepare_cached(
            "SELECT id, starts_at_ns FROM subscriptions WHERE account_id = ?1 AND ends_at_ns IS NOT NULL
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row([account.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let at_ns = at_ns.max(since);
    connection
        .prepare_cached("UPDATE subscriptions SET ends_at_ns = ?2 WHERE id = ?1")?
        .execute([ended, at_ns])?;
    connection
        .prepare_cached(
            "UPDATE subscriptions SET starts_at_ns = ?2 WHERE account_id = ?1 AND ends_at_ns IS NULL",
        )?
        .execute([account.0, at_ns])?;
    Ok(())
}

/// The tier of this name, or the names of those there are.
fn known_tier(connection: &Connection, name: &str) -> Result<Tier> {
    let mut tiers = tiers(connection)?;
    if let Some(place) = tiers.iter().position(|tier| tier.name == name) {
        return Ok(tiers.swap_remove(place));
    }
    let known: Vec<_> = tiers.into_iter().map(|tier| tier.name).collect();
    Err(StoreError::NoSuchTier {
        name: name.to_owned(),
        known: known.join(", "),
    })
}

fn tier_values(tier: &Tier) -> Result<impl rusqlite::Params + '_> {
    let limits = tier.limits;
    let month = limits
        .requests_per_month
        .map(|limit| sql_integer("the limit of requests per month", limit))
        .transpose()?;
    Ok((
        tier.name.as_str(),
        month,
        limits.requests_per_second,
        limits.burst,
        limits.reports_per_month,
    ))
}

/// The limits in the first four columns.
pub(super) fn limits(row: &Row<'_>) -> rusqlite::Result<Limits> {
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
