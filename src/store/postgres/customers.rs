//! Accounts, what they subscribe to, and tiers.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::pool::Session;
use super::sql::{get, integer, optional_integer, optional_small, optional_unsigned, small, unsigned};
use crate::store::error::{Result, StoreError};
use crate::store::rows::{
    Account, AccountId, AccountPatch, AccountRef, Limits, NewAccount, Subscription, Tier,
};

const ACCOUNTS: &str = "SELECT id, name, tier, created_at_ns, disabled FROM accounts";

/// Takes the lock that every change takes first, so that what is looked at stays as it is until
/// the change is made, and no two changes lock each other out.
pub(super) async fn lock(session: &mut Session) -> Result<()> {
    session
        .query("SELECT FROM revision WHERE id = 1 FOR UPDATE", &[])
        .await?;
    Ok(())
}

pub(super) async fn tiers(session: &mut Session) -> Result<Vec<Tier>> {
    let tiers = "SELECT requests_per_month, requests_per_second, burst, reports_per_month, name FROM tiers ORDER BY name";
    let rows = session.query(tiers, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Tier {
                limits: limits(row)?,
                name: get(row, 4)?,
            })
        })
        .collect()
}

pub(super) async fn create_tier(session: &mut Session, tier: &Tier) -> Result<()> {
    let added = write_tier(
        session,
        "INSERT INTO tiers (name, requests_per_month, requests_per_second, burst, reports_per_month)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING",
        tier,
    )
    .await?;
    if added == 0 {
        return Err(StoreError::TierExists {
            name: tier.name.clone(),
        });
    }
    Ok(())
}

pub(super) async fn set_tier(session: &mut Session, tier: &Tier) -> Result<()> {
    lock(session).await?;
    if known_tier(session, &tier.name).await? == *tier {
        return Ok(());
    }
    write_tier(
        session,
        "UPDATE tiers SET requests_per_month = $2, requests_per_second = $3, burst = $4, reports_per_month = $5
         WHERE name = $1",
        tier,
    )
    .await?;
    Ok(())
}

async fn write_tier(session: &mut Session, sql: &str, tier: &Tier) -> Result<u64> {
    let limits = tier.limits;
    let month = optional_integer("the limit of requests per month", limits.requests_per_month)?;
    let (rate, burst) = (limits.requests_per_second.map(small), limits.burst.map(small));
    let reports = limits.reports_per_month.map(small);
    session
        .execute(sql, &[&tier.name, &month, &rate, &burst, &reports])
        .await
}

pub(super) async fn create_account(session: &mut Session, new: &NewAccount) -> Result<Account> {
    known_tier(session, &new.tier).await?;
    let created_at = integer("the time", new.created_at_ns)?;
    let added = session
        .execute(
            "INSERT INTO accounts (name, tier, created_at_ns) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
            &[&new.name, &new.tier, &created_at],
        )
        .await?;
    if added == 0 {
        return Err(StoreError::AccountExists {
            name: new.name.clone(),
        });
    }
    account(session, &AccountRef::Name(new.name.clone())).await
}

pub(super) async fn list_accounts(session: &mut Session) -> Result<Vec<Account>> {
    let rows = session.query(&format!("{ACCOUNTS} ORDER BY id"), &[]).await?;
    rows.iter().map(account_row).collect()
}

pub(super) async fn account(session: &mut Session, which: &AccountRef) -> Result<Account> {
    let (condition, value): (_, &(dyn ToSql + Sync)) = match which {
        AccountRef::Id(id) => ("id", &id.0),
        AccountRef::Name(name) => ("name", name),
    };
    let row = session
        .query_opt(&format!("{ACCOUNTS} WHERE {condition} = $1"), &[value])
        .await?;
    let row = row.ok_or_else(|| StoreError::NoSuchAccount {
        which: which.to_string(),
    })?;
    account_row(&row)
}

pub(super) async fn change_account(
    session: &mut Session,
    which: &AccountRef,
    patch: &AccountPatch,
    at_ns: u64,
) -> Result<Account> {
    lock(session).await?;
    let before = account(session, which).await?;
    let after = patch.on(&before);
    if after == before {
        return Ok(before);
    }
    known_tier(session, &after.tier).await?;
    let taken = session
        .query_one(
            "SELECT EXISTS (SELECT FROM accounts WHERE name = $1 AND id <> $2)",
            &[&after.name, &after.id.0],
        )
        .await?;
    if get(&taken, 0)? {
        return Err(StoreError::AccountExists { name: after.name });
    }
    // The trigger that keeps the subscriptions goes by this time.
    let at_ns = integer("the time", at_ns)?.to_string();
    session
        .query("SELECT set_config('trinity_beast.at_ns', $1, true)", &[&at_ns])
        .await?;
    session
        .execute(
            "UPDATE accounts SET name = $2, tier = $3, disabled = $4 WHERE id = $1",
            &[&after.id.0, &after.name, &after.tier, &after.disabled],
        )
        .await?;
    Ok(after)
}

pub(super) async fn subscriptions(session: &mut Session, account: AccountId) -> Result<Vec<Subscription>> {
    let rows = session
        .query(
            "SELECT tier, starts_at_ns, ends_at_ns FROM subscriptions WHERE account_id = $1
             ORDER BY ends_at_ns IS NULL, id",
            &[&account.0],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Subscription {
                tier: get(row, 0)?,
                starts_at_ns: unsigned(row, 1)?,
                ends_at_ns: optional_unsigned(row, 2)?,
            })
        })
        .collect()
}

/// The tier of this name, or the names of those there are.
async fn known_tier(session: &mut Session, name: &str) -> Result<Tier> {
    let mut tiers = tiers(session).await?;
    if let Some(place) = tiers.iter().position(|tier| tier.name == name) {
        return Ok(tiers.swap_remove(place));
    }
    let known: Vec<_> = tiers.into_iter().map(|tier| tier.name).collect();
    Err(StoreError::NoSuchTier {
        name: name.to_owned(),
        known: known.join(", "),
    })
}

/// The limits in the first four columns.
pub(super) fn limits(row: &Row) -> Result<Limits> {
    Ok(Limits {
        requests_per_month: optional_unsigned(row, 0)?,
        requests_per_second: optional_small(row, 1)?,
        burst: optional_small(row, 2)?,
        reports_per_month: optional_small(row, 3)?,
    })
}

fn account_row(row: &Row) -> Result<Account> {
    Ok(Account {
        id: AccountId(get(row, 0)?),
        name: get(row, 1)?,
        tier: get(row, 2)?,
        created_at_ns: unsigned(row, 3)?,
        disabled: get(row, 4)?,
    })
}
