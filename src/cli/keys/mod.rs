//! `keys create`, `list`, `show`, `set`, `rotate` and `revoke`.

mod change;
mod issue;
mod parse;
mod show;
mod view;

use std::io::Write;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use trinity_protocol::KeyId;

use self::issue::Successor;
use self::parse::{KeyIdParser, SettingsArgs};
use super::LedgerArgs;
use super::ledger::block_on;
use super::time::{Expiry, overlap};
use crate::clock;
use crate::store::{AccountRef, KeyPatch};

/// Manage API keys.
#[derive(Clone, Debug, Args)]
pub struct KeysArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum KeysCommand {
    /// Make a key and print it, this once
    Create {
        /// Whose key: an account's name or id
        #[arg(long)]
        account: AccountRef,
        /// What its owner calls it
        #[arg(long, default_value = "default")]
        name: String,
        /// When it ends: a time (2027-01-31T00:00:00Z) or a time from now (30d, 12h); never if not given
        #[arg(long, value_name = "TIME")]
        expires: Option<Expiry>,
        /// That it never ends, which is so if nothing is given
        #[arg(long, conflicts_with = "expires")]
        no_expiry: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// List keys, oldest first
    List {
        /// Only those of this account, by name or id
        #[arg(long)]
        account: Option<AccountRef>,
    },
    /// Show one key, its limits, what it used and what is left
    Show {
        /// The key's id, as `keys list` shows it
        #[arg(value_parser = KeyIdParser)]
        key_id: KeyId,
    },
    /// Change a key; what is not given stays
    Set {
        /// The key's id, as `keys list` shows it
        #[arg(value_parser = KeyIdParser)]
        key_id: KeyId,
        /// What its owner calls it
        #[arg(long)]
        name: Option<String>,
        /// When it ends: a time (2027-01-31T00:00:00Z), also a past one, or a time from now (30d, 12h)
        #[arg(long, value_name = "TIME")]
        expires: Option<Expiry>,
        /// That it never ends
        #[arg(long, conflicts_with = "expires")]
        no_expiry: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Make a key in the place of another, with its name and settings, and print it, this once
    Rotate {
        /// The old key's id, as `keys list` shows it
        #[arg(value_parser = KeyIdParser)]
        key_id: KeyId,
        /// How long the old key stays good beside the new one, unless it ends before
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = overlap)]
        overlap: SignedDuration,
        /// When the new key ends: a time (2027-01-31T00:00:00Z) or a time from now (30d, 12h)
        #[arg(long, value_name = "TIME")]
        expires: Option<Expiry>,
        /// That the new key never ends, which is so if nothing is given and the old one does not
        #[arg(long, conflicts_with = "expires")]
        no_expiry: bool,
    },
    /// Revoke a key, for good
    Revoke {
        /// The key's id, as `keys list` shows it
        #[arg(value_parser = KeyIdParser)]
        key_id: KeyId,
    },
}

/// Where a command's result goes, and in which form.
struct Printed<'a> {
    json: bool,
    now_ns: u64,
    out: &'a mut dyn Write,
}

/// Runs the command; its result goes to `out`.
pub fn run(args: &KeysArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut to = Printed {
        json: args.ledger.json,
        now_ns: clock::unix_nanos(),
        out,
    };
    block_on(async {
        let ledger = args.ledger.open_existing().await?;
        let to = &mut to;
        match &args.command {
            KeysCommand::Create {
                account,
                name,
                expires,
                no_expiry: _,
                settings,
            } => issue::create(&*ledger, account, name, *expires, &settings.settings(), to).await,
            KeysCommand::List { account } => show::list(&*ledger, account.as_ref(), to).await,
            KeysCommand::Show { key_id } => show::show(&*ledger, *key_id, to).await,
            KeysCommand::Set {
                key_id,
                name,
                expires,
                no_expiry,
                settings,
            } => {
                let expires = expires.map(|expiry| expiry.resolve(to.now_ns)).transpose()?;
                let patch = KeyPatch {
                    name: name.clone(),
                    expires_at_ns: (*no_expiry || expires.is_some()).then_some(expires),
                    ..settings.patch()
                };
                change::set(&*ledger, *key_id, &patch, to).await
            }
            KeysCommand::Rotate {
                key_id,
                overlap,
                expires,
                no_expiry,
            } => {
                let successor = if *no_expiry || expires.is_some() {
                    Successor::Ends(*expires)
                } else {
                    Successor::Unsaid
                };
                issue::rotate(&*ledger, *key_id, *overlap, successor, to).await
            }
            KeysCommand::Revoke { key_id } => change::revoke(&*ledger, *key_id, to).await,
        }
    })
}
