//! `keys set` and `keys revoke`.

use anyhow::ensure;
use serde::Serialize;
use trinity_protocol::KeyId;

use super::Printed;
use super::view::{KeyView, describe};
use crate::cli::output::{Table, short_time, write_json};
use crate::store::{KeyPatch, Ledger, Revocation};

#[derive(Serialize)]
struct RevokedView<'a> {
    already_revoked: bool,
    #[serde(flatten)]
    record: KeyView<'a>,
}

pub(super) async fn set(
    ledger: &dyn Ledger,
    key_id: KeyId,
    patch: &KeyPatch,
    to: &mut Printed<'_>,
) -> anyhow::Result<()> {
    ensure!(
        *patch != KeyPatch::default(),
        "nothing to set: give a field, see `keys set --help`"
    );
    let key = ledger.change_key(key_id, patch).await?;
    if to.json {
        write_json(to.out, &KeyView::of(&key, to.now_ns))?;
    } else {
        let mut table = Table::of_fields();
        describe(&mut table, &key, to.now_ns);
        table.write(to.out)?;
    }
    Ok(to.out.flush()?)
}

pub(super) async fn revoke(ledger: &dyn Ledger, key_id: KeyId, to: &mut Printed<'_>) -> anyhow::Result<()> {
    let revocation = ledger.revoke_key(key_id, to.now_ns).await?;
    if to.json {
        let already_revoked = revocation != Revocation::Revoked;
        let key = ledger.key(key_id).await?;
        let record = KeyView::of(&key, to.now_ns);
        write_json(
            to.out,
            &RevokedView {
                already_revoked,
                record,
            },
        )?;
    } else {
        match revocation {
            Revocation::Revoked => {
                writeln!(
                    to.out,
                    "Revoked key {key_id}: running servers refuse it within two seconds."
                )?;
            }
            Revocation::AlreadyRevoked { at_ns } => {
                writeln!(
                    to.out,
                    "Key {key_id} was revoked before, at {}.",
                    short_time(at_ns)
                )?;
            }
        }
    }
    Ok(to.out.flush()?)
}
