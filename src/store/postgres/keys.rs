//! API keys.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use trinity_protocol::{KeyId, Verifier};

use super::customers::{account, limits, lock};
use super::parameters::change_stamp;
use super::pool::{Params, Session};
use super::sql::{get, integer, optional_integer, optional_unsigned, small, unsigned};
use crate::store::error::{Result, StoreError};
use crate::store::networks;
use crate::store::rows::{
    AccountId, AccountRef, ApiKeyRecord, ChangeStamp, KeyPage, KeyPatch, KeyRow, KeySettings, NewKey,
    Overrides, Protocols, Rate, Revocation, Scope,
};

/// How "no limit" is stored where NULL is "as the tier has it".
const NO_LIMIT: i32 = -1;

/// What [`common`] reads, in its order.
const COMMON: &str = "
    t.requests_per_month, t.requests_per_second, t.burst, t.reports_per_month,
    k.requests_per_month, k.requests_per_second, k.burst, k.reports_per_month,
    k.allow_udp, k.allow_http, k.allowed_networks, k.scope,
    k.key_id, k.account_id, k.verifier, k.expires_at_ns, k.revoked_at_ns, a.disabled";

/// What people see besides.
const SHOWN: &str = "a.name, a.tier, k.name, k.created_at_ns, k.replaces";

const FROM: &str = "FROM api_keys k JOIN accounts a ON a.id = k.account_id JOIN tiers t ON t.name = a.tier";

/// Most keys that are fetched one by one; if more have changed, all are looked through in their order.
const FEW: i64 = 10_000;

/// Keys that a change of their own or of their accounts touched, or one more than [`FEW`] of them.
/// The order and the limits leave no other way than the indexes by revision and by account, whatever
/// the server believes of the tables: just after many keys came in it knows nothing of them.
const CHANGED: &str = "
    (SELECT key_id FROM api_keys WHERE revision > $1 ORDER BY revision LIMIT $2)
    UNION
    (SELECT o.key_id
     FROM (SELECT id FROM accounts WHERE revision > $1 ORDER BY revision LIMIT $2) c
     CROSS JOIN LATERAL (SELECT key_id FROM api_keys WHERE account_id = c.id LIMIT $2) o
     LIMIT $2)";

/// How a key's settings are stored.
struct Columns {
    month: Option<i64>,
    rate: Option<i32>,
    burst: Option<i32>,
    reports: Option<i32>,
    networks: String,
    scope: &'static str,
}

pub(super) async fn create_key(
    session: &mut Session,
    new: &NewKey,
    replaces: Option<KeyId>,
) -> Result<ApiKeyRecord> {
    account(session, &AccountRef::Id(new.account_id)).await?;
    let key_id = integer("the key id", new.key_id.0)?;
    let created_at = integer("the time", new.created_at_ns)?;
    let expires_at = optional_integer("the key's expiry", new.expires_at_ns)?;
    let replaces = optional_integer("the key id", replaces.map(|key_id| key_id.0))?;
    let columns = Columns::of(&new.settings)?;
    let added = session
        .execute(
            "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns, expires_at_ns, replaces,
                    requests_per_month, requests_per_second, burst, reports_per_month,
                    allow_udp, allow_http, allowed_networks, scope)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT DO NOTHING",
            &[
                &key_id,
                &new.account_id.0,
                &new.name,
                &&new.verifier.as_bytes()[..],
                &created_at,
                &expires_at,
                &replaces,
                &columns.month,
                &columns.rate,
                &columns.burst,
                &columns.reports,
                &new.settings.protocols.udp,
                &new.settings.protocols.http,
                &columns.networks,
                &columns.scope,
            ],
        )
        .await?;
    if added == 0 {
        return Err(StoreError::KeyTaken { key_id: new.key_id });
    }
    key(session, new.key_id).await
}

pub(super) async fn list_keys(
    session: &mut Session,
    account: Option<AccountId>,
) -> Result<Vec<ApiKeyRecord>> {
    let order = "ORDER BY k.created_at_ns, k.key_id";
    let rows = match account {
        None => {
            session
                .query(&format!("SELECT {COMMON}, {SHOWN} {FROM} {order}"), &[])
                .await?
        }
        Some(id) => {
            let sql = format!("SELECT {COMMON}, {SHOWN} {FROM} WHERE k.account_id = $1 {order}");
            session.query(&sql, &[&id.0]).await?
        }
    };
    rows.iter().map(record).collect()
}

pub(super) async fn key(session: &mut Session, key_id: KeyId) -> Result<ApiKeyRecord> {
    let missing = || StoreError::NoSuchKey { key_id };
    let id = i64::try_from(key_id.0).map_err(|_| missing())?;
    let sql = format!("SELECT {COMMON}, {SHOWN} {FROM} WHERE k.key_id = $1");
    let row = session.query_opt(&sql, &[&id]).await?;
    record(&row.ok_or_else(missing)?)
}

