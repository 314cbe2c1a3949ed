//! Venues that are known from recordings only: they have prices in the data that is converted
//! and played, and no feed, no dialect and no frames of their own here.
//!
//! Some are no exchanges: pools and protocols on a chain (Uniswap, Curve, Balancer, Rocket Pool,
//! the wstETH contract), a fund (iShares), a service of currency rates (Open Exchange Rates), and
//! an oracle whose published values are quoted (Chronicle). A price says whose word it rests on;
//! so each has a name of its own instead of passing for another.

use super::{Invalid, Json, Reason, Sink, VenueSpec};

/// The row of such a venue.
pub(super) const fn recorded(name: &'static str, title: &'static str) -> VenueSpec {
    VenueSpec {
        name,
        title,
        plain_heartbeats: &[],
        parse: no_frames,
        rest: None,
        dialect: None,
    }
}

fn no_frames(_: Json<'_>, _: &mut Sink<'_>) -> Result<(), Invalid> {
    Err(Invalid::frame(Reason::UnknownShape))
}
