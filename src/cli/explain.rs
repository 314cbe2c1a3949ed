//! `explain`: asks a running server over HTTP why a price is what it is.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;
use trinity_protocol::Symbol;

use super::output::{Table, exact_time};
use super::query::{NO_PRICE, read_key};

/// Tell why a price is what it is: every venue's quote, and what became of it.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// A symbol, for example BTC-USD; aliases and lower case are understood
    #[arg(value_name = "SYMBOL")]
    symbol: String,
    /// Where the server answers HTTP
    #[arg(
        long,
        env = "TRINITY_HTTP_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    server: String,
    /// File that holds the API key [default: demo.key in the data directory]
    #[arg(long, env = "TRINITY_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Directory in which a local server keeps demo.key
    #[arg(long, env = "DATA_DIR", default_value = "./data", value_name = "DIR")]
    data_dir: PathBuf,
    /// How long the answer may take, milliseconds
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=600_000), value_name = "MS")]
    timeout_ms: u64,
    /// Print the server's JSON
    #[arg(long)]
    json: bool,
}

/// Longest answer that is read, bytes: many times what sixteen venues take.
const ANSWER_BYTES: usize = 1 << 20;

/// The answer, as far as it is shown to people.
#[derive(Debug, Deserialize)]
struct Explained {
    symbol: String,
    price: Option<String>,
    confidence: Option<String>,
    status: String,
    flag_names: Vec<String>,
    rule: String,
    rule_text: String,
    sequence: u32,
    publish_time_ns: Option<u64>,
    age_ms: Option<u64>,
    venues_used: u8,
    min_sources: u8,
    median: Option<String>,
    deviation: Option<String>,
    limit: Option<String>,
    held_candidate: Option<String>,
    venues: Vec<Venue>,
}

#[derive(Debug, Deserialize)]
struct Venue {
    #[serde(rename = "venue")]
    name: String,
    instrument: String,
    used: bool,
    reason: String,
    reason_text: String,
    weight: String,
    price: Option<String>,
    confidence: Option<String>,
    age_ms: Option<u64>,
    probation_left: u8,
    last_reject: Option<String>,
    quote: Option<Quote>,
    route: Option<Route>,
}

