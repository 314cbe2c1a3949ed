//! Parameters, and the stamp that tells servers to reload.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{sql_integer, unsigned};
use crate::store::error::Result;
use crate::store::rows::{ChangeStamp, Parameter};

pub(super) fn list(connection: &Connection) -> Result<Vec<Parameter>> {
    let mut statement =
        connection.prepare_cached("SELECT name, value, updated_at_ns FROM parameters ORDER BY name")?;
    let rows = statement.query_map([], parameter)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn get(connection: &Connection, name: &str) -> Result<Option<Parameter>> {
    let mut statement =
        connection.prepare_cached("SELECT name, value, updated_at_ns FROM parameters WHERE name = ?1")?;
    Ok(statement.query_row([name], parameter).optional()?)
}

pub(super) fn set(connection: &Connection, name: &str, value: &str, at_ns: u64) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO parameters (name, value, updated_at_ns) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at_ns = excluded.updated_at_ns",
        )?
        .execute(params![name, value, sql_integer("the time", at_ns)?])?;
    Ok(())
}

pub(super) fn unset(connection: &Connection, name: &str) -> Result<bool> {
    let removed = connection
        .prepare_cached("DELETE FROM parameters WHERE name = ?1")?
        .execute([name])?;
    Ok(removed > 0)
}

pub(super) fn change_stamp(connection: &Connection) -> Result<ChangeStamp> {
    let mut statement = connection.prepare_cached("SELECT value FROM revision WHERE id = 1")?;
    Ok(ChangeStamp(statement.query_row([], |row| unsigned(row, 0))?))
}

fn parameter(row: &Row<'_>) -> rusqlite::Result<Parameter> {
    Ok(Parameter {
        name: row.get(0)?,
        value: row.get(1)?,
        updated_at_ns: unsigned(row, 2)?,
    })
}