pub(super) async fn change_key(
    session: &mut Session,
    key_id: KeyId,
    patch: &KeyPatch,
) -> Result<ApiKeyRecord> {
    lock(session).await?;
    let before = key(session, key_id).await?;
    let settings = patch.on(&before.settings);
    let name = patch.name.as_ref().unwrap_or(&before.name);
    let expires_at_ns = patch.expires_at_ns.unwrap_or(before.expires_at_ns);
    let columns = Columns::of(&settings)?;
    // What could not be read is left as it is unless the patch says what is right.
    let networks = match &patch.networks {
        None if before.unusable.is_some() => None,
        _ => Some(&columns.networks),
    };
    let repaired = before.unusable.is_some() && networks.is_some();
    if !repaired && (name, expires_at_ns, &settings) == (&before.name, before.expires_at_ns, &before.settings)
    {
        return Ok(before);
    }
    session
        .execute(
            "UPDATE api_keys
             SET name = $2, expires_at_ns = $3, requests_per_month = $4, requests_per_second = $5, burst = $6,
                 reports_per_month = $7, allow_udp = $8, allow_http = $9, scope = $10,
                 allowed_networks = coalesce($11, allowed_networks)
             WHERE key_id = $1",
            &[
                &integer("the key id", key_id.0)?,
                name,
                &optional_integer("the key's expiry", expires_at_ns)?,
                &columns.month,
                &columns.rate,
                &columns.burst,
                &columns.reports,
                &settings.protocols.udp,
                &settings.protocols.http,
                &columns.scope,
                &networks,
            ],
        )
        .await?;
    key(session, key_id).await
}

pub(super) async fn rotate_key(
    session: &mut Session,
    old: KeyId,
    new: &NewKey,
    old_ends_at_ns: u64,
) -> Result<ApiKeyRecord> {
    lock(session).await?;
    let before = key(session, old).await?;
    if before.revoked_at_ns.is_some() {
        return Err(StoreError::KeyRevoked { key_id: old });
    }
    if new.account_id != before.account_id {
        return Err(StoreError::Invalid {
            what: "the new key's account",
            why: "is not the old key's: make a key with `keys create` instead",
        });
    }
    let made = create_key(session, new, Some(old)).await?;
    let ends = before
        .expires_at_ns
        .map_or(old_ends_at_ns, |end| end.min(old_ends_at_ns));
    if before.expires_at_ns != Some(ends) {
        let (key_id, ends) = (integer("the key id", old.0)?, integer("the key's expiry", ends)?);
        session
            .execute(
                "UPDATE api_keys SET expires_at_ns = $2 WHERE key_id = $1",
                &[&key_id, &ends],
            )
            .await?;
    }
    Ok(made)
}

pub(super) async fn revoke_key(session: &mut Session, key_id: KeyId, at_ns: u64) -> Result<Revocation> {
    lock(session).await?;
    let found = key(session, key_id).await?;
    if let Some(at_ns) = found.revoked_at_ns {
        return Ok(Revocation::AlreadyRevoked { at_ns });
    }
    let (key_id, at_ns) = (integer("the key id", key_id.0)?, integer("the time", at_ns)?);
    session
        .execute(
            "UPDATE api_keys SET revoked_at_ns = $2 WHERE key_id = $1",
            &[&key_id, &at_ns],
        )
        .await?;
    Ok(Revocation::Revoked)
}

pub(super) async fn load_keys(session: &mut Session, after: Option<KeyId>, limit: usize) -> Result<KeyPage> {
    page(session, "WHERE k.key_id > $1", None, after, limit).await
}

pub(super) async fn load_changed_keys(
    session: &mut Session,
    since: ChangeStamp,
    after: Option<KeyId>,
    limit: usize,
) -> Result<KeyPage> {
    if change_stamp(session).await?.0 <= since.0 {
        return Ok(KeyPage::default());
    }
    let since = i64::try_from(since.0).unwrap_or(i64::MAX);
    let tier_changed = session
        .query_one("SELECT EXISTS (SELECT FROM tiers WHERE revision > $1)", &[&since])
        .await?;
    if !get::<bool>(&tier_changed, 0)? {
        let changed = session.query(CHANGED, &[&since, &(FEW + 1)]).await?;
        if changed.len() as i64 <= FEW {
            let changed = changed
                .iter()
                .map(|row| get(row, 0))
                .collect::<Result<Vec<i64>>>()?;
            let which = "WHERE k.key_id > $1 AND k.key_id = ANY($3)";
            return page(session, which, Some(&changed), after, limit).await;
        }
    }
    // A tier may have any number of keys. All of them in their order, page by page, look at each key
    // once; gathering the changed ones for each page would look at most of them again and again.
    let which = "WHERE k.key_id > $1 AND (k.revision > $3 OR a.revision > $3 OR t.revision > $3)";
    page(session, which, Some(&since), after, limit).await
}

