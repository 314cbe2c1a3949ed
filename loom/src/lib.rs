//! The tables that cores share, compiled a second time with loom's atomics in place of the
//! processor's, so that a model checker can run every order of events that the memory model
//! allows (loom follows Norris and Demsky, "CDSChecker", OOPSLA 2013). The checks are in
//! `tests/`.

// The files are included whole; the checks use a part of them.
#![allow(dead_code, clippy::all, clippy::pedantic, reason = "linted where it lives")]

#[path = "../../src/limits.rs"]
pub mod limits;

pub mod tables;
