use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::echo::{Echo, Echoed};
use super::ladder::{Came, Climb, Ended, ProbeError, climb, rates};
use super::wire::{DEFAULT_BYTES, Head, Kind, MAX_BYTES, Token};

const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// Tells an echo to end.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs an echo beside some work.
fn beside_an_echo<T>(rate: u32, work: impl FnOnce(SocketAddr) -> T) -> (T, Echoed) {
    let echo = Echo::bind(ANY.into(), rate).expect("a port");
    let address = echo.address().expect("bound");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let echo = scope.spawn(|| echo.run(&stop, Duration::from_mins(1)));
        // Also when the work panics, or the scope would wait for the echo.
        let end = StopOnDrop(&stop);
        let result = work(address);
        drop(end);
        (result, echo.join().expect("no panic").expect("no error"))
    })
}

fn on_loopback(peer: SocketAddr) -> Climb {
    Climb {
        peer,
        time: Duration::from_secs(1),
        max_rate: 2_000,
        bytes: DEFAULT_BYTES,
        max_loss: 1.0,
        spins: false,
    }
}

fn socket(peer: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from(ANY)).expect("a port");
    socket.connect(peer).expect("loopback");
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a timeout");
    socket
}

fn datagram(kind: Kind, token: Token, len: usize) -> Vec<u8> {
    let mut datagram = vec![0; len];
    Head {
        kind,
        token,
        rung: 3,
        sequence: 9,
    }
    .write(&mut datagram);
    datagram
}

fn answer(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 2 * MAX_BYTES];
    let len = socket.recv(&mut buffer).ok()?;
    Some(buffer[..len].to_vec())
}

fn welcome(socket: &UdpSocket) -> Token {
    let hello = datagram(Kind::Hello, Token::default(), DEFAULT_BYTES);
    for _ in 0..20 {
        socket.send(&hello).expect("sent");
        if let Some(answer) = answer(socket) {
            let head = Head::read(&answer).expect("the probe's");
            assert_eq!((head.kind, answer.len()), (Kind::Welcome, hello.len()));
            return head.token;
        }
    }
    panic!("no welcome");
}

#[test]
fn a_head_comes_back_as_it_was_written_and_nothing_else_is_one() {
    let bytes = datagram(Kind::Probe, [7; 16], DEFAULT_BYTES);
    let head = Head::read(&bytes).expect("a head");
    assert_eq!(
        (head.kind, head.token, head.rung, head.sequence),
        (Kind::Probe, [7; 16], 3, 9)
    );
    assert_eq!(Head::read(&bytes[..39]), None);
    assert_eq!(Head::read(&[0; DEFAULT_BYTES]), None);
    assert_eq!(Head::read(&datagram(Kind::Probe, [7; 16], MAX_BYTES + 1)), None);
    for at in 0..6 {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x80;
        assert_eq!(Head::read(&damaged), None, "byte {at}");
    }
}

#[test]
fn only_what_bears_this_addresss_token_is_echoed_and_at_its_own_length() {
    let ((), did) = beside_an_echo(1_000, |peer| {
        let (mine, other) = (socket(peer), socket(peer));
        let token = welcome(&mine);
        for len in [40, DEFAULT_BYTES, MAX_BYTES] {
            let probe = datagram(Kind::Probe, token, len);
            mine.send(&probe).expect("sent");
            let echoed = answer(&mine).expect("an echo");
            assert_eq!(
                (Head::read(&echoed).expect("a head").kind, echoed.len()),
                (Kind::Echo, len)
            );
        }
        other
            .send(&datagram(Kind::Probe, token, DEFAULT_BYTES))
            .expect("sent");
        assert_eq!(answer(&other), None, "the token is another address's");
        mine.send(&datagram(Kind::Probe, [0; 16], DEFAULT_BYTES))
            .expect("sent");
        mine.send(&datagram(Kind::Echo, token, DEFAULT_BYTES))
            .expect("sent");
        mine.send(b"hello").expect("sent");
        assert_eq!(answer(&mine), None, "unproven, an echo of an echo, foreign");
    });
    assert_eq!((did.echoed, did.unproven, did.foreign), (3, 2, 2));
}

