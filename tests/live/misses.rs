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
    Code, MAX_DATAGRAM, MacKeys, PriceStatus, ReplyView, RequestHead, RequestId, encode_price_request,
};

use crate::sim::Fault;
use crate::site::{FEW, Plan, Site, eventually, ok, query};
use crate::support::http;

/// Venues whose REST may be asked most often.
const QUICK: [&str; 3] = ["bybit", "cryptocom", "binance"];

/// How a venue here spells the cold symbol of this number.
fn spelling(venue: &str, number: usize) -> String {
    match venue {
        "cryptocom" => format!("C{number}_USD"),
        _ => format!("C{number}USD"),
    }
}

/// A site with so many symbols that nobody streams, `C0-USD` and on, each quoted by three venues.
fn cold(count: usize, max_age_ms: u32) -> Site {
    let mut sql = String::from("BEGIN;\n");
    for number in 0..count {
        let hard_age_ms = max_age_ms * 2;
        writeln!(
            sql,
            "INSERT INTO symbols (name, base, quote, exponent, tick, min_sources, max_age_ms, hard_age_ms, streamed) \
             VALUES ('C{number}-USD', 'C{number}', 'USD', -8, '0.01', 2, {max_age_ms}, {hard_age_ms}, 0);"
        )
        .expect("a String takes everything");
        for venue in QUICK {
            let spelling = spelling(venue, number);
            writeln!(
                sql,
                "INSERT INTO symbol_markets SELECT id, '{venue}', '{spelling}', 0 FROM symbols WHERE name = 'C{number}-USD';"
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
            .prices(&[query(&format!("C{number}-USD"))])
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
        let (status, body) = site.http_price(&format!("C{number}-USD"));
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
    let (_, body) = site.http_price("C20-USD");
    if body["status"] == "LIVE" {
        assert_eq!(body["cached"], true, "{body}");
    }
    site.assert_no_violations();
}

#[test]
fn an_answer_that_comes_too_late_for_its_reader_is_there_for_the_next() {
    let site = cold(1, 30_000);
    for sim in &site.sims {
        sim.fault(Fault::RestDelay(Duration::from_millis(400)));
    }
    let price = site.price("C0-USD");
    assert_eq!(price.status, PriceStatus::NoPrice, "{price:?}");
    // Explaining fetches nothing.
    let (_, took) = eventually("the late answers are in", || {
        let explained = site.explain("C0-USD");
        ok(explained["status"] == "LIVE" && explained["venues_used"] == 3).ok_or(explained)
    });
    eprintln!("warm after {took:?}");
    assert_eq!(
        (site.price("C0-USD").status, flights(&site)),
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
    let barrier = Barrier::new(READERS);
    let (http, key) = (site.server.http, site.server.demo_key_text());
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (barrier, key, mut client) = (&barrier, &key, site.client());
            scope.spawn(move || {
                barrier.wait();
                if reader % 4 == 0 {
                    let body = http::get(http, "/price?asset=C0-USD", Some(key)).json();
                    assert_eq!(body["status"], "NO_PRICE", "{body}");
                } else {
                    let price = client.prices(&[query("C0-USD")]).expect("answered").prices[0];
                    assert_eq!(price.status, PriceStatus::NoPrice);
                }
            });
        }
    });
    let flights = flights(&site);
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
        let price = client.prices(&[query("C20-USD")]).expect("answered").prices[0];
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
        let price = site.price("C20-USD");
        ok(price.status == PriceStatus::Live).ok_or(price)
    });
    site.assert_no_violations();
}

#[test]
fn ten_thousand_cold_tries_are_all_answered_once() {
    const TRIES: usize = 10_000;
    const SYMBOLS: usize = 1_000;
    const AT_ONCE: usize = 50;
    let site = cold(SYMBOLS, 200);
    for sim in &site.sims {
        sim.fault(Fault::RestDelay(Duration::from_millis(25)));
    }
    let key = site.server.demo_key();
    let mac = MacKeys::from_verifier(&key.verifier());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket.connect(site.server.udp).expect("connected");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    let (mut statuses, mut took) = (BTreeMap::<&str, usize>::new(), histogram());
    for batch in 0..TRIES / AT_ONCE {
        let session = batch as u32 + 1;
        let mut asked: HashMap<u32, Instant> = HashMap::new();
        for i in 0..AT_ONCE {
            let number = (batch * AT_ONCE + i) % SYMBOLS;
            let counter = i as u32 + 1;
            let head = RequestHead {
                key_id: key.key_id(),
                request_id: RequestId::new(session, counter),
                lane: counter as u8,
                clock_ns: clock::unix_nanos(),
            };
            let mut buffer = [0; MAX_DATAGRAM];
            let queries = [query(&format!("C{number}-USD"))];
            let datagram = encode_price_request(&mut buffer, head, &queries, &mac.request);
            asked.insert(counter, clock::monotonic());
            socket.send(datagram).expect("sent");
        }
        while !asked.is_empty() {
            let mut buffer = [0; MAX_DATAGRAM];
            let len = socket
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("{error}: {} open", asked.len()));
            let now = clock::monotonic();
            let view = ReplyView::parse(&buffer[..len]).expect("well-formed");
            assert!(view.verify(&mac.reply));
            let head = view.head();
            assert_eq!((head.code, head.request_id.session), (Code::Ok, session));
            let since = asked.remove(&head.request_id.counter).expect("answered once");
            took.saturating_record((now - since).as_micros() as u64);
            let status = PriceStatus::from_wire(view.entries()[0].status).expect("a status");
            *statuses.entry(status.name()).or_default() += 1;
        }
    }
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("set");
    assert!(
        socket.recv(&mut [0; MAX_DATAGRAM]).is_err(),
        "nobody is answered twice"
    );
    print(
        &format!("{TRIES} cold tries, {statuses:?}, {} flights", flights(&site)),
        &took,
    );
    assert!(
        statuses
            .keys()
            .all(|status| ["LIVE", "THIN", "STALE", "NO_PRICE"].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(statuses.values().sum::<usize>(), TRIES);
    assert!(statuses.contains_key("LIVE"), "{statuses:?}");
    let waits = |outcome| site.metric("trinity_miss_waits_total", &[("outcome", outcome)]);
    eprintln!(
        "fresh {}, nothing {}, deadline {}, not let wait {}",
        waits("fresh"),
        waits("nothing"),
        waits("deadline"),
        site.metric("trinity_miss_symbols_remembered_total", &[])
    );
    assert_eq!(site.metric("trinity_miss_requests_waiting", &[]), 0);
    site.assert_no_violations();
}
