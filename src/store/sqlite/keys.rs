//! API keys.

use rusqlite::{Connection, OptionalExtension, Row, params};
use trinity_protocol::{KeyId, Verifier};

use super::customers::{account, limits};
use super::{optional_unsigned, settings, sql_integer, unsigned};
use crate::store::error::{Result, StoreError};
use crate::store::networks;
use crate::store::rows::{
    AccountId, AccountRef, ApiKeyRecord, ChangeStamp, KeyPage, KeyPatch, KeyRow, KeySettings, NewKey,
    Overrides, Protocols, Rate, Revocation, Scope,
};

/// How "no limit" is stored where NULL is "as the tier has it".
const NO_LIMIT: i64 = -1;

/// Most changed keys that are gathered for one page.
const MAX_GATHERED: u32 = 20_000;

/// What [`common`] reads, in its order.
const COMMON: &str = "
    t.requests_per_month, t.requests_per_second, t.burst, t.reports_per_month,
    k.requests_per_month, k.requests_per_second, k.burst, k.reports_per_month,
    k.allow_udp, k.allow_http, k.allowed_networks, k.scope,
    k.key_id, k.account_id, k.verifier, k.expires_at_ns, k.revoked_at_ns, a.disabled";

/// What people see besides.
const SHOWN: &str = "a.name, a.tier, k.name, k.created_at_ns, k.replaces";

const FROM: &str = "FROM api_keys k JOIN accounts a ON a.id = k.account_id JOIN tiers t ON t.name = a.tier";

/// Keys that a change of their own or of their accounts touched: each arm is a range of an index.
const CHANGED: &str = "
    WHERE k.key_id IN (
        SELECT key_id FROM api_keys WHERE revision > ?3 AND key_id > ?1
        UNION
        SELECT o.key_id FROM accounts c CROSS JOIN api_keys o ON o.account_id = c.id AND o.key_id > ?1
        WHERE c.revision > ?3)";

pub(super) fn create_key(
    connection: &Connection,
    new: &NewKey,
    replaces: Option<KeyId>,
) -> Result<ApiKeyRecord> {
    account(connection, &AccountRef::Id(new.account_id))?;
    let added = connection
        .prepare_cached(
            "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns, expires_at_ns, replaces,
                    requests_per_month, requests_per_second, burst, reports_per_month,
                    allow_udp, allow_http, allowed_networks, scope)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            sql_integer("the key id", new.key_id.0)?,
            new.account_id.0,
            new.name,
            new.verifier.as_bytes(),
            sql_integer("the time", new.created_at_ns)?,
            expiry(new.expires_at_ns)?,
            replaces
                .map(|key_id| sql_integer("the key id", key_id.0))
                .transpose()?,
            month_column(&new.settings.overrides)?,
            rate_columns(&new.settings.overrides).0,
            rate_columns(&new.settings.overrides).1,
            reports_column(&new.settings.overrides),
            new.settings.protocols.udp,
            new.settings.protocols.http,
            networks::text(&new.settings.networks),
            scope_name(new.settings.scope),
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
            .prepare_cached(&format!("SELECT {COMMON}, {SHOWN} {FROM} {order}"))?
            .query_map([], record)?
            .collect::<rusqlite::Result<_>>()?,
        Some(id) => connection
            .prepare_cached(&format!(
                "SELECT {COMMON}, {SHOWN} {FROM} WHERE k.account_id = ?1 {order}"
            ))?
            .query_map([id.0], record)?
            .collect::<rusqlite::Result<_>>()?,
    };
    Ok(keys)
}

pub(super) fn key(connection: &Connection, key_id: KeyId) -> Result<ApiKeyRecord> {
    let missing = || StoreError::NoSuchKey { key_id };
    let id = i64::try_from(key_id.0).map_err(|_| missing())?;
    connection
        .prepare_cached(&format!("SELECT {COMMON}, {SHOWN} {FROM} WHERE k.key_id = ?1"))?
        .query_row([id], record)
        .optional()?
        .ok_or_else(missing)
}