#[test]
fn an_echo_sends_no_more_back_than_its_rate_allows() {
    // A second is needed for each that goes back; hundreds are sent at once.
    let (came, did) = beside_an_echo(1, |peer| {
        let socket = socket(peer);
        let token = welcome(&socket);
        for _ in 0..500 {
            socket
                .send(&datagram(Kind::Probe, token, DEFAULT_BYTES))
                .expect("sent");
        }
        std::iter::from_fn(|| answer(&socket)).count() as u64
    });
    assert_eq!(came, did.echoed);
    assert!(came >= 1 && did.beyond_rate > 0, "{did:?}");
}

#[test]
fn a_climb_on_loopback_gives_rungs_that_add_up() {
    let mut told = 0;
    let (ladder, did) = beside_an_echo(1_000_000, |peer| {
        climb(&on_loopback(peer), Path::new("/"), |_| told += 1).expect("measured")
    });
    assert_eq!(ladder.rungs.len(), told);
    assert!(!ladder.rungs.is_empty());
    for rung in &ladder.rungs {
        assert_eq!(rung.sent, rung.received + rung.lost);
        assert!(rung.sent > 0);
        if rung.received > 0 {
            let times = rung.round_trip_us.expect("some came back");
            assert!(0.0 < times.p50 && times.p50 <= times.p99, "{times:?}");
            assert!(
                times.p99 <= times.p999 && times.p999 <= times.max * 1.001,
                "{times:?}"
            );
        }
    }
    let received: u64 = ladder.rungs.iter().map(|rung| rung.received).sum();
    assert!(did.echoed >= received && did.welcomed >= 1, "{did:?}");
}

#[test]
fn a_climb_ends_where_more_is_lost_than_may_be() {
    let (ladder, did) = beside_an_echo(1, |peer| {
        let gentle = Climb {
            max_loss: 0.01,
            ..on_loopback(peer)
        };
        climb(&gentle, Path::new("/"), |_| {}).expect("measured")
    });
    assert_eq!(ladder.ended, Ended::Loss);
    assert_eq!((ladder.rungs.len(), ladder.best_rate), (1, None));
    assert!(did.beyond_rate > 0);
}

#[test]
fn a_peer_that_does_not_answer_is_an_error_that_says_what_to_start() {
    let mute = UdpSocket::bind(SocketAddr::from(ANY)).expect("a port");
    let peer = mute.local_addr().expect("bound");
    let error = climb(&on_loopback(peer), Path::new("/"), |_| {}).expect_err("mute");
    assert!(matches!(error, ProbeError::Silent(_)));
    assert!(error.to_string().contains("tune --echo"), "{error}");
}

#[test]
fn impossible_climbs_are_refused() {
    let fine = on_loopback(SocketAddr::from(ANY));
    let refused = |climb: Climb| super::ladder::climb(&climb, Path::new("/"), |_| {}).expect_err("refused");
    assert!(matches!(
        refused(Climb { bytes: 39, ..fine }),
        ProbeError::Bytes(39)
    ));
    assert!(matches!(
        refused(Climb { max_rate: 1, ..fine }),
        ProbeError::Rate(1)
    ));
    let time = Duration::from_millis(10);
    assert!(matches!(refused(Climb { time, ..fine }), ProbeError::Time));
}

#[test]
fn rates_climb_by_halves_of_a_decade_to_the_highest() {
    assert_eq!(rates(1_000), [1_000]);
    assert_eq!(rates(30_000), [1_000, 2_000, 5_000, 10_000, 20_000, 30_000]);
    assert_eq!(rates(100_000).last(), Some(&100_000));
    assert!(rates(u32::MAX).is_sorted());
}

#[test]
fn what_comes_back_late_twice_or_unasked_is_told_apart() {
    let mut came = Came::new(70);
    let time = Duration::from_micros(5);
    for sequence in [0, 2, 1, 69, 2, 500, u64::MAX] {
        came.note(sequence, time);
    }
    assert_eq!((came.received, came.reordered, came.duplicated), (4, 1, 1));
}