#[derive(Debug, Deserialize)]
struct Quote {
    bid: Option<String>,
    ask: Option<String>,
    last: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Route {
    symbol: String,
    price: Option<String>,
    status: String,
}

/// Runs the command; the explanation goes to `out`. The number is the exit code.
pub fn run(args: &ExplainArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let symbol = Symbol::from_any_case(&args.symbol).with_context(|| format!("symbol {:?}", args.symbol))?;
    let body = ask(args, symbol)?;
    let explained: Explained = serde_json::from_slice(&body)
        .context("the server's answer is not understood: is it of another version?")?;
    if args.json {
        // As it came: its members in their order, its decimals untouched.
        out.write_all(&body)?;
        writeln!(out)?;
    } else {
        write(&explained, out)?;
    }
    out.flush()?;
    Ok(if explained.price.is_some() { 0 } else { NO_PRICE })
}

fn ask(args: &ExplainArgs, symbol: Symbol) -> anyhow::Result<Bytes> {
    let fallback = args.data_dir.join("demo.key");
    let key = read_key(args.key_file.as_deref().unwrap_or(&fallback))?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
        .context("the API key does not fit a header")?;
    bearer.set_sensitive(true);
    let uri = uri(&args.server, symbol)?;
    let request = Request::get(uri.clone())
        .header(AUTHORIZATION, bearer)
        .body(Empty::<Bytes>::new())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the network runtime")?;
    let told = runtime.block_on(async {
        let roots = rustls::RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        let tls =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let exchange = async {
            let response = client.request(request).await.with_context(|| {
                format!("cannot reach {uri}: is the server running? Name its HTTP address with --server")
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("the answer of {uri} broke off: {error}"))?;
            anyhow::Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(Duration::from_millis(args.timeout_ms), exchange)
            .await
            .with_context(|| format!("{uri} did not answer within {} ms", args.timeout_ms))?
    });
    let (status, body) = told?;
    if status == StatusCode::OK {
        return Ok(body);
    }
    // A problem document says what to do (RFC 9457).
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = |member: &str| problem.get(member).and_then(Value::as_str);
    match (said("title"), said("detail")) {
        (Some(title), Some(detail)) => bail!("{title} ({}): {detail}", status.as_u16()),
        _ => bail!("{uri} answered {status}: is it a Trinity Beast server's HTTP port?"),
    }
}

/// The explanation's address. The symbol's slash, if it has one, is encoded.
fn uri(server: &str, symbol: Symbol) -> anyhow::Result<Uri> {
    let base = if server.contains("://") {
        server.to_owned()
    } else {
        format!("http://{server}")
    };
    let wrong = || format!("--server {server:?} is no URL such as http://127.0.0.1:8080");
    let host: Uri = base.parse().with_context(wrong)?;
    if !matches!(host.scheme_str(), Some("http" | "https")) || host.host().is_none_or(str::is_empty) {
        bail!(wrong());
    }
    let base = base.strip_suffix('/').unwrap_or(&base);
    let mut path = String::new();
    for character in symbol.as_str().chars() {
        match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '_' | '.' => path.push(character),
            // Symbols are ASCII, and writing to a String cannot fail.
            other => _ = write!(path, "%{:02X}", u32::from(other)),
        }
    }
    format!("{base}/price/{path}/explain").parse().with_context(wrong)
}

fn write(explained: &Explained, out: &mut dyn Write) -> anyhow::Result<()> {
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut facts = Table::of_fields();
    facts.row(["symbol", &explained.symbol]);
    let price = match (&explained.price, &explained.confidence) {
        (Some(price), Some(confidence)) => format!("{price} +/- {confidence}"),
        _ => "-".to_owned(),
    };
    facts.row(["price", &price]);
    facts.row([
        "status",
        &format!(
            "{}: {} ({})",
            explained.status, explained.rule_text, explained.rule
        ),
    ]);
    if let Some(candidate) = &explained.held_candidate {
        facts.row(["waiting", &format!("{candidate} awaits its confirmation")]);
    }
    facts.row([
        "venues",
        &format!(
            "{} used, at least {} wanted",
            explained.venues_used, explained.min_sources
        ),
    ]);
    let notes: Vec<_> = explained
        .flag_names
        .iter()
        .map(|name| name.replace('_', " "))
        .collect();
    if !notes.is_empty() {
        facts.row(["notes", &notes.join(", ")]);
    }
    if let (Some(published), Some(age_ms)) = (explained.publish_time_ns, explained.age_ms) {
        let text = format!(
            "{}, {} ago, sequence {}",
            exact_time(published),
            seconds(age_ms),
            explained.sequence
        );
        facts.row(["published", &text]);
    }
    if explained.median.is_some() {
        let text = format!(
            "{}, deviation {}, limit {}",
            dash(&explained.median),
            dash(&explained.deviation),
            dash(&explained.limit)
        );
        facts.row(["median", &text]);
    }
    facts.write(out)?;
    writeln!(out)?;
    let mut table = Table::new([
        "VENUE",
        "INSTRUMENT",
        "BID",
        "ASK",
        "LAST",
        "PRICE",
        "+/-",
        "AGE",
        "WEIGHT",
        "USED",
        "ROUTE",
        "WHY",
    ]);
    for venue in &explained.venues {
        venue.row(&mut table);
    }
    table.write(out)?;
    Ok(())
}

impl Venue {
    fn row(&self, table: &mut Table) {
        let dash = |text: Option<&String>| text.cloned().unwrap_or_else(|| "-".to_owned());
        let quote = self.quote.as_ref();
        let route = self.route.as_ref().map_or("direct".to_owned(), |route| {
            format!("{} {} {}", route.symbol, dash(route.price.as_ref()), route.status)
        });
        let mut why = if self.used {
            self.reason.clone()
        } else {
            self.reason_text.clone()
        };
        if self.probation_left > 0 {
            _ = write!(why, "; {} good quotes owed", self.probation_left);
        }
        if let Some(reason) = &self.last_reject {
            _ = write!(why, "; last refused quote: {}", reason.replace('_', " "));
        }
        table.row([
            &self.name,
            &self.instrument,
            &dash(quote.and_then(|quote| quote.bid.as_ref())),
            &dash(quote.and_then(|quote| quote.ask.as_ref())),
            &dash(quote.and_then(|quote| quote.last.as_ref())),
            &dash(self.price.as_ref()),
            &dash(self.confidence.as_ref()),
            &self.age_ms.map_or("-".to_owned(), seconds),
            if self.used { &self.weight } else { "-" },
            if self.used { "yes" } else { "no" },
            &route,
            &why,
        ]);
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(name: &str) -> Symbol {
        Symbol::from_any_case(name).expect("a symbol")
    }

    #[test]
    fn a_symbols_slash_is_encoded_and_a_bare_host_is_understood() {
        for (server, name, expected) in [
            (
                "http://127.0.0.1:8080",
                "btc/usd",
                "http://127.0.0.1:8080/price/BTC%2FUSD/explain",
            ),
            (
                "https://prices.example/",
                "BTC-USD",
                "https://prices.example/price/BTC-USD/explain",
            ),
            ("[::1]:8080", "btc", "http://[::1]:8080/price/BTC/explain"),
        ] {
            assert_eq!(uri(server, symbol(name)).expect("a URL").to_string(), expected);
        }
        for server in ["ftp://127.0.0.1", "http://", "http://a b", ""] {
            let error = uri(server, symbol("BTC")).expect_err("no URL").to_string();
            assert!(error.contains("such as http://"), "{error}");
        }
    }
}
