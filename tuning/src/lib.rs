//! What this machine allows a Trinity Beast node, and what to run on it.
//!
//! [`read`] looks (a thin edge over `/proc`, `/sys` and a few sockets) and gives [`facts::Facts`];
//! [`check`] judges facts and [`recommend`] turns them into settings: both pure, so that machines
//! can be written down as data and tested. [`profiles`] says what to run on which ECS task size.
//! [`probe`] measures the network between two tasks with an echo.
//!
//! Nothing here knows the node: what only it can try (io_uring, the offloads of its own sockets)
//! comes in as [`facts::Trials`], and what it needs as [`check::Needs`].

pub mod check;
pub mod clock;
pub mod facts;
#[cfg(test)]
mod machines;
pub mod probe;
pub mod profiles;
pub mod read;
pub mod recommend;
