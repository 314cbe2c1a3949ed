//! Prices that nobody streams: fetched when somebody asks, answered within the deadline whatever
//! the venues do.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::UdpSocket;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use trinity_beast::clock;
use trinity_protocol::{
    ApiKey, Code, MAX_DATAGRAM, MacKeys, PriceStatus, ReplyView, RequestHead, RequestId, encode_price_request,
};

use crate::sim::Fault;
use crate::site::{FEW, Plan, Site, eventually, ok, query};
use crate::support::http;

/// Venues whose REST may be asked most often.
const QUICK: [&str; 3] = ["bybit", "cryptocom", "binance"];

/// How a venue here spells the cold symbol of this number.
fn spelling(venue: &str, number: usize) -> String {
    match venue {
        "cryptocom" => format!("COLD{number}_USD"),
        _ => format!("COLD{number}USD"),
    }
}

/// A site with so many symbols that nobody streams, `COLD0-USD` and on, each quoted by three venues.
fn cold(count: usize, max_age_ms: u32) -> Site {
    let mut sql = String::from("BEGIN;\n");
    for number in 0..count {
        let hard_age_ms = max_age_ms * 2;
        writeln!(
            sql,
            "INSERT INTO symbols (name, base, quote, exponent, tick, min_sources, max_age_ms, hard_age_ms, streamed) \
             VALUES ('COLD{number}-USD', 'COLD{number}', 'USD', -8, '0.01', 2, {max_age_ms}, {hard_age_ms}, 0);"
        )
        .expect("a String takes everything");
        for venue in QUICK {
            let spelling = spelling(venue, number);
            writeln!(
                sql,
                "INSERT INTO symbol_markets SELECT id, '{venue}', '{spelling}', 0 FROM symbols WHERE name = 'COLD{number}-USD';"
            )
            .expect("a String takes everything");
        }
    }
    sql.push_str("COMMIT;");
    let plan = Plan::of(&QUICK).only(&FEW).sql(&sql).quoting(&FEW);
    for sim in plan.sims() {
        for number in 0..count {
            sim.set_quote(&spelling(sim.venue(), number), "100.10", "100.20");
        }
    }
    let site = plan.start();
    // One of the streamed symbols, so that the market is there and REST connections alone are cold.
    eventually("the streams are up", || {
        let price = site.price("BTC-USDT");
        ok(price.status.name() == "LIVE").ok_or(price)
    });
    site
}

fn flights(site: &Site) -> u64 {
    site.metric("trinity_miss_flights_total", &[])
}

/// REST requests to a venue for one cold symbol.
fn calls(site: &Site, venue: &str, number: usize) -> u64 {
    let spelling = spelling(venue, number);
    let fits = |path: &&String| path.split(['=', '&', '/']).any(|part| part == spelling);
    site.sim(venue).stats().rest_paths.iter().filter(fits).count() as u64
}

/// Asks for each of these cold symbols once, one after the other; gives statuses and times.
fn ask_each(
    site: &Site,
    numbers: impl Iterator<Item = usize>,
) -> (BTreeMap<&'static str, u64>, Histogram<u64>) {
    let mut client = site.client();
    let (mut statuses, mut took) = (BTreeMap::new(), histogram());
    for number in numbers {
        let reply = client
            .prices(&[query(&format!("COLD{number}-USD"))])
            .expect("answered");
        assert_eq!(reply.tries_used, 1);
        *statuses.entry(reply.prices[0].status.name()).or_default() += 1;
        took.saturating_record(reply.round_trip.as_micros() as u64);
    }
    (statuses, took)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000, 3).expect("bounds")
}

fn print(what: &str, took: &Histogram<u64>) {
    eprintln!(
        "{what}: {} answers, p50 {} us, p90 {} us, p99 {} us, max {} us (the promise is 50 ms on an idle machine)",
        took.len(),
        took.value_at_quantile(0.5),
        took.value_at_quantile(0.9),
        took.value_at_quantile(0.99),
        took.max()
    );
}

