//! The process whose memory is measured: this server and as little else as can be.

use std::io::{BufRead, Write};
use std::net::SocketAddr;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use trinity_beast::shard::driver::DriverKind;

use crate::population::Population;
use crate::target::{Setting, Side, Tables, Target};

/// It has no options: what it serves is told on its standard input.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// What to serve.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Order {
    /// The keys are drawn from it, by both processes; they are good for nothing else.
    pub(super) seed: u64,
    pub(super) keys: usize,
    pub(super) symbols: usize,
    pub(super) shards: usize,
    pub(super) glommio: bool,
    /// CPUs to serve on.
    pub(super) serving: Vec<usize>,
}

/// It serves.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Serving {
    pub(super) address: SocketAddr,
    /// Resident memory before anything was set up, and after.
    pub(super) bare_kib: u64,
    pub(super) set_up_kib: u64,
}

/// Serves an order until a further line comes, tells its resident memory in KiB, and ends with
/// its input.
pub(super) fn run(mut orders: impl BufRead, mut answers: impl Write) -> anyhow::Result<()> {
    let bare_kib = resident_kib()?;
    let mut line = String::new();
    orders.read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line).context("this command is for `grow` to call")?;
    let driver = if order.glommio {
        DriverKind::Glommio
    } else {
        DriverKind::Epoll
    };
    let tables = {
        // The callers' own keys go at once: they are the customers', not the server's.
        let population = Population::seeded(order.seed, order.keys, order.symbols)?;
        Tables::new(&population)?
    };
    let side = Side::Server(Setting {
        shards: order.shards,
        ..Setting::of(driver)
    });
    let target = Target::start(side, &order.serving, &tables)?;
    let serving = Serving {
        address: target.address,
        bare_kib,
        set_up_kib: resident_kib()?,
    };
    writeln!(answers, "{}", serde_json::to_string(&serving)?)?;
    answers.flush()?;
    line.clear();
    if orders.read_line(&mut line)? > 0 {
        writeln!(answers, "{}", resident_kib()?)?;
        answers.flush()?;
    }
    line.clear();
    orders.read_line(&mut line)?;
    target.stop()?;
    Ok(())
}

/// Of this process (proc(5), VmRSS).
fn resident_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .context("/proc/self/status does not tell VmRSS")
}

#[cfg(test)]
mod tests {
    use trinity_beast::shard::driver::cpus;

    use super::*;

    #[test]
    fn it_serves_what_it_is_told_and_says_what_that_takes() {
        let order = Order {
            seed: 5,
            keys: 20_000,
            symbols: 100,
            shards: 2,
            glommio: false,
            serving: cpus::allowed().expect("readable"),
        };
        let orders = format!("{}\n\n", serde_json::to_string(&order).expect("plain"));
        let mut answers = Vec::new();
        run(orders.as_bytes(), &mut answers).expect("served");
        let answers = String::from_utf8(answers).expect("text");
        let mut lines = answers.lines();
        let serving: Serving = serde_json::from_str(lines.next().expect("one")).expect("as written");
        // A key takes 100 bytes and more.
        assert!(
            serving.bare_kib > 0 && serving.set_up_kib > serving.bare_kib + 2_000,
            "{serving:?}"
        );
        let after: u64 = lines.next().expect("two").parse().expect("a number");
        assert!(after > serving.bare_kib && lines.next().is_none());
    }

    #[test]
    fn an_order_that_is_none_is_refused() {
        assert!(run(&b"serve\n"[..], Vec::new()).is_err());
    }
}
