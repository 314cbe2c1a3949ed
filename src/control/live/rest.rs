//! A venue's REST: asked in its pace, left alone when it asks for that.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::desk::{Desk, Ticker};
use super::facts::RestResult;
use super::http::{Http, RestFault};
use crate::control::supervise::random;
use crate::limits::FEED_REST_BURST;
use crate::market::feed::{Breaker, BreakerState};
use crate::market::quote::Quote;
use crate::market::venue::VenueId;
use crate::market::venue::dialect::{Admission, Dialect};

/// One venue's REST.
pub(super) struct Rest {
    venue: VenueId,
    dialect: &'static Dialect,
    base_url: String,
    http: Http,
    desk: Rc<RefCell<Desk>>,
    breaker: RefCell<Breaker>,
    /// When the venue's pace allows the next request, Unix nanoseconds.
    free_ns: Cell<u64>,
}

/// Why a ticker is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The stream is silent about it; there is no hurry.
    Poll,
    /// The stream is doubted.
    Probe {
        /// What it said last, which REST's own answers of meanwhile must not stand in for.
        said: Option<Quote>,
    },
    /// Somebody waits for it.
    Miss,
}

/// Rest that a venue gets which says 429 but not for how long.
const UNSAID_REST: Duration = Duration::from_secs(10);

impl Rest {
    pub(super) fn new(
        venue: VenueId,
        dialect: &'static Dialect,
        base_url: String,
        http: Http,
        desk: Rc<RefCell<Desk>>,
    ) -> Self {
        Self {
            venue,
            dialect,
            base_url,
            http,
            desk,
            breaker: RefCell::default(),
            free_ns: Cell::new(0),
        }
    }

    /// Whether it may be asked at all just now.
    pub(super) fn is_open(&self, now_ns: u64) -> bool {
        self.breaker.borrow().state(now_ns) != BreakerState::Open
    }

    /// When the pace allows the next request that is not urgent.
    pub(super) fn free_ns(&self) -> u64 {
        self.free_ns.get()
    }

    /// Asks for the ticker of an instrument and gives it to the desk. What cannot wait may run ahead
    /// of the venue's pace by a few.
    pub(super) async fn ticker(&self, instrument: &str, purpose: Purpose) -> Result<Ticker, RestResult> {
        let result = self.ask_ticker(instrument, purpose).await;
        let told = match &result {
            Ok(Ticker::Same | Ticker::Moved) => RestResult::Quote,
            Ok(Ticker::Nothing) => RestResult::Nothing,
            Ok(Ticker::Limited) => RestResult::Limited,
            Ok(Ticker::Garbled(_)) => RestResult::Refused,
            Err(result) => *result,
        };
        self.desk.borrow().facts(self.venue).rest[told as usize].add(1);
        result
    }

    async fn ask_ticker(&self, instrument: &str, purpose: Purpose) -> Result<Ticker, RestResult> {
        let now_ns = self.desk.borrow_mut().now_ns();
        let gap_ns = u64::try_from(self.dialect.rest_gap.as_nanos()).unwrap_or(u64::MAX);
        let ahead_ns = match purpose {
            Purpose::Poll => 0,
            Purpose::Probe { .. } | Purpose::Miss => FEED_REST_BURST * gap_ns,
        };
        if self.free_ns.get() > now_ns.saturating_add(ahead_ns) || !self.breaker.borrow_mut().admit(now_ns) {
            return Err(RestResult::NotAsked);
        }
        self.free_ns.set(self.free_ns.get().max(now_ns) + gap_ns);
        let path = (self.dialect.ticker_path)(instrument);
        let body = self.ask(Method::GET, &path, now_ns).await?;
        let mut desk = self.desk.borrow_mut();
        let ticker = desk.ticker(self.venue, instrument, &body, purpose, now_ns);
        if ticker == Ticker::Limited {
            let mut breaker = self.breaker.borrow_mut();
            breaker.told_to_rest(desk.now_ns(), UNSAID_REST);
            let facts = desk.facts(self.venue);
            facts.rest_open_until_ns.set(breaker.opens_at_ns());
            facts.trips.add(1);
        }
        Ok(ticker)
    }

    /// Asks for an address and a token to connect with.
    pub(super) async fn admission(&self, id: u64) -> Result<Admission, String> {
        let token = self.dialect.token.as_ref().ok_or("it gives no tokens")?;
        let now_ns = self.desk.borrow_mut().now_ns();
        if !self.breaker.borrow_mut().admit(now_ns) {
            return Err("its REST is left alone for now".to_owned());
        }
        let body = self
            .ask(Method::POST, token.path, now_ns)
            .await
            .map_err(|result| format!("no token: {}", result.name()))?;
        let admission = self.desk.borrow_mut().admission(self.venue, &body, id);
        let admission =
            admission.map_err(|invalid| format!("the token's answer is not understood: {invalid}"))?;
        // A token must not travel in the clear because of what an answer says.
        if self.base_url.starts_with("https:") && !admission.url.starts_with("wss:") {
            return Err("the token's answer names an address that is not encrypted".to_owned());
        }
        Ok(admission)
    }

    async fn ask(&self, method: Method, path: &str, now_ns: u64) -> Result<Bytes, RestResult> {
        let url = format!("{}{path}", self.base_url);
        let answer = self.http.ask(method, &url, now_ns).await;
        let now_ns = self.desk.borrow_mut().now_ns();
        let mut breaker = self.breaker.borrow_mut();
        let trips = breaker.trips();
        let result = match answer {
            Ok(body) => {
                breaker.succeeded();
                Ok(body)
            }
            // Banned already (418, Binance) or about to be.
            Err(RestFault::Status { status, rest, .. })
                if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::IM_A_TEAPOT)
                    || rest.is_some() =>
            {
                breaker.told_to_rest(now_ns, rest.unwrap_or(UNSAID_REST));
                Err(RestResult::Limited)
            }
            // An unknown instrument is 4xx at most venues: the venue works. Whoever is forbidden to
            // ask is banned (403: Bybit, firewalls) or in the wrong country (451), and must not go on.
            Err(RestFault::Status { status, body, .. })
                if status.is_client_error()
                    && !matches!(
                        status,
                        StatusCode::FORBIDDEN | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS
                    ) =>
            {
                breaker.succeeded();
                tracing::debug!(venue = %self.venue, %status, bytes = body.len(), "REST refused");
                Err(RestResult::Nothing)
            }
            Err(RestFault::Status { status, .. }) => {
                breaker.failed(now_ns, random());
                tracing::debug!(venue = %self.venue, %status, "REST refused");
                Err(RestResult::Refused)
            }
            Err(RestFault::Failed(why)) => {
                breaker.failed(now_ns, random());
                tracing::debug!(venue = %self.venue, why, "REST failed");
                Err(RestResult::Failed)
            }
            Err(RestFault::TimedOut) => {
                breaker.failed(now_ns, random());
                Err(RestResult::TimedOut)
            }
        };
        let tripped = breaker.trips() - trips;
        let until_ns = breaker.opens_at_ns();
        drop(breaker);
        let desk = self.desk.borrow();
        let facts = desk.facts(self.venue);
        facts.rest_open_until_ns.set(until_ns);
        facts.trips.add(tripped);
        if tripped > 0 {
            let seconds = until_ns.saturating_sub(now_ns) / 1_000_000_000;
            tracing::warn!(venue = %self.venue, seconds, "the venue's REST is left alone for now");
        }
        result
    }
}
