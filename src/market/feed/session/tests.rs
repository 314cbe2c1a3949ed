use super::*;
use crate::market::venue::VenueError;

const S: u64 = SECOND_NS;
const T0: u64 = 1_700_000_000 * S;

/// A venue that confirms by instrument, takes ten messages a second after a second's wait, and
/// cuts connections off after an hour.
static DIALECT: Dialect = Dialect {
    stream_url: "wss://venue.example",
    rest_url: "https://venue.example",
    instruments_per_connection: 10,
    connect_gap: Duration::ZERO,
    settle: Duration::from_secs(1),
    message_gap: Duration::from_millis(100),
    rest_gap: Duration::ZERO,
    ping_every: Some(Duration::from_secs(15)),
    max_life: Some(Duration::from_hours(1)),
    confirms: true,
    sequence: SequenceScope::Connection { member: "n" },
    subscribe: |instruments, id, out| {
        out.extend(
            instruments
                .iter()
                .zip(id..)
                .map(|(i, id)| format!("sub {id} {i}")),
        );
    },
    unsubscribe: |instruments, id, out| out.push(format!("unsub {id} {}", instruments.join(","))),
    ping: Some(|id| format!("ping {id}")),
    answer: |text| format!("answer {text}"),
    tickers_tell_trades_time: false,
    ticker_path: |instrument| format!("/{instrument}"),
    token: None,
};

fn instrument(name: &str, market: u32) -> Instrument {
    Instrument {
        name: name.into(),
        market: MarketId(market),
        max_age_ns: 60 * S,
    }
}

fn session() -> Session {
    Session::new(
        &DIALECT,
        None,
        vec![instrument("A", 0), instrument("B", 1)],
        T0,
        0,
        1,
    )
}

/// Everything that is due by `until`, with the moment it was, as a driver would do it.
fn run(session: &mut Session, until_ns: u64) -> Vec<(u64, Due)> {
    let mut now_ns = T0;
    let mut done = Vec::new();
    loop {
        while let Some(due) = session.poll(now_ns) {
            let is_end = matches!(due, Due::Close(_));
            done.push((now_ns - T0, due));
            if is_end {
                return done;
            }
        }
        let next_ns = session.next_due_ns();
        assert!(next_ns > now_ns, "a poll that was due did nothing: {session:?}");
        if next_ns > until_ns {
            return done;
        }
        now_ns = next_ns;
    }
}

fn ack(name: &str) -> Event<'_> {
    Event::Ack(Ack {
        channel: None,
        instrument: Some(name),
    })
}

/// A session that is subscribed, confirmed and has news as of `T0 + 2 s`.
fn settled() -> Session {
    let mut session = session();
    assert_eq!(run(&mut session, T0 + 2 * S).len(), 2);
    session.on_event(&ack("A"));
    session.on_heard(T0 + 2 * S);
    session.on_news(MarketId(0), T0 + 2 * S);
    session
}

#[test]
fn subscriptions_keep_the_venues_pace() {
    let mut session = session();
    assert_eq!(
        run(&mut session, T0 + 2 * S),
        [
            (S, Due::Send("sub 1 A".into())),
            (S + S / 10, Due::Send("sub 2 B".into()))
        ]
    );
    session.carry(vec![instrument("C", 2), instrument("A", 0)], T0 + 2 * S);
    assert_eq!(session.poll(T0 + 2 * S), Some(Due::Send("sub 3 C".into())));
    session.drop_instruments(|i| i.market != MarketId(0));
    assert_eq!(session.poll(T0 + 3 * S), Some(Due::Send("unsub 4 B,C".into())));
    assert_eq!(session.instruments().len(), 1);
    session.drop_instruments(|_| true);
    assert_eq!(session.poll(T0 + 3 * S), Some(Due::Close(CloseReason::NotNeeded)));
}

