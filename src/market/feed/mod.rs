//! The life of a feed: what is due when on a connection to a venue, and when to try again.
//!
//! Everything here is pure: it takes events and a clock and says what to do. The control plane
//! (`control::live`) owns the sockets and does it. A mute socket, open but without news, is the
//! field's most common failure; [`session`] is built around noticing it.

pub mod backoff;
pub mod breaker;
pub mod session;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerState};
pub use session::{CloseReason, Due, Session};
