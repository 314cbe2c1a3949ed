//! The miss path over HTTP: a request whose price is not at hand waits in its worker while somebody
//! fetches it.
//!
//! The site's stand-in for the control plane is called by the worker itself when a flight starts,
//! so what happens does not depend on how fast the machine is.

mod http_support;

use std::net::Shutdown;

use http_support::{Site, eventually, get, post, price};
use trinity_beast::tables::prices::{PriceRecord, PriceWriter, SymbolIndex};
use trinity_protocol::{Code, PriceFlags};

const ETH: SymbolIndex = SymbolIndex(1);
const COLD: &str = "/price?asset=ETH-USD";

fn fetched() -> PriceRecord {
    PriceRecord {
        flags: PriceFlags::FETCHED,
        ..price(3)
    }
}

fn answers(writer: &mut PriceWriter) {
    writer.publish(ETH, fetched());
}

fn billed(site: Site) -> u64 {
    let rows = site.stop();
    let rows = rows.iter().filter(|row| row.outcome == Code::Ok);
    rows.map(|row| row.count).sum()
}

#[test]
fn a_cold_price_is_fetched_while_its_request_waits() {
    let site = Site::start_fetching(answers);
    let mut client = site.client();
    let got = client.ask(get(COLD));
    let json = got.json();
    assert_eq!((got.status, &json["status"]), (200, &"LIVE".into()));
    assert_eq!(json["cached"], false, "it was not at hand");
    assert_eq!(json["flag_names"], serde_json::json!(["fetched"]));
    let again = client.ask(get(COLD)).json();
    assert_eq!(again["flag_names"], serde_json::json!(["fetched"]));
    assert_eq!(again["cached"], true, "now it is at hand");
    let warm = client.ask(get("/price?asset=btc")).json();
    assert_eq!((&warm["status"], &warm["cached"]), (&"LIVE".into(), &true.into()));
    let misses = &site.counters[0].misses;
    assert_eq!(
        (misses.waited.get(), misses.fresh.get(), misses.waiting.get()),
        (1, 1, 0)
    );
    assert_eq!(billed(site), 3);
}

#[test]
fn a_batch_waits_for_what_it_misses() {
    let site = Site::start_fetching(answers);
    let got = site
        .client()
        .ask(post("{\"assets\":[\"btc\",\"nope\",\"ETH-USD\",\"eth-usd\"]}"));
    let json = got.json();
    let prices = json["prices"].as_array().expect("a list");
    let status: Vec<_> = prices.iter().map(|price| price["status"].clone()).collect();
    assert_eq!(status, ["LIVE", "UNKNOWN_SYMBOL", "LIVE"]);
    assert_eq!(site.misses.as_ref().expect("a board").flights(), 1);
    assert_eq!(billed(site), 1, "a batch is one request");
}

#[test]
fn a_venue_that_hangs_costs_the_deadline_and_no_more() {
    let site = Site::start_fetching(|_| {});
    let mut client = site.client();
    let got = client.ask(get(COLD));
    let json = got.json();
    assert_eq!((got.status, &json["status"]), (200, &"NO_PRICE".into()));
    assert_eq!(json["cached"], false);
    let waited_ms = json["latency_ms"].as_f64().expect("a number");
    eprintln!("answered after {waited_ms} ms");
    assert!(waited_ms >= 40.0, "it waited for the venue");
    assert_eq!(site.counters[0].misses.deadline.get(), 1);
    // Refused, then: nobody waits for it again.
    let board = site.misses.as_ref().expect("a board");
    board.finish(ETH, false, trinity_beast::clock::unix_nanos());
    assert_eq!(client.ask(get(COLD)).json()["status"], "NO_PRICE");
    assert_eq!(
        (board.flights(), site.counters[0].misses.remembered.get()),
        (1, 1)
    );
    assert_eq!(billed(site), 2);
}

#[test]
fn a_client_that_has_no_more_to_say_still_hears_what_it_waits_for() {
    let site = Site::start_fetching(|_| {});
    let mut client = site.client();
    client.send(get(COLD));
    client.stream.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(client.receive().expect("answered").json()["status"], "NO_PRICE");
    assert!(client.is_closed());
    assert_eq!(billed(site), 1);
}

#[test]
fn a_client_that_goes_away_leaves_nothing_waiting_for_ever() {
    let site = Site::start_fetching(|_| {});
    let mut client = site.client();
    client.send(get(COLD));
    let counters = std::sync::Arc::clone(&site.counters[0]);
    let misses = &counters.misses;
    eventually("the request waits", || misses.waited.get() == 1);
    drop(client);
    eventually("nobody waits any more", || misses.waiting.get() == 0);
    eventually("its connection is forgotten", || counters.open.get() == 0);
    assert_eq!(misses.deadline.get(), 1);
    assert_eq!(billed(site), 1, "it was answered, heard or not");
}

#[test]
fn a_stopping_worker_answers_those_who_wait() {
    let site = Site::start_fetching(|_| {});
    let mut client = site.client();
    client.send(get(COLD));
    let counters = std::sync::Arc::clone(&site.counters[0]);
    let misses = &counters.misses;
    eventually("the request waits", || misses.waited.get() == 1);
    site.begin_stop();
    let got = client.receive().expect("answered");
    assert_eq!((got.status, got.header("connection")), (200, Some("close")));
    assert_eq!(got.json()["status"], "NO_PRICE");
    assert_eq!(misses.stopped.get() + misses.deadline.get(), 1);
    assert_eq!(billed(site), 1);
}