#[test]
fn a_connection_without_any_sign_of_life_is_pinged_then_closed() {
    let mut session = session();
    for name in ["A", "B"] {
        session.on_event(&ack(name));
    }
    // REST vouches, so that the silence alone decides.
    let mut done = Vec::new();
    let mut now_ns = T0;
    while now_ns < T0 + 60 * S {
        while let Some(due) = session.poll(now_ns) {
            match due {
                Due::Probe(_) => session.on_probe(true, now_ns),
                Due::Close(_) => {
                    done.push((now_ns - T0, due));
                    now_ns = u64::MAX;
                    break;
                }
                Due::Send(_) => done.push((now_ns - T0, due)),
                _ => {}
            }
        }
        if now_ns != u64::MAX {
            now_ns = session.next_due_ns();
        }
    }
    assert_eq!(
        done[2..],
        [
            (4 * S, Due::Send("ping 3".into())),
            (8 * S, Due::Send("ping 4".into())),
            (10 * S, Due::Close(CloseReason::Silent))
        ]
    );
    assert!(CloseReason::Silent.discredits_quotes());
}

#[test]
fn a_venue_that_confirms_nothing_and_sends_nothing_is_left() {
    let mut session = session();
    let mut closed = None;
    for step in 0..200 {
        let now_ns = T0 + step * S / 10;
        session.on_heard(now_ns);
        while let Some(due) = session.poll(now_ns) {
            match due {
                Due::Probe(_) => session.on_probe(true, now_ns),
                Due::Close(reason) => {
                    closed = closed.or(Some((now_ns - T0, reason)));
                    break;
                }
                _ => {}
            }
        }
    }
    assert_eq!(closed, Some((11 * S, CloseReason::Unconfirmed)));
}

#[test]
fn a_mute_connection_is_doubted_and_closed_when_rest_knows_better_or_is_silent() {
    for answers in [true, false] {
        let mut session = settled();
        let mut end = None;
        // Heartbeats go on all the while.
        for step in 20..300 {
            let now_ns = T0 + step * S / 10;
            session.on_heard(now_ns);
            while let Some(due) = session.poll(now_ns) {
                match due {
                    Due::Probe(market) => {
                        assert_eq!((market, now_ns - T0), (MarketId(0), 8 * S), "the one heard last");
                        if answers {
                            session.on_probe(false, now_ns + S / 5);
                        }
                    }
                    Due::Close(reason) => {
                        end = end.or(Some((now_ns - T0, reason)));
                        break;
                    }
                    _ => {}
                }
            }
        }
        // A second to bring what REST knows, or the whole time that REST has.
        let at = if answers { 92 * S / 10 } else { 10 * S };
        assert_eq!(end, Some((at, CloseReason::Mute)), "{answers}");
    }
}

#[test]
fn the_shortest_max_age_decides_how_soon_a_connection_is_doubted() {
    let mut session = session();
    assert_eq!(session.mute_after_ns(), MUTE_NS);
    session.carry(
        vec![Instrument {
            max_age_ns: 9 * S,
            ..instrument("C", 2)
        }],
        T0,
    );
    assert_eq!(session.mute_after_ns(), 3 * S);
}

#[test]
fn a_quiet_market_that_rest_vouches_for_gets_a_successor_ever_more_slowly() {
    let mut factor = 1;
    for expected in [6, 12, 24] {
        let mut session = Session::new(&DIALECT, None, vec![instrument("A", 0)], T0, 0, factor);
        session.on_event(&ack("A"));
        let mut renewed = None;
        let mut vouched = None;
        for step in 0..4_000 {
            let now_ns = T0 + step * S / 100;
            session.on_heard(now_ns);
            while let Some(due) = session.poll(now_ns) {
                match due {
                    Due::Probe(_) => {
                        session.on_probe(true, now_ns);
                        vouched = vouched.or(Some(now_ns));
                    }
                    Due::Renew(reason) => renewed = renewed.or(Some((now_ns, reason))),
                    Due::Close(reason) => panic!("{reason:?}"),
                    _ => {}
                }
            }
        }
        let (at, reason) = renewed.expect("a successor");
        assert_eq!(reason, RenewReason::Quiet);
        assert_eq!(at - vouched.expect("probed"), expected * S);
        factor = session.next_quiet_factor();
    }
}

#[test]
fn a_successor_that_brings_what_is_known_already_has_news_when_it_moves_on() {
    let mut session = session();
    for (sequence, news) in [(7, false), (7, false), (6, false), (8, true)] {
        session.on_known(MarketId(0), Some(sequence), None, T0 + 2 * S);
        assert_eq!(session.had_news(), news, "{sequence}");
    }
    let mut by_time = self::session();
    by_time.on_known(MarketId(0), None, Some(T0), T0 + 2 * S);
    by_time.on_known(MarketId(1), None, Some(T0 + 1), T0 + 2 * S);
    by_time.on_known(MarketId(9), None, Some(T0), T0 + 2 * S);
    by_time.on_known(MarketId(9), None, Some(T0 + 1), T0 + 2 * S);
    assert!(
        !by_time.had_news(),
        "each instrument apart, and only what is carried"
    );
    by_time.on_known(MarketId(0), None, Some(T0 + 1), T0 + 2 * S);
    assert!(by_time.had_news());
}

