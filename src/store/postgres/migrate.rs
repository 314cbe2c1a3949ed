//! The schema, forward only. Each migration is one transaction under an advisory lock, so that two
//! nodes starting at once apply it once.

use crate::store::error::{Result, StoreError};
use crate::store::rows::{MigrationState, MigrationStatus};

use super::pool::Session;
use super::sql::{number, unsigned};

/// Every migration ever shipped. A shipped one is never edited: its checksum is recorded.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "customers and usage",
        sql: include_str!("../migrations/postgres/0001_customers_and_usage.sql"),
    },
    Migration {
        version: 2,
        name: "symbols",
        sql: include_str!("../migrations/postgres/0002_symbols.sql"),
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
    CREATE TABLE public.schema_migrations (
        version    integer PRIMARY KEY CHECK (version >= 1),
        name       text NOT NULL,
        checksum   bytea NOT NULL CHECK (octet_length(checksum) = 32),
        applied_at bigint NOT NULL DEFAULT extract(epoch FROM now())::bigint
    );
    COMMENT ON TABLE public.schema_migrations IS
        'What was done to this ledger''s schema; trinity-beast migrate status shows it.';
    COMMENT ON COLUMN public.schema_migrations.checksum IS 'BLAKE3 of the migration''s text.';
    COMMENT ON COLUMN public.schema_migrations.applied_at IS 'Unix seconds.';";

/// 0: an empty schema; 1: a ledger's; 2: somebody else's. What extensions bring does not count.
const LOOK: &str = "
    SELECT CASE
        WHEN (SELECT count(*) FROM pg_attribute
              WHERE attrelid = to_regclass('public.schema_migrations') AND NOT attisdropped
                AND attname IN ('version', 'name', 'checksum', 'applied_at')) = 4 THEN 1
        WHEN EXISTS (SELECT FROM pg_class c
                     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
                       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                                       AND d.objid = c.oid AND d.deptype = 'e')) THEN 2
        ELSE 0 END";

/// Held through each migration; the number is this program's own.
const LOCK: &str = "SELECT pg_advisory_xact_lock(6071499117159348481)";

struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

/// Applies the next migration, if another node has not done so by now; the caller's transaction
/// is committed after it.
pub(super) async fn step(session: &mut Session) -> Result<MigrationStatus> {
    session.query(LOCK, &[]).await?;
    let now = status(session).await?;
    let Some(next) = MIGRATIONS.get(now.current as usize) else {
        return Ok(now);
    };
    if now.current == 0 {
        session.batch(VERSIONS_TABLE).await?;
    }
    session.batch(next.sql).await?;
    session
        .execute(
            "INSERT INTO public.schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
            &[&(next.version as i32), &next.name, &checksum(next)],
        )
        .await?;
    status(session).await
}

/// Where the schema stands; refuses a database that holds something else, or a newer ledger.
pub(super) async fn status(session: &mut Session) -> Result<MigrationStatus> {
    let kind: i32 = session.query_one(LOOK, &[]).await?.get(0);
    let rows = match kind {
        0 => Vec::new(),
        1 => {
            let applied =
                "SELECT version::bigint, checksum, applied_at FROM public.schema_migrations ORDER BY version";
            session.query(applied, &[]).await?
        }
        _ => {
            return Err(StoreError::ForeignDatabase {
                database: session.database().to_owned(),
            });
        }
    };
    let mut applied: Vec<(u64, Vec<u8>, u64)> = Vec::new();
    for row in &rows {
        applied.push((unsigned(row, 0)?, row.get(1), unsigned(row, 2)?));
    }
    let current = applied.last().map_or(0, |(version, ..)| number(*version));
    if current > NEWEST {
        return Err(StoreError::NewerSchema {
            found: current,
            newest: NEWEST,
        });
    }
    let mut migrations = Vec::with_capacity(MIGRATIONS.len());
    for migration in MIGRATIONS {
        let found = applied
            .iter()
            .find(|(version, ..)| *version == u64::from(migration.version));
        let applied_at = match found {
            Some((_, sum, at)) if *sum == checksum(migration) => Some(*at),
            None if migration.version > current => None,
            _ => {
                return Err(StoreError::ForeignMigration {
                    version: migration.version,
                });
            }
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

fn checksum(migration: &Migration) -> Vec<u8> {
    blake3::hash(migration.sql.as_bytes()).as_bytes().to_vec()
}
