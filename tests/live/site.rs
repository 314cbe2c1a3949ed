//! A server and the venues it is fed by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use trinity_beast::clock;
use trinity_beast::control::symbols::seed;
use trinity_beast::market::SymbolTable;
use trinity_beast::store::{LEDGER_FILE, SqliteLedger};
use trinity_protocol::client::{Client, ClientConfig, SymbolPrice};
use trinity_protocol::{PriceQuery, Symbol};

use crate::sim::{VENUES, VenueSim, write_config};
use crate::support::http;
use crate::support::server::{Server, command};

/// Longest time anything may take; nothing is measured by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// How often a venue sends each of its quotes.
pub(crate) const RHYTHM: Duration = Duration::from_millis(250);

/// Symbols that most tests are about: bitcoin, ether, and the rates between what they are quoted in.
pub(crate) const FEW: [&str; 7] = [
    "USDT-USD",
    "USDC-USDT",
    "USDC-USD",
    "BTC-USD",
    "ETH-USD",
    "BTC-USDT",
    "ETH-USDT",
];

/// What an asset costs in US dollars here.
const DOLLARS: [(&str, f64); 13] = [
    ("USD", 1.0),
    ("USDT", 0.999_85),
    ("USDC", 1.000_02),
    ("BTC", 97_412.5),
    ("ETH", 3_412.25),
    ("SOL", 187.63),
    ("XRP", 2.1875),
    ("DOGE", 0.32145),
    ("ADA", 0.8724),
    ("LTC", 104.37),
    ("LINK", 22.415),
    ("AVAX", 38.724),
    ("DOT", 7.1264),
];

/// A server, its venues and its directory. The server ends first.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) sims: Vec<VenueSim>,
    key: String,
    dir: TempDir,
}

/// What a site is made of, before it runs.
pub(crate) struct Plan {
    sims: Vec<VenueSim>,
    dir: TempDir,
}

impl Plan {
    /// All ten venues.
    pub(crate) fn ten() -> Self {
        Self::of(&VENUES)
    }

    /// Simulators of these venues, over TLS, without a quote yet.
    pub(crate) fn of(venues: &[&str]) -> Self {
        Self {
            sims: venues.iter().map(|name| VenueSim::start(name, true)).collect(),
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Makes a ledger that offers only these of the program's own symbols.
    pub(crate) fn only(self, symbols: &[&str]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let ledger = SqliteLedger::open_or_create(self.dir.path()).await.expect("made");
            seed(&ledger, 1).await.expect("seeded");
        });
        let names: Vec<_> = symbols.iter().map(|name| format!("'{name}'")).collect();
        let names = names.join(",");
        self.sql(&format!(
            "UPDATE symbols SET retired_at_ns = 1 WHERE name NOT IN ({names})"
        ))
    }

    /// Changes the ledger.
    pub(crate) fn sql(self, text: &str) -> Self {
        let ledger = rusqlite::Connection::open(self.dir.path().join(LEDGER_FILE)).expect("opened");
        ledger.execute_batch(text).expect("the schema takes it");
        self
    }

    /// Quotes every market of these built-in symbols that a venue here has, and begins to move them.
    pub(crate) fn quoting(self, symbols: &[&str]) -> Self {
        for sim in &self.sims {
            quote_all(sim, symbols, 1.0);
            sim.auto(RHYTHM);
        }
        self
    }

    /// A venue.
    pub(crate) fn sim(&self, venue: &str) -> &VenueSim {
        find(&self.sims, venue)
    }

    /// The venues.
    pub(crate) fn sims(&self) -> &[VenueSim] {
        &self.sims
    }

    /// Starts the server.
    pub(crate) fn start(self) -> Site {
        let config = self.dir.path().join("venues.toml");
        write_config(&self.sims.iter().collect::<Vec<_>>(), &config);
        let server = serve(self.dir.path());
        let key = server.demo_key_text();
        Site {
            server,
            sims: self.sims,
            key,
            dir: self.dir,
        }
    }
}

fn serve(dir: &Path) -> Server {
    let config = dir.join("venues.toml").display().to_string();
    let flags = [
        "--market",
        "live",
        "--venues-config",
        &config,
        "--shards",
        "1",
        "--driver",
        "epoll",
    ];
    Server::start_in(dir, flags)
}