#[test]
fn a_venue_that_is_asked_for_much_has_time_until_the_last_was_asked_for() {
    let many = (0..100).map(|i| instrument(&format!("I{i}"), i)).collect();
    let mut session = Session::new(&DIALECT, None, many, T0, 0, 1);
    let mut probed = None;
    for at in 0..200 {
        let now_ns = T0 + at * S / 10;
        session.on_heard(now_ns);
        session.on_event(&ack("I0"));
        while let Some(due) = session.poll(now_ns) {
            if matches!(due, Due::Probe(_)) {
                probed = probed.or(Some(now_ns - T0));
                session.on_probe(true, now_ns);
            }
        }
    }
    // The hundredth is asked for after 1 s and 99 pauses.
    assert_eq!(probed, Some(109 * S / 10 + MUTE_NS));
}

#[test]
fn a_venue_that_refuses_everything_has_answered() {
    let mut session = session();
    run(&mut session, T0 + 2 * S);
    for name in ["A", "B"] {
        session.on_event(&Event::Error(VenueError {
            code: None,
            message: "no such pair",
            instrument: Some(name),
        }));
    }
    session.on_heard(T0 + 8 * S);
    assert_eq!(session.poll(T0 + 8 * S), Some(Due::Probe(MarketId(0))));
    assert!(!session.is_well());
    session.on_probe(true, T0 + 8 * S);
    assert!(session.is_well(), "REST knows of no news either");
    session.on_heard(T0 + 12 * S);
    assert!(
        !matches!(session.poll(T0 + 12 * S), Some(Due::Close(_))),
        "it is not taken for one that does not answer"
    );
}

#[test]
fn news_settles_every_doubt() {
    let mut session = settled();
    session.on_heard(T0 + 8 * S);
    assert_eq!(session.poll(T0 + 8 * S), Some(Due::Probe(MarketId(0))));
    session.on_news(MarketId(1), T0 + 8 * S + 1);
    session.on_probe(false, T0 + 8 * S + 2);
    assert_eq!(
        session.poll(T0 + 8 * S + 3),
        None,
        "the late word of REST is not heard"
    );
    assert_eq!(session.confirmed(), 2);
}

#[test]
fn a_successor_is_opened_before_the_venue_cuts_the_connection_off() {
    let mut session = settled();
    let at = T0 + 3_600 * S;
    session.on_heard(at);
    session.on_news(MarketId(0), at);
    assert_eq!(session.poll(at), Some(Due::Renew(RenewReason::Age)));
    while let Some(due) = session.poll(at) {
        assert!(matches!(due, Due::Send(_)), "once: {due:?}");
    }
    session.on_succession();
    assert_eq!(session.poll(at + 1), Some(Due::Close(CloseReason::Replaced)));

    let mut spread = Session::new(&DIALECT, None, vec![instrument("A", 0)], T0, u32::MAX, 1);
    spread.on_heard(T0 + 3_240 * S);
    spread.on_event(&ack("A"));
    let due: Vec<_> = std::iter::from_fn(|| spread.poll(T0 + 3_240 * S)).collect();
    assert!(
        due.contains(&Due::Renew(RenewReason::Age)),
        "up to a tenth earlier: {due:?}"
    );
}

#[test]
fn a_venue_that_announces_its_end_is_succeeded_at_once() {
    for text in RECONNECT_WORDS {
        let mut session = settled();
        session.on_event(&Event::Status { text });
        assert_eq!(
            session.poll(T0 + 2 * S),
            Some(Due::Renew(RenewReason::VenueAsked))
        );
        for at in [10, 20, 31] {
            session.on_heard(T0 + at * S);
            session.on_news(MarketId(0), T0 + at * S);
        }
        let due: Vec<_> = std::iter::from_fn(|| session.poll(T0 + 32 * S)).take(3).collect();
        assert!(
            due.contains(&Due::Close(CloseReason::Expired)),
            "no successor came in {SUCCESSION_NS}: {due:?}"
        );
    }
    let mut session = settled();
    session.on_event(&Event::Status { text: "online" });
    assert_eq!(session.poll(T0 + 2 * S), None);
}

