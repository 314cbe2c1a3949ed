use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use trinity_beast::shard::driver::{DriverKind, cpus};

use super::*;
use crate::popularity::Popularity;
use crate::target::{Setting, Side, Tables, Target};

const QUICK: Plan = Plan {
    form: Form::Plain,
    entries: 1,
    pace: Pace::Closed {
        window: 8,
        eager: false,
    },
    flows: 2,
    sources: 1,
    keys: 3,
    popularity: Popularity::Uniform,
    warm_up: Duration::from_millis(10),
    time: Duration::from_millis(50),
};

fn load(side: Side, expected: Expected, plan: &Plan, keys: usize) -> Load {
    let population = Population::new(keys, 20).expect("drawn");
    let tables = Tables::new(&population).expect("made");
    let cpu = cpus::allowed().expect("readable")[0];
    let target = Target::start(side, &[cpu], &tables).expect("started");
    let load = run(target.address, expected, plan, &population, &target.times).expect("loaded");
    target.stop().expect("stopped");
    load
}

/// Every reply was right, and there was one for every request but those that a busy machine
/// kept waiting for too long.
fn all_is_right(load: &Load) -> bool {
    let tally = &load.tally;
    let wrong = [
        tally.duplicates,
        tally.unexpected,
        tally.malformed,
        tally.bad_tags,
        tally.bad_prices,
        tally.sequence_back,
        tally.refusals(),
    ];
    tally.verified > 0 && tally.verified + tally.lost == tally.sent && wrong == [0; 7]
}

#[test]
fn an_echo_does_not_pass_for_a_server() {
    for form in [Form::Plain, Form::Gso] {
        let plan = Plan {
            form,
            ..QUICK.clone()
        };
        for expected in [Expected::Price, Expected::Foreign] {
            let load = load(Side::Echo, expected, &plan, 3);
            assert!(load.tally.malformed > 0);
            assert_eq!((load.tally.verified, load.measured), (0, 0));
        }
    }
}

#[test]
fn a_server_does_not_pass_for_an_echo() {
    let server = Side::Server(Setting::of(DriverKind::Epoll));
    let load = load(server, Expected::Echo, &QUICK, 3);
    assert!(load.tally.malformed > 0);
    assert_eq!(load.tally.verified, 0);
}

#[test]
fn silence_is_counted_as_loss() {
    let population = Population::new(3, 5).expect("drawn");
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let address = silent.local_addr().expect("bound");
    let time = ThreadTime::own().expect("readable");
    let load = run(address, Expected::Price, &QUICK, &population, &[time]).expect("loaded");
    let all = 2 * 8;
    assert_eq!(
        (load.tally.sent, load.tally.lost, load.tally.answered),
        (all, all, 0)
    );
}

#[test]
fn trains_and_server_agree_on_every_reply() {
    let server = Side::Server(Setting::of(DriverKind::Epoll));
    for (entries, window) in [(1, 256), (31, 130), (3, 64)] {
        let plan = Plan {
            form: Form::Gso,
            entries,
            pace: Pace::Closed { window, eager: false },
            keys: 2,
            ..QUICK.clone()
        };
        let load = load(server, Expected::Price, &plan, 2);
        assert!(all_is_right(&load), "{entries}: {:?}", load.tally);
    }
}

#[test]
fn batches_and_server_agree_on_every_reply() {
    let server = Side::Server(Setting::of(DriverKind::Epoll));
    let plan = Plan {
        entries: 31,
        popularity: Popularity::Zipf { s: 1.0 },
        ..QUICK.clone()
    };
    let load = load(server, Expected::Price, &plan, 3);
    assert!(all_is_right(&load), "{:?}", load.tally);
}

#[test]
fn a_running_server_is_judged_by_tags_forms_and_order() {
    let server = Side::Server(Setting::of(DriverKind::Epoll));
    let plan = Plan {
        entries: 5,
        ..QUICK.clone()
    };
    let load = load(server, Expected::Foreign, &plan, 3);
    assert!(all_is_right(&load), "{:?}", load.tally);
}