async fn page(
    session: &mut Session,
    which: &str,
    third: Option<&(dyn ToSql + Sync)>,
    after: Option<KeyId>,
    limit: usize,
) -> Result<KeyPage> {
    let limit = limit.max(1);
    let after = after.map_or(0, |key_id| i64::try_from(key_id.0).unwrap_or(i64::MAX));
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = format!("SELECT {COMMON} {FROM} {which} ORDER BY k.key_id LIMIT $2");
    let first: Params<'_> = &[&after, &most];
    let params: Vec<&(dyn ToSql + Sync)> = first.iter().copied().chain(third).collect();
    let rows = session.query(&sql, &params).await?;
    let mut page = KeyPage::default();
    page.keys.reserve(rows.len());
    for row in &rows {
        let key = common(row)?;
        let key_id = key.key_id;
        page.push(key);
        if rows.len() == limit {
            page.next = Some(key_id);
        }
    }
    Ok(page)
}

fn record(row: &Row) -> Result<ApiKeyRecord> {
    let common = common(row)?;
    Ok(ApiKeyRecord {
        key_id: common.key_id,
        account_id: common.account_id,
        account: get(row, 18)?,
        tier: get(row, 19)?,
        name: get(row, 20)?,
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

fn common(row: &Row) -> Result<KeyRow> {
    let overrides = overrides(row)?;
    let (networks, mut unusable) = match networks::parse(get(row, 10)?) {
        Ok(networks) => (networks, None),
        Err(why) => (Vec::new(), Some(format!("its networks cannot be read: {why}"))),
    };
    let verifier: &[u8] = get(row, 14)?;
    let verifier = <[u8; 32]>::try_from(verifier).unwrap_or_else(|_| {
        unusable = Some("its verifier is not 32 bytes long".to_owned());
        [0; 32]
    });
    Ok(KeyRow {
        key_id: KeyId(unsigned(row, 12)?),
        account_id: AccountId(get(row, 13)?),
        verifier: Verifier::from_bytes(verifier),
        limits: overrides.on(limits(row)?),
        settings: KeySettings {
            protocols: Protocols {
                udp: get(row, 8)?,
                http: get(row, 9)?,
            },
            networks,
            overrides,
            scope: if get::<&str>(row, 11)? == scope_name(Scope::Operator) {
                Scope::Operator
            } else {
                Scope::Customer
            },
        },
        unusable,
        expires_at_ns: optional_unsigned(row, 15)?,
        revoked_at_ns: optional_unsigned(row, 16)?,
        account_disabled: get(row, 17)?,
    })
}

fn overrides(row: &Row) -> Result<Overrides> {
    let month: Option<i64> = get(row, 4)?;
    let (per_second, burst) = (limit(row, 5)?, limit(row, 6)?);
    let rate = match (per_second, burst) {
        (Some(Some(per_second)), Some(Some(burst))) => Some(Some(Rate { per_second, burst })),
        (Some(None), _) => Some(None),
        _ => None,
    };
    Ok(Overrides {
        // Below zero is "no limit": no u64.
        requests_per_month: month.map(|limit| u64::try_from(limit).ok()),
        rate,
        reports_per_month: limit(row, 7)?,
    })
}

/// A limit of a key's own.
#[expect(clippy::option_option, reason = "as Overrides has it")]
fn limit(row: &Row, column: usize) -> Result<Option<Option<u32>>> {
    Ok(get::<Option<i32>>(row, column)?.map(|limit| u32::try_from(limit).ok()))
}

impl Columns {
    fn of(settings: &KeySettings) -> Result<Self> {
        let overrides = &settings.overrides;
        let (rate, burst) = match overrides.rate {
            None => (None, None),
            Some(None) => (Some(NO_LIMIT), Some(NO_LIMIT)),
            Some(Some(rate)) => (Some(small(rate.per_second)), Some(small(rate.burst))),
        };
        let month = match overrides.requests_per_month {
            None => None,
            Some(None) => Some(NO_LIMIT.into()),
            Some(Some(limit)) => Some(integer("the limit of requests per month", limit)?),
        };
        Ok(Self {
            month,
            rate,
            burst,
            reports: overrides
                .reports_per_month
                .map(|limit| limit.map_or(NO_LIMIT, small)),
            networks: networks::text(&settings.networks),
            scope: scope_name(settings.scope),
        })
    }
}

const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Customer => "customer",
        Scope::Operator => "operator",
    }
}
