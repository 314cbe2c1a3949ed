//! What Postgres and the way to it can say, as the ledger's errors.
//!
//! Only the message of a server's error is passed on: its detail may quote a row, and a row may
//! hold a verifier.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::{DbError, Error, SqlState};

use super::settings::Target;
use crate::store::error::StoreError;

/// Why a connection did not come about.
pub(super) fn of_connect(error: &Error, target: &Target) -> StoreError {
    let server = target.to_string();
    if let Some(db) = error.as_db_error() {
        let why = db.message().to_owned();
        return match db.code() {
            &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                StoreError::LoginRefused {
                    server,
                    user: target.user.clone(),
                    why,
                }
            }
            &SqlState::INVALID_CATALOG_NAME => StoreError::NoSuchDatabase {
                server,
                database: target.database.clone(),
            },
            _ => StoreError::Unreachable { server, why },
        };
    }
    let why = chain(error);
    if let Some(problem) = certificate_problem(error) {
        return StoreError::Untrusted { server, why: problem };
    }
    if why.contains("server does not support TLS") {
        let why = "it does not speak TLS; turn it on there, or use sslmode=disable on a network you trust"
            .to_owned();
        return StoreError::Untrusted { server, why };
    }
    if why.contains("password missing") || why.starts_with("authentication error") {
        let user = target.user.clone();
        return StoreError::LoginRefused { server, user, why };
    }
    StoreError::Unreachable { server, why }
}

/// What went wrong on a connection that was there.
pub(super) fn of_call(error: Error, server: &str) -> StoreError {
    let Some(db) = error.as_db_error() else {
        if error.is_closed() || is_io(&error) {
            return lost(server, chain(&error));
        }
        return StoreError::Engine(error.into());
    };
    if ends_session(db) {
        return lost(server, db.message().to_owned());
    }
    match db.code() {
        &SqlState::DISK_FULL => StoreError::DiskFull,
        &SqlState::READ_ONLY_SQL_TRANSACTION => StoreError::ServerReadOnly,
        &SqlState::QUERY_CANCELED => StoreError::TimedOut,
        &SqlState::LOCK_NOT_AVAILABLE
        | &SqlState::T_R_SERIALIZATION_FAILURE
        | &SqlState::T_R_DEADLOCK_DETECTED => StoreError::Contended,
        &SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN | &SqlState::UNDEFINED_FUNCTION => {
            StoreError::NotMigrated
        }
        &SqlState::INSUFFICIENT_PRIVILEGE => StoreError::Forbidden {
            why: db.message().to_owned(),
        },
        code if refuses(code) => StoreError::Refused(db.message().to_owned()),
        _ => StoreError::Engine(format!("{} ({})", db.message(), db.code().code()).into()),
    }
}

/// Whether another attempt at the whole transaction may go through at once.
pub(super) fn is_collision(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED)
    )
}

/// Whether a connection that said this is better given up: it is gone, or leads to a server that
/// is no longer the one to write to, or has forgotten what was prepared on it.
pub(super) fn spoils(error: &Error) -> bool {
    let Some(db) = error.as_db_error() else {
        return true;
    };
    ends_session(db)
        || matches!(
            db.code(),
            &SqlState::READ_ONLY_SQL_TRANSACTION
                | &SqlState::INVALID_SQL_STATEMENT_NAME
                | &SqlState::FEATURE_NOT_SUPPORTED
                | &SqlState::UNDEFINED_TABLE
        )
}

/// Constraints, the triggers' own words, and numbers that do not fit (classes 22, 23 and P0).
fn refuses(code: &SqlState) -> bool {
    ["22", "23", "P0"]
        .iter()
        .any(|class| code.code().starts_with(class))
}

/// Class 08 and the server's own leave-taking (57P01 to 57P05).
fn ends_session(db: &DbError) -> bool {
    db.code().code().starts_with("08") || db.code().code().starts_with("57P")
}

pub(super) fn lost(server: &str, why: String) -> StoreError {
    StoreError::ConnectionLost {
        server: server.to_owned(),
        why,
    }
}

fn is_io(error: &Error) -> bool {
    error
        .source()
        .is_some_and(<dyn std::error::Error>::is::<io::Error>)
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// What rustls found wrong, wherever in the chain of causes it stands.
fn certificate_problem(error: &Error) -> Option<String> {
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(problem) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(problem.to_string());
        }
        if let Some(problem) = error.downcast_ref::<rustls::Error>() {
            return Some(problem.to_string());
        }
        source = error.source();
    }
    None
}
