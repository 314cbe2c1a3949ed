//! `keys create` and `keys rotate`: both print a key, this once.

use anyhow::{Context, bail};
use jiff::SignedDuration;
use serde::Serialize;
use trinity_protocol::{ApiKey, KeyId};

use super::Printed;
use super::view::{KeyView, SHOWN_ONCE, describe};
use crate::cli::output::{Table, exact_time, short_time, write_json};
use crate::cli::time::Expiry;
use crate::store::{AccountRef, ApiKeyRecord, KeyPatch, KeySettings, Ledger, issue_key, rotate_key};

#[derive(Serialize)]
struct CreatedView<'a> {
    key: &'a str,
    #[serde(flatten)]
    record: KeyView<'a>,
    /// When the key that it replaces ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_ends_at: Option<String>,
    note: &'static str,
}

/// When a rotated key's successor ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Successor {
    /// As was said; `None` is never.
    Ends(Option<Expiry>),
    /// Nothing was said.
    Unsaid,
}

pub(super) async fn create(
    ledger: &dyn Ledger,
    account: &AccountRef,
    name: &str,
    expires: Option<Expiry>,
    settings: &KeySettings,
    to: &mut Printed<'_>,
) -> anyhow::Result<()> {
    let expires_at_ns = expires.map(|expiry| expiry.resolve(to.now_ns)).transpose()?;
    let account = ledger.account(account).await?;
    let (key, record) = issue_key(ledger, account.id, name, to.now_ns, expires_at_ns, settings).await?;
    if let Err(error) = write_issued(&key, &record, None, to) {
        // A key that nobody has seen must not stay valid.
        ledger.revoke_key(record.key_id, to.now_ns).await?;
        return Err(error).context(format!(
            "the key could not be printed, so key {} was revoked again",
            record.key_id
        ));
    }
    Ok(())
}

pub(super) async fn rotate(
    ledger: &dyn Ledger,
    old: KeyId,
    overlap: SignedDuration,
    successor: Successor,
    to: &mut Printed<'_>,
) -> anyhow::Result<()> {
    let before = ledger.key(old).await?;
    let expires_at_ns = match (successor, before.expires_at_ns) {
        (Successor::Ends(expires), _) => expires.map(|expiry| expiry.resolve(to.now_ns)).transpose()?,
        (Successor::Unsaid, None) => None,
        (Successor::Unsaid, Some(end)) => bail!(
            "key {old} ends at {}: say when the new one ends, with --expires TIME or --no-expiry",
            short_time(end)
        ),
    };
    let ends = Expiry::After(overlap).resolve(to.now_ns)?;
    let (key, record) = rotate_key(ledger, old, to.now_ns, expires_at_ns, ends).await?;
    let ends = before.expires_at_ns.map_or(ends, |end| end.min(ends));
    if let Err(error) = write_issued(&key, &record, Some(ends), to) {
        // The owner has no other key than the old one, which must not end for a key that nobody has seen.
        ledger.revoke_key(record.key_id, to.now_ns).await?;
        let as_before = KeyPatch {
            expires_at_ns: Some(before.expires_at_ns),
            ..KeyPatch::default()
        };
        ledger.change_key(old, &as_before).await?;
        return Err(error).context(format!(
            "the key could not be printed, so key {} was revoked again and key {old} ends as it did before",
            record.key_id
        ));
    }
    Ok(())
}

fn write_issued(
    key: &ApiKey,
    record: &ApiKeyRecord,
    old_ends_at_ns: Option<u64>,
    to: &mut Printed<'_>,
) -> anyhow::Result<()> {
    let text = key.expose();
    if to.json {
        let view = CreatedView {
            key: text.as_str(),
            record: KeyView::of(record, to.now_ns),
            replaced_ends_at: old_ends_at_ns.map(exact_time),
            note: SHOWN_ONCE,
        };
        write_json(to.out, &view)?;
    } else {
        let mut table = Table::of_fields();
        table.row(["key", text.as_str()]);
        describe(&mut table, record, to.now_ns);
        table.write(to.out)?;
        if let (Some(old), Some(ends)) = (record.replaces, old_ends_at_ns) {
            writeln!(
                to.out,
                "\nKey {old}, which it replaces, ends at {}.",
                short_time(ends)
            )?;
        }
        writeln!(to.out, "\n{SHOWN_ONCE}")?;
    }
    Ok(to.out.flush()?)
}
