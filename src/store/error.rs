//! What can go wrong with a ledger, and what to do about it.

use std::path::PathBuf;

use thiserror::Error;
use trinity_protocol::{KeyId, Symbol};

/// Shorthand for what the ledger returns.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why the ledger refused or failed. Each message says what to do next; none holds a secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no ledger where one was expected.
    #[error(
        "there is no ledger at {}: check the data directory, or make one with `accounts create NAME`",
        .path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The ledger's file could not be made or opened.
    #[error("cannot open the ledger {}: check that the directory exists and is writable for this user", .path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file system cannot share memory between processes, which write-ahead logging needs.
    #[error(
        "the ledger {} lies on a file system that cannot hold it (journal mode {mode:?} instead of \"wal\"): \
         move the data directory to a local disk",
        .path.display()
    )]
    FileSystem {
        /// The file.
        path: PathBuf,
        /// The journal mode that was granted.
        mode: String,
    },
    /// The file is something else than a ledger.
    #[error(
        "the file is not a Trinity Beast ledger: point the data directory elsewhere, or move the file away"
    )]
    NotALedger,
    /// The file is damaged.
    #[error(
        "the ledger is damaged: stop every process that uses it, keep a copy of the file, its -wal and its -shm, \
         and restore a backup (or salvage it with `sqlite3 ledger.db .recover`)"
    )]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The ledger was written by a newer binary.
    #[error(
        "the ledger has schema version {found}, this binary knows {newest} at most: run the newer trinity-beast \
         that wrote it, or restore a backup from before its upgrade"
    )]
    NewerSchema {
        /// The ledger's version.
        found: u32,
        /// The newest version that this binary knows.
        newest: u32,
    },
    /// The ledger has no schema yet, or an old one.
    #[error(
        "the ledger's schema is not up to date: run `trinity-beast migrate up`, or start `trinity-beast serve`, which \
         brings it up to date"
    )]
    NotMigrated,
    /// An applied migration differs from the one in this binary.
    #[error(
        "migration {version} of the ledger is not the one in this binary: it was made by another build; \
         run that build, or start with a fresh ledger"
    )]
    ForeignMigration {
        /// Which one.
        version: u32,
    },
    /// Another process held the ledger for longer than the busy timeout.
    #[error(
        "the ledger is locked by another process and did not come free in time: try again; if it stays so, \
         find the process that holds the file open (`fuser -v ledger.db`)"
    )]
    Locked,
    /// No room for the write.
    #[error(
        "the disk that holds the ledger is full: free some space and try again; nothing was half written"
    )]
    DiskFull,
    /// The file may be read but not written.
    #[error(
        "the ledger is read-only: give this user write permission on the data directory and the files in it"
    )]
    ReadOnly,
    /// No such account.
    #[error("no account {which:?}: see `accounts list`, or make it with `accounts create`")]
    NoSuchAccount {
        /// The name or id asked for.
        which: String,
    },
    /// The account's name is taken.
    #[error("an account named {name:?} exists already: choose another name, or see it in `accounts list`")]
    AccountExists {
        /// The name.
        name: String,
    },
    /// No such tier.
    #[error("no tier {name:?}: choose one of {known}")]
    NoSuchTier {
        /// The name asked for.
        name: String,
        /// The tiers there are, comma separated.
        known: String,
    },
    /// The tier's name is taken.
    #[error("a tier named {name:?} exists already: change it with `tiers set {name}`")]
    TierExists {
        /// The name.
        name: String,
    },
    /// A revoked key cannot be rotated.
    #[error("key {key_id} is revoked: a new key is made with `keys create`")]
    KeyRevoked {
        /// The key.
        key_id: KeyId,
    },
    /// A key whose row means nothing cannot be rotated: its settings cannot be taken over.
    #[error("key {key_id} is unusable: {why}; put it right with `keys set {key_id}`")]
    KeyUnusable {
        /// The key.
        key_id: KeyId,
        /// What is wrong with its row.
        why: String,
    },
    /// No such key.
    #[error("no key {key_id}: see `keys list`")]
    NoSuchKey {
        /// The key asked for.
        key_id: KeyId,
    },
    /// The key id or the verifier is in use: draw another one.
    #[error("key id {key_id} or its verifier is in use already: draw another key")]
    KeyTaken {
        /// The id.
        key_id: KeyId,
    },
    /// No such symbol.
    #[error("no symbol {name}: see `symbols list`; changes take the canonical name, not an alias")]
    NoSuchSymbol {
        /// The name asked for.
        name: Symbol,
    },
    /// The symbol's name is taken, if only by one that is retired.
    #[error(
        "a symbol {name} exists already: change it with `symbols set {name}`, or offer a retired one again with \
         `symbols retire {name} --undo`"
    )]
    SymbolExists {
        /// The name.
        name: Symbol,
    },
    /// The alias is another symbol's.
    #[error("{alias} is an alias of {owner}: end it first with `symbols alias {owner} {alias} --end`")]
    AliasTaken {
        /// The alias.
        alias: Symbol,
        /// Whose it is.
        owner: Symbol,
    },
    /// The symbol has no such alias.
    #[error(
        "{name} has no alias {alias}: see `symbols show {name}`; forms such as BTC/USD are made from base and \
         quote and cannot be ended"
    )]
    NoSuchAlias {
        /// The symbol.
        name: Symbol,
        /// The alias.
        alias: Symbol,
    },
    /// The symbol has no market at this venue.
    #[error("{name} has no market at {venue}: see `symbols show {name}`")]
    NoSuchMarket {
        /// The symbol.
        name: Symbol,
        /// The venue's name.
        venue: String,
    },
    /// Something has changed since the caller looked.
    #[error("the ledger was changed by somebody else in this moment: nothing was written, try again")]
    ChangedMeanwhile,
    /// A setting that says how to reach Postgres is wrong. Never holds what may be a password.
    #[error("{what} {why}")]
    Settings {
        /// Which setting.
        what: &'static str,
        /// What is wrong with it and what would be right.
        why: String,
    },
    /// Nothing answers where Postgres should be, or it does not take connections.
    #[error(
        "cannot reach Postgres at {server}: {why}; check that it runs, that host and port in AURORA_URL are right, \
         and that nothing in between keeps this machine away"
    )]
    Unreachable {
        /// Where it was tried.
        server: String,
        /// What the system or the server said.
        why: String,
    },
    /// TLS could not be agreed on, or the certificate is not one to trust.
    #[error(
        "no trusted connection to Postgres at {server}: {why}; check that the host in AURORA_URL is the name in \
         its certificate, and give the CA that signed it with --postgres-ca (PGSSLROOTCERT)"
    )]
    Untrusted {
        /// Where it was tried.
        server: String,
        /// What is wrong.
        why: String,
    },
    /// Postgres knows the user or the password not.
    #[error(
        "Postgres at {server} refused the login of {user:?}: {why}; check the user in AURORA_URL (or PGUSER), its \
         password (PGPASSWORD, PGPASSWORD_FILE or AURORA_SECRET) and pg_hba.conf"
    )]
    LoginRefused {
        /// Where it was tried.
        server: String,
        /// As whom.
        user: String,
        /// What the server said.
        why: String,
    },
    /// The server has no database of this name.
    #[error(
        "Postgres at {server} has no database {database:?}: make it with `createdb`, or name another in AURORA_URL"
    )]
    NoSuchDatabase {
        /// Where it was tried.
        server: String,
        /// The name.
        database: String,
    },
    /// The last connection failed a moment ago and the next is not due.
    #[error("{last}")]
    Resting {
        /// What the last attempt said.
        last: String,
    },
    /// The connection broke while a call was under way.
    #[error(
        "the connection to Postgres at {server} broke: {why}; whether the last change was made is not known, and \
         usage is safe to send again"
    )]
    ConnectionLost {
        /// Where it led.
        server: String,
        /// What was noticed.
        why: String,
    },
    /// Postgres took too long.
    #[error(
        "Postgres did not finish in time: nothing was written; look for what it is busy with in pg_stat_activity"
    )]
    TimedOut,
    /// Another session held what a call needed.
    #[error(
        "other sessions of Postgres kept in the way: nothing was written, try again; if it stays so, find who holds \
         a lock in pg_stat_activity and pg_locks"
    )]
    Contended,
    /// The server takes no writes.
    #[error(
        "this Postgres server takes no writes: point AURORA_URL at the one that does (of a cluster the writer's \
         endpoint), or look at default_transaction_read_only"
    )]
    ServerReadOnly,
    /// The user may not do what the ledger needs.
    #[error(
        "Postgres does not let this user do it: {why}; the user that runs the ledger must own its database"
    )]
    Forbidden {
        /// What the server said.
        why: String,
    },
    /// The database holds something else.
    #[error(
        "the database {database:?} is not empty and holds no Trinity Beast ledger: make a database of its own with \
         `createdb`, and name it in AURORA_URL"
    )]
    ForeignDatabase {
        /// Its name.
        database: String,
    },
    /// The server cannot hold a ledger.
    #[error("this Postgres server cannot hold the ledger: {why}")]
    UnfitServer {
        /// Why not, and what would do.
        why: String,
    },
    /// The system gave no random bytes.
    #[error("the system's random source failed ({0}): no key was made, try again")]
    NoRandomness(String),
    /// A value is outside what the ledger can hold.
    #[error("{what} {why}")]
    Invalid {
        /// The field, as a person knows it.
        what: &'static str,
        /// What is wrong with it and what would be right.
        why: &'static str,
    },
    /// A usage row is outside what the ledger can hold; nothing of its flush was applied.
    #[error("usage row {index} cannot be recorded: {why}; set it aside, report it, and flush the rest")]
    InvalidRow {
        /// Its position; symbol rows are counted after the request rows.
        index: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A flush id came a second time with other contents.
    #[error(
        "flush {id} was applied before with other contents ({applied} instead of {offered}): two writers bear \
         one name; give each node its own CLUSTER_NODE"
    )]
    FlushIdReused {
        /// The id.
        id: String,
        /// What was applied under it.
        applied: String,
        /// What came now.
        offered: String,
    },
    /// A constraint of the schema refused the write.
    #[error("the ledger refused the write: {0}")]
    Refused(String),
    /// The process is shutting down and runs no further work.
    #[error("the ledger is closing down: nothing was written by this call")]
    Stopped,
    /// Anything else the engine reported.
    #[error("the ledger's engine failed: {0}")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}
