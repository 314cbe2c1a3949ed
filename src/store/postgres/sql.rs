//! Numbers to and from columns, which are signed.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::store::error::{Result, StoreError};

/// A number for a `bigint`.
pub(super) fn integer(what: &'static str, value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| StoreError::Invalid {
        what,
        why: "is 2^63 or more",
    })
}

/// The same, for one that may be missing.
pub(super) fn optional_integer(what: &'static str, value: Option<u64>) -> Result<Option<i64>> {
    value.map(|value| integer(what, value)).transpose()
}

/// A limit that is at most 10^9, as the schema has it; what is more, the schema refuses.
pub(super) fn small(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// A column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column)
        .map_err(|error| StoreError::Engine(error.into()))
}

/// A `bigint` that a CHECK keeps from being negative.
pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64> {
    Ok(u64::try_from(get::<i64>(row, column)?).unwrap_or(0))
}

/// The same, for one that may be NULL.
pub(super) fn optional_unsigned(row: &Row, column: usize) -> Result<Option<u64>> {
    Ok(get::<Option<i64>>(row, column)?.map(|value| u64::try_from(value).unwrap_or(0)))
}

/// An `integer` that a CHECK keeps from being negative.
pub(super) fn optional_small(row: &Row, column: usize) -> Result<Option<u32>> {
    Ok(get::<Option<i32>>(row, column)?.map(|value| u32::try_from(value).unwrap_or(0)))
}

/// A sum, which Postgres makes a `numeric` of, as text; stops at 2^64 - 1.
pub(super) fn sum(row: &Row, column: usize) -> Result<u64> {
    let text: &str = get(row, column)?;
    let value: u128 = text
        .parse()
        .map_err(|_| StoreError::Engine(format!("a sum is {text:?}").into()))?;
    Ok(u64::try_from(value).unwrap_or(u64::MAX))
}

/// Narrows what a CHECK keeps narrow.
pub(super) fn number<T: TryFrom<u64> + Bounded>(value: u64) -> T {
    T::try_from(value).unwrap_or(T::MOST)
}

/// The largest value of a type.
pub(super) trait Bounded {
    const MOST: Self;
}

impl Bounded for u8 {
    const MOST: Self = Self::MAX;
}

impl Bounded for u16 {
    const MOST: Self = Self::MAX;
}

impl Bounded for u32 {
    const MOST: Self = Self::MAX;
}