#[test]
fn a_cold_symbol_is_fetched_while_its_reader_waits_over_udp_and_http() {
    let site = cold(60, 30_000);
    for sim in &site.sims {
        sim.fault(Fault::RestDelay(Duration::from_millis(20)));
    }
    // In the pace of the slowest of them; what comes sooner is not asked for.
    let (statuses, took) = ask_each(
        &site,
        (0..20).inspect(|_| std::thread::sleep(Duration::from_millis(100))),
    );
    print(&format!("UDP, REST after 20 ms, {statuses:?}"), &took);
    // A slow machine may be late now and then, and then says that there is no price.
    assert!(
        statuses
            .keys()
            .all(|status| ["LIVE", "THIN", "NO_PRICE"].contains(status)),
        "{statuses:?}"
    );
    assert!(
        statuses.get("LIVE").is_some_and(|count| *count > 0),
        "{statuses:?}"
    );
    let mut web = BTreeMap::<String, u64>::new();
    let mut took = histogram();
    for number in 20..40 {
        std::thread::sleep(Duration::from_millis(100));
        let began = clock::monotonic();
        let (status, body) = site.http_price(&format!("COLD{number}-USD"));
        took.saturating_record(began.elapsed().as_micros() as u64);
        assert!(status == 200 && body["cached"] == false, "{status} {body}");
        let told = body["status"].as_str().expect("a status").to_owned();
        if told == "LIVE" {
            assert_eq!(body["flag_names"], serde_json::json!(["fetched"]), "{body}");
        }
        *web.entry(told).or_default() += 1;
    }
    print(&format!("HTTP, REST after 20 ms, {web:?}"), &took);
    assert!(web.get("LIVE").is_some_and(|count| *count > 0), "{web:?}");
    // Late or not, what was fetched is there for the next, without another request.
    eventually("it is there", || {
        let explained = site.explain("COLD20-USD");
        ok(explained["status"] == "LIVE").ok_or(explained)
    });
    let before = flights(&site);
    let (_, body) = site.http_price("COLD20-USD");
    assert_eq!(
        (&body["status"], flights(&site)),
        (&"LIVE".into(), before),
        "{body}"
    );
    site.assert_no_violations();
}

#[test]
fn an_answer_that_comes_too_late_for_its_reader_is_there_for_the_next() {
    let site = cold(1, 30_000);
    for sim in &site.sims {
        sim.fault(Fault::RestDelay(Duration::from_millis(400)));
    }
    let before = flights(&site);
    let price = site.price("COLD0-USD");
    assert_eq!(price.status, PriceStatus::NoPrice, "{price:?}");
    // Explaining fetches nothing.
    let (_, took) = eventually("the late answers are in", || {
        let explained = site.explain("COLD0-USD");
        ok(explained["status"] == "LIVE" && explained["venues_used"] == 3).ok_or(explained)
    });
    eprintln!("warm after {took:?}");
    assert_eq!(
        (site.price("COLD0-USD").status, flights(&site) - before),
        (PriceStatus::Live, 1)
    );
    for venue in QUICK {
        assert_eq!(calls(&site, venue, 0), 1, "{venue}");
    }
}

#[test]
fn many_who_miss_the_same_price_cost_each_venue_one_request() {
    const READERS: usize = 16;
    let site = cold(1, 30_000);
    for sim in &site.sims {
        sim.fault(Fault::RestHang);
    }
    let (barrier, before) = (Barrier::new(READERS), flights(&site));
    let (http, key) = (site.server.http, site.server.demo_key_text());
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (barrier, key, mut client) = (&barrier, &key, site.client());
            scope.spawn(move || {
                barrier.wait();
                if reader % 4 == 0 {
                    let body = http::get(http, "/price?asset=COLD0-USD", Some(key)).json();
                    assert_eq!(body["status"], "NO_PRICE", "{body}");
                } else {
                    let price = client.prices(&[query("COLD0-USD")]).expect("answered").prices[0];
                    assert_eq!(price.status, PriceStatus::NoPrice);
                }
            });
        }
    });
    let flights = flights(&site) - before;
    // A reader that is seconds late begins another flight; all sixteen cannot.
    eprintln!("{READERS} readers, {flights} flights");
    assert!((1..=4).contains(&flights), "{flights}");
    for venue in QUICK {
        eventually("the requests are seen", || {
            let calls = calls(&site, venue, 0);
            assert!(
                calls <= flights,
                "{venue}: {calls} requests for {flights} flights"
            );
            ok(calls == flights).ok_or(calls)
        });
    }
}

