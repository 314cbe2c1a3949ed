//! Parameters, and the stamp that tells servers to reload.

use tokio_postgres::Row;

use super::customers::lock;
use super::pool::Session;
use super::sql::{get, integer, unsigned};
use crate::store::error::Result;
use crate::store::rows::{ChangeStamp, Parameter};

pub(super) async fn list(session: &mut Session) -> Result<Vec<Parameter>> {
    let rows = session
        .query(
            "SELECT name, value, updated_at_ns FROM parameters ORDER BY name",
            &[],
        )
        .await?;
    rows.iter().map(parameter).collect()
}

pub(super) async fn get_one(session: &mut Session, name: &str) -> Result<Option<Parameter>> {
    // Postgres has no text with a NUL, so there is no parameter of such a name.
    if name.contains('\0') {
        return Ok(None);
    }
    let row = session
        .query_opt(
            "SELECT name, value, updated_at_ns FROM parameters WHERE name = $1",
            &[&name],
        )
        .await?;
    row.as_ref().map(parameter).transpose()
}

pub(super) async fn set(session: &mut Session, name: &str, value: &str, at_ns: u64) -> Result<()> {
    let at_ns = integer("the time", at_ns)?;
    session
        .execute(
            "INSERT INTO parameters (name, value, updated_at_ns) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at_ns = excluded.updated_at_ns",
            &[&name, &value, &at_ns],
        )
        .await?;
    Ok(())
}

pub(super) async fn unset(session: &mut Session, name: &str) -> Result<bool> {
    lock(session).await?;
    // A DELETE that finds nothing would still count as a change.
    if get_one(session, name).await?.is_none() {
        return Ok(false);
    }
    session
        .execute("DELETE FROM parameters WHERE name = $1", &[&name])
        .await?;
    Ok(true)
}

pub(super) async fn change_stamp(session: &mut Session) -> Result<ChangeStamp> {
    let row = session
        .query_one("SELECT value FROM revision WHERE id = 1", &[])
        .await?;
    Ok(ChangeStamp(unsigned(&row, 0)?))
}

fn parameter(row: &Row) -> Result<Parameter> {
    Ok(Parameter {
        name: get(row, 0)?,
        value: get(row, 1)?,
        updated_at_ns: unsigned(row, 2)?,
    })
}
