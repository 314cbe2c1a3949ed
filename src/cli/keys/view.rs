//! Keys for people and for scripts.

use serde::Serialize;

use crate::cli::limits::{self, LimitsView, OverridesView};
use crate::cli::output::{Table, exact_time, short_time};
use crate::store::{ApiKeyRecord, KeySettings, Scope};

#[derive(Serialize)]
pub(super) struct KeyView<'a> {
    key_id: String,
    account_id: i64,
    account: &'a str,
    tier: &'a str,
    name: &'a str,
    state: String,
    /// Why no server can use it, if none can.
    unusable: Option<&'a str>,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    /// The key that it took the place of.
    replaces: Option<String>,
    protocols: Vec<&'static str>,
    /// Empty: from everywhere.
    networks: Vec<String>,
    scope: &'static str,
    limits: LimitsView,
    overrides: OverridesView,
}

/// Why a key is shown that is about to be kept nowhere.
pub(super) const SHOWN_ONCE: &str = "Keep the key now: only what checks it is stored, and it cannot be shown again. If it is lost, create another.";

impl<'a> KeyView<'a> {
    pub(super) fn of(key: &'a ApiKeyRecord, now_ns: u64) -> Self {
        Self {
            key_id: key.key_id.to_string(),
            account_id: key.account_id.0,
            account: &key.account,
            tier: &key.tier,
            name: &key.name,
            state: key.state(now_ns).to_string(),
            unusable: key.unusable.as_deref(),
            created_at: exact_time(key.created_at_ns),
            expires_at: key.expires_at_ns.map(exact_time),
            revoked_at: key.revoked_at_ns.map(exact_time),
            replaces: key.replaces.map(|key_id| key_id.to_string()),
            protocols: protocols(&key.settings),
            networks: key.settings.networks.iter().map(ToString::to_string).collect(),
            scope: scope(&key.settings),
            limits: LimitsView::of(&key.limits),
            overrides: OverridesView::of(&key.settings.overrides),
        }
    }
}

/// Keys as rows, oldest first as they come.
pub(super) fn list(keys: &[ApiKeyRecord], now_ns: u64) -> Table {
    let mut table = Table::new(["KEY ID", "ACCOUNT", "NAME", "TIER", "STATE", "CREATED", "EXPIRES"]);
    for key in keys {
        table.row([
            &key.key_id.to_string(),
            &key.account,
            &key.name,
            &key.tier,
            &key.state(now_ns).to_string(),
            &short_time(key.created_at_ns),
            &expires(key),
        ]);
    }
    table
}

/// What a key is and may, but not what it used.
pub(super) fn describe(table: &mut Table, key: &ApiKeyRecord, now_ns: u64) {
    table.row(["key id", &key.key_id.to_string()]);
    table.row(["account", &key.account]);
    table.row(["name", &key.name]);
    table.row(["tier", &key.tier]);
    table.row(["state", &key.state(now_ns).to_string()]);
    if let Some(why) = &key.unusable {
        table.row(["unusable", why]);
    }
    table.row(["created", &short_time(key.created_at_ns)]);
    table.row(["expires", &expires(key)]);
    if let Some(at) = key.revoked_at_ns {
        table.row(["revoked", &short_time(at)]);
    }
    if let Some(old) = key.replaces {
        table.row(["replaces", &old.to_string()]);
    }
    table.row(["protocols", &protocols(&key.settings).join(", ")]);
    let networks: Vec<_> = key.settings.networks.iter().map(ToString::to_string).collect();
    let anywhere = networks.is_empty() && key.unusable.is_none();
    table.row([
        "networks",
        &if anywhere {
            "any".to_owned()
        } else {
            networks.join(", ")
        },
    ]);
    table.row(["scope", scope(&key.settings)]);
    limits::describe(table, &key.limits, &key.settings.overrides);
}

fn expires(key: &ApiKeyRecord) -> String {
    key.expires_at_ns.map_or_else(|| "never".to_owned(), short_time)
}

fn protocols(settings: &KeySettings) -> Vec<&'static str> {
    [
        settings.protocols.udp.then_some("udp"),
        settings.protocols.http.then_some("http"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn scope(settings: &KeySettings) -> &'static str {
    match settings.scope {
        Scope::Customer => "customer",
        Scope::Operator => "operator",
    }
}