#[test]
fn rest_that_hangs_or_refuses_costs_the_deadline_once_and_is_remembered() {
    let site = cold(40, 30_000);
    for (fault, numbers) in [(Fault::RestHang, 0..8), (Fault::RestRefuse, 8..16)] {
        for sim in &site.sims {
            sim.fault(fault);
        }
        let (statuses, took) = ask_each(&site, numbers);
        print(&format!("UDP, {fault:?}"), &took);
        assert_eq!(statuses, BTreeMap::from([("NO_PRICE", 8)]), "{fault:?}");
    }
    let (began, before) = (clock::monotonic(), flights(&site));
    let remembered = site.metric("trinity_miss_symbols_remembered_total", &[]);
    let mut client = site.client();
    for _ in 0..300 {
        let price = client.prices(&[query("COLD20-USD")]).expect("answered").prices[0];
        assert_eq!(price.status, PriceStatus::NoPrice);
    }
    // One at once, and one more for every two seconds that passed.
    let most = began.elapsed().as_secs() / 2 + 1;
    let flown = flights(&site) - before;
    assert!((1..=most).contains(&flown), "{flown} flights, {most} at most");
    let remembered = site.metric("trinity_miss_symbols_remembered_total", &[]) - remembered;
    assert_eq!(remembered, 300 - flown, "all others were not let wait");
    for sim in &site.sims {
        sim.heal();
    }
    eventually("it is fetched when the venues are well", || {
        let price = site.price("COLD20-USD");
        ok(price.status == PriceStatus::Live).ok_or(price)
    });
    site.assert_no_violations();
}

/// Many readers at once, each of whom must be answered once.
struct Crowd {
    socket: UdpSocket,
    key: ApiKey,
    mac: MacKeys,
    sessions: u32,
    statuses: BTreeMap<&'static str, usize>,
    took: Histogram<u64>,
}