#[test]
fn many_addresses_and_many_keys_share_a_socket() {
    let setting = Setting {
        shards: 2,
        ..Setting::of(DriverKind::Epoll)
    };
    let plan = Plan {
        sources: 300,
        keys: 200,
        ..QUICK.clone()
    };
    let load = load(Side::Server(setting), Expected::Price, &plan, 1_000);
    assert!(all_is_right(&load), "{:?}", load.tally);
}

/// A loader of one flow and one key whose schedule began a while ago.
fn begun_ago(
    address: SocketAddr,
    form: Form,
    (rate, burst): (f64, usize),
    population: &Population,
    ago: Duration,
) -> Loader<'_> {
    let plan = Plan {
        form,
        flows: 1,
        keys: 1,
        pace: Pace::Open { rate, burst },
        ..QUICK.clone()
    };
    let mut loader = Loader::new(address, Expected::Echo, &plan, population).expect("made");
    loader.began = clock::monotonic()
        .checked_sub(ago)
        .expect("this machine runs for longer");
    loader
}

#[test]
fn an_open_loop_sends_what_is_due_though_nobody_answers() {
    let population = Population::new(1, 1).expect("drawn");
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let address = silent.local_addr().expect("bound");
    for (form, burst) in [(Form::Plain, 1), (Form::Plain, 64), (Form::Gso, 64)] {
        let ago = Duration::from_millis(100);
        let mut loader = begun_ago(address, form, (20_000.0, burst), &population, ago);
        let schedule = loader.schedule.expect("an open loop");
        while loader.issue(schedule).expect("sent") > 0 {}
        let (issued, tally) = (loader.issued, &loader.checker.tally);
        assert_eq!(tally.sent + tally.unsent, issued);
        assert!(issued >= 2_000, "{issued} of the 2,000 that were due");
        assert!(
            issued <= schedule.due_by(loader.elapsed_ns()),
            "{issued}, before they were due"
        );
        assert!(
            loader.behind >= 1_900,
            "those of the past were behind: {}",
            loader.behind
        );
    }
}

#[test]
fn latency_counts_from_when_a_request_was_due_not_from_when_it_was_sent() {
    let population = Population::new(1, 1).expect("drawn");
    let far = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let address = far.local_addr().expect("bound");
    let ago = Duration::from_millis(20);
    let mut loader = begun_ago(address, Form::Plain, (1e6, 1), &population, ago);
    let schedule = loader.schedule.expect("an open loop");
    let sent = loader.issue(schedule).expect("sent") as u64;
    assert!((1..=1_000).contains(&sent));
    let mut datagram = [0; 2_000];
    for _ in 0..sent {
        let (len, peer) = far.recv_from(&mut datagram).expect("received");
        far.send_to(&datagram[..len], peer).expect("sent");
    }
    loader.drain(0).expect("received");
    assert_eq!(loader.checker.tally.verified, sent);
    let shortest_ns = loader.checker.latency.min();
    assert!(
        shortest_ns >= 18_900_000,
        "{shortest_ns} ns, but all were due 19 ms ago or more"
    );
}

#[test]
fn a_reply_that_comes_twice_is_counted_as_a_duplicate_and_not_as_an_answer() {
    let population = Population::new(1, 1).expect("drawn");
    let far = UdpSocket::bind("127.0.0.1:0").expect("bound");
    far.set_read_timeout(Some(Duration::from_millis(5))).expect("set");
    let address = far.local_addr().expect("bound");
    let plan = Plan {
        keys: 1,
        ..QUICK.clone()
    };
    let done = AtomicBool::new(false);
    let load = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut datagram = [0; 2_000];
            while !done.load(Ordering::Relaxed) {
                if let Ok((len, peer)) = far.recv_from(&mut datagram) {
                    for _ in 0..2 {
                        far.send_to(&datagram[..len], peer).expect("sent");
                    }
                }
            }
        });
        let load = run(address, Expected::Echo, &plan, &population, &[]);
        done.store(true, Ordering::Relaxed);
        load.expect("loaded")
    });
    let tally = load.tally;
    assert!(tally.duplicates > 0, "{tally:?}");
    assert_eq!((tally.verified, tally.unexpected), (tally.sent, 0));
    assert_eq!(tally.answered, tally.verified + tally.duplicates);
}