impl Site {
    /// Ten venues, the [`FEW`] symbols, all of it up.
    pub(crate) fn of_ten() -> Self {
        let site = Plan::ten().only(&FEW).quoting(&FEW).start();
        site.until_well();
        site
    }

    /// Starts the server anew in the same directory.
    pub(crate) fn restart(&mut self) {
        self.server = serve(self.dir.path());
    }

    /// Waits until all venues are up and vote on bitcoin, and bitcoin and its rates are live.
    pub(crate) fn until_well(&self) {
        eventually("every venue is up and votes", || {
            let up = self.sims.iter().map(|sim| self.up(sim.venue())).sum::<u64>();
            let price = self.price("BTC-USD");
            let votes = usize::from(price.venues);
            ok(up == self.sims.len() as u64 && price.status.name() == "LIVE" && votes == self.sims.len())
                .ok_or_else(|| format!("{up} up, {price:?}, {:?}", self.ready()))
        });
    }

    /// A venue.
    pub(crate) fn sim(&self, venue: &str) -> &VenueSim {
        find(&self.sims, venue)
    }

    /// The ledger.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.dir.path().join(LEDGER_FILE)
    }

    /// A UDP client.
    pub(crate) fn client(&self) -> Client {
        client_of(&self.server)
    }

    /// A price over UDP.
    pub(crate) fn price(&self, name: &str) -> SymbolPrice {
        self.client().prices(&[query(name)]).expect("answered").prices[0]
    }

    /// A price over HTTP: the status code and the body.
    pub(crate) fn http_price(&self, name: &str) -> (u16, Value) {
        let response = http::get(self.server.http, &format!("/price?asset={name}"), Some(&self.key));
        (response.status, response.json())
    }

    /// What `GET /symbols` says of a symbol, if it is listed.
    pub(crate) fn listed(&self, name: &str) -> Option<Value> {
        let page = http::get(self.server.http, "/symbols", Some(&self.key)).json();
        let symbols = page["symbols"].as_array().expect("a list");
        symbols.iter().find(|symbol| symbol["symbol"] == name).cloned()
    }

    /// Why a price is what it is.
    pub(crate) fn explain(&self, name: &str) -> Value {
        let path = format!("/price/{name}/explain");
        http::get(self.server.http, &path, Some(&self.key)).json()
    }

    /// A venue's part in a price.
    pub(crate) fn part(&self, name: &str, venue: &str) -> Value {
        let explained = self.explain(name);
        let venues = explained["venues"].as_array().expect("a list");
        let found = venues.iter().find(|part| part["venue"] == venue);
        found
            .unwrap_or_else(|| panic!("no {venue} in {explained}"))
            .clone()
    }

    /// Whether a venue is up.
    pub(crate) fn up(&self, venue: &str) -> u64 {
        self.metric("trinity_venue_up", &[("venue", venue)])
    }

    /// A venue's counter or gauge.
    pub(crate) fn of_venue(&self, name: &str, venue: &str) -> u64 {
        self.metric(&format!("trinity_venue_{name}"), &[("venue", venue)])
    }

    /// Connections of a venue that ended for a reason.
    pub(crate) fn ended(&self, venue: &str, reason: &str) -> u64 {
        let labels = [("venue", venue), ("reason", reason)];
        self.metric("trinity_venue_connections_ended_total", &labels)
    }

    /// Quotes of a venue that were turned away for a reason.
    pub(crate) fn rejected(&self, venue: &str, reason: &str) -> u64 {
        let labels = [("venue", venue), ("reason", reason)];
        self.metric("trinity_venue_quotes_rejected_total", &labels)
    }

    /// REST requests to a venue with a result.
    pub(crate) fn rest(&self, venue: &str, result: &str) -> u64 {
        let labels = [("venue", venue), ("result", result)];
        self.metric("trinity_venue_rest_requests_total", &labels)
    }

    /// Whether a venue's circuit is open on a side.
    pub(crate) fn circuit_open(&self, venue: &str, side: &str) -> bool {
        self.metric("trinity_venue_circuit_open", &[("venue", venue), ("side", side)]) == 1
    }

    /// The sum of the samples of a family that have all of these labels.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let page = http::get(self.server.ops, "/metrics", None).body;
        let labels: Vec<_> = labels.iter().map(|(n, v)| format!("{n}=\"{v}\"")).collect();
        let mut found = None;
        for line in page.lines() {
            let Some((sample, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let (family, given) = sample.split_once('{').unwrap_or((sample, ""));
            if family == name && labels.iter().all(|label| given.contains(label)) {
                *found.get_or_insert(0.0) += value.parse::<f64>().expect("a number");
            }
        }
        found.unwrap_or_else(|| panic!("no {name} with {labels:?} in\n{page}")) as u64
    }

    /// `/ready`: its status, and what its warnings and reasons say, by component.
    pub(crate) fn ready(&self) -> (u16, BTreeMap<String, String>) {
        let response = http::get(self.server.ops, "/ready", None);
        let body = response.json();
        let mut said = BTreeMap::new();
        for list in ["reasons", "warnings"] {
            for finding in body[list].as_array().into_iter().flatten() {
                let text = |member: &str| finding[member].as_str().unwrap_or_default().to_owned();
                said.insert(text("component"), text("reason"));
            }
        }
        (response.status, said)
    }

    /// A change by the `symbols` command.
    pub(crate) fn symbols(&self, verb: &str, words: &[&str]) {
        run_symbols(self.dir.path(), verb, words);
    }

    /// Nothing that a venue forbids was done to any.
    pub(crate) fn assert_no_violations(&self) {
        for sim in &self.sims {
            assert_eq!(sim.stats().violations, [], "{}", sim.venue());
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.server.said();
            let lines: Vec<_> = said.lines().collect();
            eprintln!(
                "the server's last words:\n{}",
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}

fn run_symbols(dir: &Path, verb: &str, words: &[&str]) {
    let mut command = command();
    command.args(["symbols", verb]).args(words);
    command.arg("--data-dir").arg(dir);
    let output = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "symbols {verb} {words:?}: {said}");
}

fn find<'s>(sims: &'s [VenueSim], venue: &str) -> &'s VenueSim {
    let found = sims.iter().find(|sim| sim.venue() == venue);
    found.unwrap_or_else(|| panic!("{venue} is no venue here"))
}