impl Crowd {
    fn of(site: &Site) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.connect(site.server.udp).expect("connected");
        let key = site.server.demo_key();
        Self {
            socket,
            mac: MacKeys::from_verifier(&key.verifier()),
            key,
            sessions: 0,
            statuses: BTreeMap::new(),
            took: histogram(),
        }
    }

    /// Asks for all of these cold symbols at once and waits for every answer.
    fn ask(&mut self, numbers: impl Iterator<Item = usize>) {
        self.sessions += 1;
        let session = self.sessions;
        let mut asked: HashMap<u32, Instant> = HashMap::new();
        for (number, counter) in numbers.zip(1..) {
            let head = RequestHead {
                key_id: self.key.key_id(),
                request_id: RequestId::new(session, counter),
                lane: counter as u8,
                clock_ns: clock::unix_nanos(),
            };
            let mut buffer = [0; MAX_DATAGRAM];
            let queries = [query(&format!("COLD{number}-USD"))];
            let datagram = encode_price_request(&mut buffer, head, &queries, &self.mac.request);
            asked.insert(counter, clock::monotonic());
            self.socket.send(datagram).expect("sent");
        }
        let patience = Some(Duration::from_secs(10));
        self.socket.set_read_timeout(patience).expect("set");
        while !asked.is_empty() {
            let mut buffer = [0; MAX_DATAGRAM];
            let received = self.socket.recv(&mut buffer);
            let len = received.unwrap_or_else(|error| panic!("{error}: {} are not answered", asked.len()));
            let now = clock::monotonic();
            let view = ReplyView::parse(&buffer[..len]).expect("well-formed");
            assert!(view.verify(&self.mac.reply));
            let head = view.head();
            assert_eq!((head.code, head.request_id.session), (Code::Ok, session));
            let since = asked.remove(&head.request_id.counter).expect("answered once");
            self.took.saturating_record((now - since).as_micros() as u64);
            let status = PriceStatus::from_wire(view.entries()[0].status).expect("a status");
            *self.statuses.entry(status.name()).or_default() += 1;
        }
    }

    /// All were answered, with what a cold symbol can be, and nobody twice.
    fn end(self, site: &Site, what: &str, tries: usize) -> BTreeMap<&'static str, usize> {
        let late = Some(Duration::from_millis(200));
        self.socket.set_read_timeout(late).expect("set");
        assert!(
            self.socket.recv(&mut [0; MAX_DATAGRAM]).is_err(),
            "nobody is answered twice"
        );
        let waits = |outcome| site.metric("trinity_miss_waits_total", &[("outcome", outcome)]);
        print(
            &format!(
                "{what}: {:?}, {} flights, waits: fresh {}, nothing {}, deadline {}; not let wait {}",
                self.statuses,
                flights(site),
                waits("fresh"),
                waits("nothing"),
                waits("deadline"),
                site.metric("trinity_miss_symbols_remembered_total", &[])
            ),
            &self.took,
        );
        let cold = ["LIVE", "THIN", "STALE", "NO_PRICE"];
        let statuses = &self.statuses;
        assert!(
            statuses.keys().all(|status| cold.contains(status)),
            "{statuses:?}"
        );
        assert_eq!(statuses.values().sum::<usize>(), tries);
        assert_eq!(site.metric("trinity_miss_requests_waiting", &[]), 0);
        site.assert_no_violations();
        self.statuses
    }
}

#[test]
fn ten_thousand_readers_who_wait_for_cold_prices_are_all_answered() {
    const ROUNDS: usize = 200;
    const READERS: usize = 50;
    let site = cold(ROUNDS, 30_000);
    let before = flights(&site);
    let mut crowd = Crowd::of(&site);
    for round in 0..ROUNDS {
        // In time for those who wait, and now and then too late for them.
        let rest = if round % 4 == 3 { 70 } else { 25 };
        for sim in &site.sims {
            sim.fault(Fault::RestDelay(Duration::from_millis(rest)));
        }
        crowd.ask(std::iter::repeat_n(round, READERS));
        // In the pace of the slowest venue, so that each round's symbol is asked for.
        std::thread::sleep(Duration::from_millis(75));
    }
    let statuses = crowd.end(&site, "waiting", ROUNDS * READERS);
    assert!(statuses["LIVE"] > 0, "{statuses:?}");
    // However many waited, each venue was asked once for each flight.
    let flown = flights(&site) - before;
    assert!(flown < (2 * ROUNDS) as u64, "{flown} flights");
    for venue in QUICK {
        let calls: u64 = (0..ROUNDS).map(|number| calls(&site, venue, number)).sum();
        assert!(calls <= flown, "{venue}: {calls} requests for {flown} flights");
    }
}

#[test]
fn ten_thousand_cold_tries_beyond_the_venues_pace_are_all_answered() {
    const TRIES: usize = 10_000;
    const SYMBOLS: usize = 1_000;
    const AT_ONCE: usize = 50;
    let site = cold(SYMBOLS, 200);
    for sim in &site.sims {
        sim.fault(Fault::RestDelay(Duration::from_millis(25)));
    }
    let mut crowd = Crowd::of(&site);
    for batch in 0..TRIES / AT_ONCE {
        crowd.ask((0..AT_ONCE).map(|i| (batch * AT_ONCE + i) % SYMBOLS));
    }
    let statuses = crowd.end(&site, "beyond the pace", TRIES);
    assert!(statuses.contains_key("LIVE"), "{statuses:?}");
}
