//! `GET /symbols`: what can be asked here.

use std::sync::Arc;

use bytes::Bytes;

use super::json::Json;
use crate::tables::prices::{PriceRecord, PriceTable, SymbolIndex, SymbolNames};

/// How long one rendering serves, nanoseconds. The page may be long and needs no key, so it
/// must not be work that anybody can cause at will.
const KEPT_NS: u64 = 1_000_000_000;

/// The list of symbols, with all that never changes prebuilt.
#[derive(Debug)]
pub struct Directory {
    /// What `heads` was built of.
    names: Arc<SymbolNames>,
    /// Per listed symbol in index order: an object's beginning, up to and without its status.
    heads: Vec<(SymbolIndex, Box<[u8]>)>,
    rendered: Option<(u64, Bytes)>,
}

impl Directory {
    /// Prebuilds the list.
    pub fn new(names: &Arc<SymbolNames>) -> Self {
        let mut aliases = vec![Vec::new(); names.names().len()];
        for (alias, SymbolIndex(index)) in names.aliases() {
            aliases[index as usize].push(alias);
        }
        let heads = names.listed().map(|(index, name)| {
            let aliases = &mut aliases[index.0 as usize];
            aliases.sort_unstable();
            let mut json = Json::with_capacity(64);
            json.open_object()
                .key("symbol")
                .string(name.as_str())
                .key("aliases")
                .open_array();
            for alias in aliases {
                json.string(alias.as_str());
            }
            json.close_array();
            (index, json.finish().into_boxed_slice())
        });
        Self {
            names: Arc::clone(names),
            heads: heads.collect(),
            rendered: None,
        }
    }

    /// The page, at most a second old, of the symbols that are listed now.
    pub fn page(&mut self, prices: &PriceTable, now_ns: u64) -> Bytes {
        if !Arc::ptr_eq(&self.names, prices.names()) {
            *self = Self::new(prices.names());
        }
        match &self.rendered {
            Some((at, page)) if now_ns.wrapping_sub(*at) < KEPT_NS => page.clone(),
            _ => {
                let page = self.render(prices, now_ns);
                self.rendered = Some((now_ns, page.clone()));
                page
            }
        }
    }

    fn render(&self, prices: &PriceTable, now_ns: u64) -> Bytes {
        let bytes: usize = self.heads.iter().map(|(_, head)| head.len() + 48).sum();
        let mut json = Json::with_capacity(bytes + 32);
        json.open_object().key("count").integer(self.heads.len() as u64);
        json.key("symbols").open_array();
        for (index, head) in &self.heads {
            let record = prices.read(*index).unwrap_or(PriceRecord::NONE);
            let status = record.status_at(now_ns, 0);
            json.raw(head).key("status").string(status.name());
            json.key("has_price").boolean(status.has_value()).close_object();
        }
        json.close_array().close_object();
        json.finish().into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use trinity_protocol::{PriceStatus, Symbol};

    use super::*;
    use crate::tables::prices::PriceWriter;

    #[test]
    fn the_list_names_aliases_and_tells_whether_a_price_is_there() {
        let symbol = |name| Symbol::new(name).expect("a symbol");
        let aliases = [(symbol("XBT"), SymbolIndex(0)), (symbol("BTC"), SymbolIndex(0))];
        let names = SymbolNames::new(vec![symbol("BTC-USD"), symbol("ETH-USD")], &aliases).expect("distinct");
        let names = Arc::new(names);
        let (mut writer, tables) = PriceWriter::new(&names, 1);
        let mut directory = Directory::new(&names);
        let second = 1_000_000_000;
        let mut at = |now_ns| -> Value {
            serde_json::from_slice(&directory.page(&tables[0].load(), now_ns)).expect("JSON")
        };
        let list = |status: &str, there: bool| {
            json!({"count": 2, "symbols": [
                {"symbol": "BTC-USD", "aliases": ["BTC", "XBT"], "status": status, "has_price": there},
                {"symbol": "ETH-USD", "aliases": [], "status": "NO_PRICE", "has_price": false},
            ]})
        };
        assert_eq!(at(10 * second), list("NO_PRICE", false));
        let live = PriceRecord {
            mantissa: 1,
            status: PriceStatus::Live,
            quality: PriceStatus::Live,
            age_origin_ns: 10 * second,
            max_age_ms: 60_000,
            hard_age_ms: 60_000,
            ..PriceRecord::NONE
        };
        writer.publish(SymbolIndex(0), live);
        assert_eq!(at(11 * second - 1), list("NO_PRICE", false), "kept for a second");
        assert_eq!(at(11 * second), list("LIVE", true));
        assert_eq!(
            at(5 * second),
            list("LIVE", true),
            "a clock that steps back does not freeze the page"
        );
    }

    #[test]
    fn the_list_follows_symbols_that_come_and_go() {
        let symbol = |name: &&str| Symbol::new(name).expect("a symbol");
        let list = |names: &[&str], retired: &[SymbolIndex]| {
            let names = names.iter().map(symbol).collect();
            Arc::new(SymbolNames::with_retired(names, &[], retired).expect("distinct"))
        };
        let first = list(&["A-USD", "B-USD"], &[]);
        let (mut writer, tables) = PriceWriter::new(&first, 1);
        let mut directory = Directory::new(&first);
        let mut at = |now_ns| -> Value {
            let page = directory.page(&tables[0].load(), now_ns);
            let page: Value = serde_json::from_slice(&page).expect("JSON");
            let symbols = page["symbols"].as_array().expect("a list").iter();
            symbols.map(|symbol| symbol["symbol"].clone()).collect()
        };
        assert_eq!(at(1), json!(["A-USD", "B-USD"]));
        writer
            .extend(&list(&["A-USD", "B-USD", "C-USD"], &[SymbolIndex(0)]))
            .expect("a continuation");
        assert_eq!(at(2), json!(["B-USD", "C-USD"]), "at once");
    }
}