pub(super) fn change_key(connection: &Connection, key_id: KeyId, patch: &KeyPatch) -> Result<ApiKeyRecord> {
    let before = key(connection, key_id)?;
    let settings = patch.on(&before.settings);
    let name = patch.name.as_ref().unwrap_or(&before.name);
    let expires_at_ns = patch.expires_at_ns.unwrap_or(before.expires_at_ns);
    // What could not be read is left as it is unless the patch says what is right.
    let networks = match &patch.networks {
        None if before.unusable.is_some() => None,
        _ => Some(networks::text(&settings.networks)),
    };
    let repaired = before.unusable.is_some() && networks.is_some();
    if !repaired && (name, expires_at_ns, &settings) == (&before.name, before.expires_at_ns, &before.settings)
    {
        return Ok(before);
    }
    connection
        .prepare_cached(
            "UPDATE api_keys
             SET name = ?2, expires_at_ns = ?3, requests_per_month = ?4, requests_per_second = ?5, burst = ?6,
                 reports_per_month = ?7, allow_udp = ?8, allow_http = ?9, scope = ?10,
                 allowed_networks = coalesce(?11, allowed_networks)
             WHERE key_id = ?1",
        )?
        .execute(params![
            sql_integer("the key id", key_id.0)?,
            name,
            expiry(expires_at_ns)?,
            month_column(&settings.overrides)?,
            rate_columns(&settings.overrides).0,
            rate_columns(&settings.overrides).1,
            reports_column(&settings.overrides),
            settings.protocols.udp,
            settings.protocols.http,
            scope_name(settings.scope),
            networks,
        ])?;
    key(connection, key_id)
}

pub(super) fn rotate_key(
    connection: &Connection,
    old: KeyId,
    new: &NewKey,
    old_ends_at_ns: u64,
) -> Result<ApiKeyRecord> {
    let before = key(connection, old)?;
    if before.revoked_at_ns.is_some() {
        return Err(StoreError::KeyRevoked { key_id: old });
    }
    if new.account_id != before.account_id {
        return Err(StoreError::Invalid {
            what: "the new key's account",
            why: "is not the old key's: make a key with `keys create` instead",
        });
    }
    let made = create_key(connection, new, Some(old))?;
    let ends = before
        .expires_at_ns
        .map_or(old_ends_at_ns, |end| end.min(old_ends_at_ns));
    if before.expires_at_ns != Some(ends) {
        connection
            .prepare_cached("UPDATE api_keys SET expires_at_ns = ?2 WHERE key_id = ?1")?
            .execute(params![sql_integer("the key id", old.0)?, expiry(Some(ends))?])?;
    }
    Ok(made)
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
    page(connection, "WHERE k.key_id > ?1", None, after, limit)
}

pub(super) fn load_changed_keys(
    connection: &Connection,
    since: ChangeStamp,
    after: Option<KeyId>,
    limit: usize,
) -> Result<KeyPage> {
    let since = i64::try_from(since.0).unwrap_or(i64::MAX);
    if settings::change_stamp(connection)?.0 <= since as u64 {
        return Ok(KeyPage::default());
    }
    // All keys in their order, page by page, are looked at once. Gathering the changed ones is far
    // quicker while they are few, but each page would gather the rest of many again.
    let which = if few_changed(connection, since, after)? {
        CHANGED
    } else {
        "WHERE k.key_id > ?1 AND (k.revision > ?3 OR a.revision > ?3 OR t.revision > ?3)"
    };
    page(connection, which, Some(since), after, limit)
}

/// Whether no tier has changed, and the keys after `after` that have are no more than one may gather.
fn few_changed(connection: &Connection, since: i64, after: Option<KeyId>) -> Result<bool> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT NOT EXISTS (SELECT 1 FROM tiers WHERE revision > ?1)
                AND (SELECT count(*) FROM (
                         SELECT 1 FROM api_keys WHERE revision > ?1 AND key_id > ?2
                         UNION ALL
                         SELECT 1 FROM accounts c CROSS JOIN api_keys o ON o.account_id = c.id AND o.key_id > ?2
                         WHERE c.revision > ?1
                         LIMIT {MAX_GATHERED} + 1)) <= {MAX_GATHERED}"
    ))?;
    Ok(statement.query_row([since, after_column(after)], |row| row.get(0))?)
}

fn after_column(after: Option<KeyId>) -> i64 {
    after.map_or(0, |key_id| i64::try_from(key_id.0).unwrap_or(i64::MAX))
}