#[test]
fn a_quiet_connection_whose_successor_has_no_news_either_goes_on() {
    let mut session = Session::new(&DIALECT, None, vec![instrument("A", 0)], T0, 0, 1);
    session.on_event(&ack("A"));
    let mut renewed = Vec::new();
    for step in 0..30_000 {
        let now_ns = T0 + step * S / 10;
        session.on_heard(now_ns);
        while let Some(due) = session.poll(now_ns) {
            match due {
                Due::Probe(_) => session.on_probe(true, now_ns),
                Due::Renew(reason) => renewed.push((reason, (now_ns - T0) / S)),
                Due::Close(reason) => panic!("{reason:?} after {} s", (now_ns - T0) / S),
                _ => {}
            }
        }
    }
    assert!(renewed.iter().all(|(reason, _)| *reason == RenewReason::Quiet));
    assert!(renewed.len() >= 10, "{renewed:?}");
    let apart = |i: usize| renewed[i + 1].1 - renewed[i].1;
    assert!(apart(renewed.len() - 2) >= 150, "ever more seldom: {renewed:?}");
    // The age at which the venue cuts it off is minded all the same.
    let now_ns = T0 + 3_600 * S;
    session.on_heard(now_ns);
    session.on_news(MarketId(0), now_ns);
    let due: Vec<_> = std::iter::from_fn(|| session.poll(now_ns)).take(4).collect();
    assert!(due.contains(&Due::Renew(RenewReason::Age)), "{due:?}");
}

#[test]
fn a_connection_can_go_over_to_other_instruments_altogether() {
    let mut session = settled();
    session.follow(&[instrument("C", 0), instrument("D", 1)], T0 + 3 * S);
    assert_eq!(session.poll(T0 + 3 * S), Some(Due::Send("unsub 3 A,B".into())));
    assert_eq!(session.poll(T0 + 4 * S), Some(Due::Send("sub 4 C".into())));
    assert!(session.carries(MarketId(0)) && session.instruments().len() == 2);
    session.follow(&[], T0 + 5 * S);
    assert_eq!(session.poll(T0 + 5 * S), Some(Due::Close(CloseReason::NotNeeded)));
}

#[test]
fn a_flood_of_challenges_is_not_kept() {
    let mut session = session();
    for _ in 0..2 * MAX_OUTBOX {
        session.on_event(&Event::Challenge { text: "17" });
    }
    assert_eq!(session.outbox.len(), MAX_OUTBOX);
}

#[test]
fn a_challenge_is_answered_before_anything_else() {
    let mut session = session();
    session.on_event(&Event::Challenge { text: "17" });
    assert_eq!(session.poll(T0 + S), Some(Due::Send("answer 17".into())));
}

#[test]
fn refusals_are_counted_by_instrument() {
    let mut session = settled();
    session.on_event(&Event::Error(VenueError {
        code: None,
        message: "no such pair",
        instrument: Some("B"),
    }));
    assert_eq!((session.confirmed(), session.refused()), (1, 1));
}

#[test]
fn gaps_and_repeats_in_a_connections_numbers_are_told() {
    let mut session = session();
    let told: Vec<_> = [Some(5), Some(5), Some(6), None, Some(9), Some(7), Some(10)]
        .map(|number| session.on_sequence(number))
        .to_vec();
    assert_eq!(
        told,
        [
            Order::Next,
            Order::Old,
            Order::Next,
            Order::Next,
            Order::Gap(2),
            Order::Old,
            Order::Next
        ]
    );
    assert!(!session.numbers_instruments());
}

#[test]
fn a_silent_instrument_is_subscribed_anew_but_seldom() {
    let mut session = settled();
    assert!(!session.resubscribe(MarketId(1), T0 + 10 * S));
    let later = T0 + RESUBSCRIBE_NS;
    assert!(session.resubscribe(MarketId(1), later));
    assert!(!session.resubscribe(MarketId(1), later + 1));
    assert!(!session.resubscribe(MarketId(9), later), "it is not carried here");
    assert_eq!(session.poll(later), Some(Due::Send("unsub 3 B".into())));
    assert_eq!(session.poll(later + S), Some(Due::Send("sub 4 B".into())));
}
