//! Other people's servers beside this one, where they are installed.

use std::cell::Cell;
use std::rc::Rc;

use super::lineup::{By, Lineup, Rule, Setup};
use crate::http::Duel;
use crate::measure::{Limit, Measurement, PeerFigures};
use crate::peers::ratio::Figures;
use crate::peers::stream::Window;
use crate::peers::{Cpus, Peer, PeerPlan, Workload};

/// Connections over which HTTP servers are asked, one request at a time each.
const HTTP_CONNECTIONS: usize = 64;

/// valkey-server, MGET of 30 keys, at the pipelining that suits it best here.
pub(super) fn valkey(setup: &Setup, lineup: &mut Lineup) -> anyhow::Result<()> {
    const NAME: &str = "mget-30/valkey";
    let Some(program) = Peer::Valkey.find() else {
        eprintln!("{}", Peer::Valkey.absent());
        return Ok(());
    };
    let plan = PeerPlan {
        cpus: cpus(setup),
        symbols: setup.symbols,
        warm_up: setup.warm_up,
        time: setup.time,
    };
    let depth = Workload::ValkeyMget.best(&program, &plan, |_| ())?.depth;
    lineup.add(NAME.into(), move |_| {
        let measured = Workload::ValkeyMget.measure(&program, depth, &plan)?;
        Ok(Measurement::of_peer(&PeerFigures {
            requests_per_second: measured.requests_per_second,
            values_per_second: measured.values_per_second,
            server_cpu_ns_per_request: measured.server_cpu_ns_per_request,
            loader_cpu_ns_per_request: measured.loader_cpu_ns_per_request,
            limit: measured.limit,
        }))
    });
    lineup.rule(
        setup,
        "udp_gso_batch_prices_vs_valkey_mget",
        By::Prices,
        |driver| (super::scenario::gso_batch_server(driver), NAME.into()),
    );
    Ok(())
}

/// This server's HTTP worker and nginx with a fixed body of the same size.
pub(super) fn http(setup: &Setup, lineup: &mut Lineup) -> anyhow::Result<()> {
    let Some(duel) = Duel::set(cpus(setup), setup.symbols, setup.keys)? else {
        eprintln!("{}", Peer::Nginx.absent());
        return Ok(());
    };
    let window = Window {
        connections: HTTP_CONNECTIONS,
        depth: 1,
        warm_up: setup.warm_up,
        time: setup.time,
    };
    // Both take their turns in one round: whoever of the two is asked first lets them, and the
    // other one finds its figures.
    let duel = Rc::new((duel, Cell::new(None::<(Figures, Figures)>)));
    let turn = |second: bool| {
        let duel = Rc::clone(&duel);
        move |_: &_| {
            let (stage, waiting) = &*duel;
            let round = if let Some(round) = waiting.take() {
                round
            } else {
                let round = stage.round(&window)?;
                waiting.set(Some(round));
                round
            };
            let figures = if second { round.1 } else { round.0 };
            Ok(Measurement::of_peer(&PeerFigures {
                requests_per_second: figures.requests_per_second,
                values_per_second: figures.requests_per_second,
                server_cpu_ns_per_request: figures.server_cpu_ns,
                loader_cpu_ns_per_request: None,
                limit: figures.limit.unwrap_or(Limit::Loader),
            }))
        }
    };
    lineup.add("http/server".into(), turn(false));
    lineup.add("http/nginx".into(), turn(true));
    lineup.rules.push(Rule {
        name: "http_vs_nginx".into(),
        also: None,
        above: "http/server".into(),
        below: "http/nginx".into(),
        by: By::Requests,
        at_least: None,
    });
    Ok(())
}

fn cpus(setup: &Setup) -> Cpus {
    Cpus {
        serving: setup.cores.serving[0],
        loading: setup.cores.loading,
    }
}