fn page(
    connection: &Connection,
    which: &str,
    since: Option<i64>,
    after: Option<KeyId>,
    limit: usize,
) -> Result<KeyPage> {
    let limit = limit.max(1);
    let after = after_column(after);
    let sql_limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COMMON} {FROM} {which} ORDER BY k.key_id LIMIT ?2"
    ))?;
    let mut rows = match since {
        None => statement.query(params![after, sql_limit])?,
        Some(since) => statement.query(params![after, sql_limit, since])?,
    };
    let mut page = KeyPage::default();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let key = common(row)?;
        last = Some(key.key_id);
        page.push(key);
    }
    if page.keys.len() + page.unusable.len() == limit {
        page.next = last;
    }
    Ok(page)
}

fn record(row: &Row<'_>) -> rusqlite::Result<ApiKeyRecord> {
    let common = common(row)?;
    Ok(ApiKeyRecord {
        key_id: common.key_id,
        account_id: common.account_id,
        account: row.get(18)?,
        tier: row.get(19)?,
        name: row.get(20)?,
        verifier: common.verifier,
        limits: common.limits,
        settings: common.settings,
        replaces: optional_unsigned(row, 22)?.map(KeyId),
        created_at_ns: unsigned(row, 21)?,
        expires_at_ns: common.expires_at_ns,
        revoked_at_ns: common.revoked_at_ns,
        account_disabled: common.account_disabled,
        unusable: common.unusable,
    })
}

fn common(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let overrides = overrides(row)?;
    let (networks, unusable) = match networks::parse(row.get_ref(10)?.as_str()?) {
        Ok(networks) => (networks, None),
        Err(why) => (Vec::new(), Some(format!("its networks cannot be read: {why}"))),
    };
    Ok(KeyRow {
        key_id: KeyId(unsigned(row, 12)?),
        account_id: AccountId(row.get(13)?),
        verifier: Verifier::from_bytes(row.get(14)?),
        limits: overrides.on(limits(row)?),
        settings: KeySettings {
            protocols: Protocols {
                udp: row.get(8)?,
                http: row.get(9)?,
            },
            networks,
            overrides,
            scope: if row.get_ref(11)?.as_str()? == scope_name(Scope::Operator) {
                Scope::Operator
            } else {
                Scope::Customer
            },
        },
        unusable,
        expires_at_ns: optional_unsigned(row, 15)?,
        revoked_at_ns: optional_unsigned(row, 16)?,
        account_disabled: row.get(17)?,
    })
}

fn overrides(row: &Row<'_>) -> rusqlite::Result<Overrides> {
    let (per_second, burst) = (limit(row, 5)?, limit(row, 6)?);
    let rate = match (per_second, burst) {
        (Some(Some(per_second)), Some(Some(burst))) => Some(Some(Rate { per_second, burst })),
        (Some(None), _) => Some(None),
        _ => None,
    };
    Ok(Overrides {
        requests_per_month: limit(row, 4)?,
        rate,
        reports_per_month: limit(row, 7)?,
    })
}

/// A limit of a key's own.
#[expect(clippy::option_option, reason = "`Overrides` tells an unset limit from none")]
fn limit<T: TryFrom<i64>>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Option<T>>> {
    match row.get(column)? {
        None => Ok(None),
        Some(NO_LIMIT) => Ok(Some(None)),
        Some(value) => T::try_from(value)
            .map(|value| Some(Some(value)))
            .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value)),
    }
}

fn month_column(overrides: &Overrides) -> Result<Option<i64>> {
    match overrides.requests_per_month {
        None => Ok(None),
        Some(None) => Ok(Some(NO_LIMIT)),
        Some(Some(limit)) => sql_integer("the limit of requests per month", limit).map(Some),
    }
}

/// Rate and burst.
fn rate_columns(overrides: &Overrides) -> (Option<i64>, Option<i64>) {
    match overrides.rate {
        None => (None, None),
        Some(None) => (Some(NO_LIMIT), Some(NO_LIMIT)),
        Some(Some(rate)) => (Some(rate.per_second.into()), Some(rate.burst.into())),
    }
}

fn reports_column(overrides: &Overrides) -> Option<i64> {
    overrides
        .reports_per_month
        .map(|limit| limit.map_or(NO_LIMIT, i64::from))
}

fn expiry(at_ns: Option<u64>) -> Result<Option<i64>> {
    at_ns.map(|at| sql_integer("the key's expiry", at)).transpose()
}

const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Customer => "customer",
        Scope::Operator => "operator",
    }
}
