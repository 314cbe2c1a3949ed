//! The text of prices, kept until they change: most requests between two changes of a price get
//! the same text but for its age.

use trinity_protocol::{PriceEntry, Symbol};

use super::json::Json;
use super::price::{PRICE_BYTES, Quoted};
use crate::limits::HTTP_RENDERED;

/// The last text of some symbols; those whose indexes collide take turns.
#[derive(Debug)]
pub(super) struct Rendered {
    /// What all texts say of where prices come from.
    source: String,
    places: Box<[Place]>,
}

#[derive(Clone, Debug)]
struct Place {
    /// What the text was made of; `None` if there is none.
    of: Option<(Symbol, PriceEntry)>,
    text: Vec<u8>,
}

impl Default for Rendered {
    fn default() -> Self {
        let empty = Place {
            of: None,
            text: Vec::new(),
        };
        Self {
            source: String::new(),
            places: vec![empty; HTTP_RENDERED].into_boxed_slice(),
        }
    }
}

impl Rendered {
    /// What [`Quoted::write_price`] writes of a known symbol behind another member.
    pub(super) fn price(&mut self, quoted: &Quoted<'_>, source: &str) -> &[u8] {
        debug_assert!(!quoted.awaited, "it would be told to others");
        if self.source != source {
            source.clone_into(&mut self.source);
            for place in &mut self.places {
                place.of = None;
            }
        }
        let Some((index, symbol)) = quoted.symbol else {
            return &[];
        };
        let place = &mut self.places[index.0 as usize & (HTTP_RENDERED - 1)];
        let of = Some((symbol, quoted.entry));
        if place.of != of {
            let mut text = std::mem::take(&mut place.text);
            text.reserve(PRICE_BYTES.saturating_sub(text.len()));
            let mut json = Json::continuing(text);
            quoted.write_price(&mut json, source);
            place.text = json.finish();
            place.of = of;
        }
        &place.text
    }
}
