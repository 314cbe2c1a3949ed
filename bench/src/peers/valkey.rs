//! valkey-server: one thread, nothing written to disk, prices as values.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::instance::Instance;
use super::stock::Stock;
use super::stream::Exchanges;

/// Starts one that holds the stock.
pub(crate) fn start(program: &Path, stock: &Stock, cpu: usize) -> anyhow::Result<Instance> {
    let instance = Instance::start("valkey", cpu, |port, folder| {
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--io-threads", "1", "--daemonize", "no"]);
        command.args(["--port", &port.to_string(), "--dir"]).arg(folder);
        Ok(command)
    })?;
    let mut fill = Exchanges::default();
    for (key, value) in stock.entries() {
        fill.push(command(&["SET", key, value]).as_bytes(), b"+OK\r\n");
    }
    fill.do_once(instance.address)?;
    Ok(instance)
}

/// GET of one key each.
pub(crate) fn get(stock: &Stock) -> Exchanges {
    let mut exchanges = Exchanges::default();
    for (key, value) in stock.entries() {
        exchanges.push(command(&["GET", key]).as_bytes(), bulk(value).as_bytes());
    }
    exchanges
}

/// MGET of several keys each.
pub(crate) fn mget(stock: &Stock, keys: usize) -> Exchanges {
    let mut exchanges = Exchanges::default();
    for group in stock.groups(keys) {
        let names = group.iter().map(|(key, _)| key.as_str());
        let words: Vec<_> = std::iter::once("MGET").chain(names).collect();
        let values: String = group.iter().map(|(_, value)| bulk(value)).collect();
        let reply = format!("*{}\r\n{values}", group.len());
        exchanges.push(command(&words).as_bytes(), reply.as_bytes());
    }
    exchanges
}

/// A command as RESP2 writes it.
fn command(words: &[&str]) -> String {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}", bulk(word));
    }
    text
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
