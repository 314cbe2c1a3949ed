//! The schema, forward only. Each migration is one transaction that holds the write lock, so
//! that two processes starting at once apply it once.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::store::error::{Result, StoreError};
use crate::store::rows::{MigrationState, MigrationStatus};

/// Marks the file as a ledger ("TBLG"), so that another program's database is never touched.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"TBLG");

/// Every migration ever shipped. A shipped one is never edited: its checksum is recorded.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "customers and usage",
        sql: include_str!("../migrations/sqlite/0001_customers_and_usage.sql"),
    },
    Migration {
        version: 2,
        name: "symbols",
        sql: include_str!("../migrations/sqlite/0002_symbols.sql"),
    },
    Migration {
        version: 3,
        name: "key settings and exact accounting",
        sql: include_str!("../migrations/sqlite/0003_exact_accounting.sql"),
    },
];

const NEWEST: u32 = MIGRATIONS.len() as u32;

const _: () = {
    let mut i = 0;
    while i < MIGRATIONS.len() {
        assert!(
            MIGRATIONS[i].version as usize == i + 1,
            "versions rise by one from 1"
        );
        i += 1;
    }
};

const VERSIONS_TABLE: &str = "
    CREATE TABLE schema_migrations (
        version    INTEGER PRIMARY KEY CHECK (version >= 1),
        name       TEXT NOT NULL,
        checksum   BLOB NOT NULL CHECK (length(checksum) = 32), -- BLAKE3 of the migration's text
        applied_at INTEGER NOT NULL DEFAULT (unixepoch())       -- Unix seconds
    ) STRICT;";

struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

/// Applies what is missing.
pub(super) fn up(connection: &mut Connection) -> Result<MigrationStatus> {
    loop {
        // One snapshot: another process may be migrating between two reads.
        let now = status(&*connection.transaction()?)?;
        if now.is_current() {
            return Ok(now);
        }
        step(connection)?;
    }
}

/// As a program would have left it that knew no newer migration.
#[cfg(test)]
pub(super) fn up_to(connection: &mut Connection, version: u32) -> Result<()> {
    while status(connection)?.current < version {
        step(connection)?;
    }
    Ok(())
}

/// Where the schema stands; refuses a file that is no ledger, or one that is newer.
pub(super) fn status(connection: &Connection) -> Result<MigrationStatus> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let fresh = application == 0 && tables == 0;
    if !fresh && application != APPLICATION_ID {
        return Err(StoreError::NotALedger);
    }
    let current: u32 = if fresh {
        0
    } else {
        connection.query_row(
            "SELECT coalesce(max(version), 0) FROM schema_migrations",
            [],
            |row| row.get(0),
        )?
    };
    if current > NEWEST {
        return Err(StoreError::NewerSchema {
            found: current,
            newest: NEWEST,
        });
    }
    let mut migrations = Vec::with_capacity(MIGRATIONS.len());
    for migration in MIGRATIONS {
        let applied_at = if migration.version <= current {
            Some(applied(connection, migration)?)
        } else {
            None
        };
        migrations.push(MigrationState {
            version: migration.version,
            name: migration.name,
            applied_at,
        });
    }
    Ok(MigrationStatus {
        current,
        newest: NEWEST,
        migrations,
    })
}

/// Applies the next migration, if another process has not done so by now.
fn step(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now = status(&transaction)?;
    let Some(next) = MIGRATIONS.get(now.current as usize) else {
        return Ok(());
    };
    if now.current == 0 {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.execute_batch(VERSIONS_TABLE)?;
    }
    transaction.execute_batch(next.sql)?;
    transaction.execute(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES (?1, ?2, ?3)",
        params![next.version, next.name, checksum(next)],
    )?;
    transaction.commit()?;
    Ok(())
}

/// When a migration was applied, having made sure that it was this one.
fn applied(connection: &Connection, migration: &Migration) -> Result<u64> {
    let row: Option<(i64, Vec<u8>)> = connection
        .query_row(
            "SELECT applied_at, checksum FROM schema_migrations WHERE version = ?1",
            [migration.version],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    match row {
        Some((at, sum)) if sum == checksum(migration) => Ok(u64::try_from(at).unwrap_or(0)),
        _ => Err(StoreError::ForeignMigration {
            version: migration.version,
        }),
    }
}

fn checksum(migration: &Migration) -> Vec<u8> {
    blake3::hash(migration.sql.as_bytes()).as_bytes().to_vec()
}