pub(crate) fn client_of(server: &Server) -> Client {
    let config = ClientConfig {
        timeout: Duration::from_secs(1),
        tries: 2,
    };
    Client::connect(server.udp, &server.demo_key(), config).expect("connected")
}

pub(crate) fn query(name: &str) -> PriceQuery {
    PriceQuery::new(Symbol::new(name).expect("a symbol"))
}

/// An asset's price in another.
pub(crate) fn cost(base: &str, quote: &str) -> Option<f64> {
    let dollars = |asset: &str| {
        let found = DOLLARS.iter().find(|(name, _)| *name == asset);
        found.map(|(_, price)| *price)
    };
    Some(dollars(base)? / dollars(quote)?)
}

/// Bid and ask about a price: six digits, and two steps of the last between them.
pub(crate) fn sides(middle: f64) -> [String; 2] {
    let decimals = (5 - middle.log10().floor() as i32).max(0) as usize;
    let step = 10_f64.powi(-(decimals as i32));
    [middle - step, middle + step].map(|price| format!("{price:.decimals$}"))
}

/// Quotes a venue's markets of these built-in symbols at what they cost, times `factor` for those
/// that are not stablecoins.
pub(crate) fn quote_all(sim: &VenueSim, symbols: &[&str], factor: f64) {
    let table = SymbolTable::builtin();
    for (_, market) in table.markets() {
        let symbol = table.symbol(market.symbol);
        if market.venue.name() != sim.venue() || !symbols.contains(&symbol.name.as_str()) {
            continue;
        }
        let Some(price) = cost(symbol.base.as_str(), symbol.quote.as_str()) else {
            continue;
        };
        let factor = if symbol.peg_bps.is_some() { 1.0 } else { factor };
        let [bid, ask] = sides(price * factor);
        sim.set_quote(&market.spellings[0], &bid, &ask);
    }
}

pub(crate) fn ok(holds: bool) -> Option<()> {
    holds.then_some(())
}

/// Asks until there is an answer, and tells how long it took; an error says how it stands.
pub(crate) fn eventually<T, E: std::fmt::Debug>(
    what: &str,
    mut ask: impl FnMut() -> Result<T, E>,
) -> (T, Duration) {
    let began = clock::monotonic();
    loop {
        match ask() {
            Ok(answer) => return (answer, began.elapsed()),
            Err(state) => assert!(began.elapsed() < PATIENCE, "waited in vain: {what}: {state:?}"),
        }
        sleep(Duration::from_millis(50));
    }
}
