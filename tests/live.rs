//! The live market as its operators and customers meet it: the real binary, fed over TLS by
//! simulators of the ten venues, with everything that venues are known to do to their clients.

mod support;

#[path = "support/sim/mod.rs"]
mod sim;

#[path = "live/faults.rs"]
mod faults;
#[path = "live/feed.rs"]
mod feed;
#[path = "live/life.rs"]
mod life;
#[path = "live/misses.rs"]
mod misses;
#[path = "live/rest.rs"]
mod rest;
#[path = "live/site.rs"]
mod site;
#[path = "live/symbols.rs"]
mod symbols;
#[path = "live/watch.rs"]
mod watch;
#[path = "live/wrong.rs"]
mod wrong;
