//! Many datagrams at once.
//!
//! Each gets what it would have got alone. What is saved is work that is the same for several:
//! requests under one key that ask for as many symbols are a train, whose tags are verified and
//! signed side by side ([`trinity_protocol::MacKey::tag_train`]), whose key is looked up once and
//! whose limit is asked once. The order of requests under different keys, or of different lengths, is
//! free; that within a train is kept.
//!
//! What all requests need is done pass by pass, not request by request: the accesses of one pass
//! do not wait for one another, so the memory behind them is fetched side by side.

use trinity_protocol::auth::MAX_TRAIN;
use trinity_protocol::reply::write_reply_head;
use trinity_protocol::{Code, Kind, MAX_DATAGRAM, MIN_DATAGRAM, RequestView, TAG_LEN, datagram_len};

use super::{Answerer, AwaitedList, PeerBytes, Protocol, Reaction, may_ask, refusal, seconds};
use crate::limits::BATCH_MESSAGES;
use crate::tables::keys::KeyEntry;
use crate::tables::limiter::TrainGrant;
use crate::tables::meter::RowIndex;
use crate::tables::window::Sighting;

/// Datagrams of a batch, and the places for their replies.
#[derive(Debug)]
pub struct Batch<'b> {
    datagrams: [&'b [u8]; BATCH_MESSAGES],
    peers: [&'b PeerBytes; BATCH_MESSAGES],
    len: usize,
    /// Places of replies, one behind the other, so that replies which go to one peer can be sent
    /// as one piece.
    places: &'b mut [u8],
    /// Where each place begins, and the last one ends.
    starts: &'b [u32; BATCH_MESSAGES + 1],
}

/// What became of the datagrams of a batch.
#[derive(Debug)]
pub struct Outcomes {
    /// Bytes of each reply; 0 is silence.
    lens: [u16; BATCH_MESSAGES],
    rows: [Option<RowIndex>; BATCH_MESSAGES],
    /// A bit for each request that has to wait.
    waits: u64,
    /// What it waits for.
    awaited: Box<[AwaitedList]>,
}

/// The requests of a batch that are well-formed and name a key.
struct Keyed<'b> {
    views: [Option<RequestView<'b>>; BATCH_MESSAGES],
    /// Position of each in the batch.
    positions: [u8; BATCH_MESSAGES],
    /// Key id and number of entries: equal ones form a train.
    trains: [(u64, u8); BATCH_MESSAGES],
    len: usize,
}

const _: () = assert!(BATCH_MESSAGES <= MAX_TRAIN && BATCH_MESSAGES <= u64::BITS as usize);

/// Bytes of the place that the reply to a datagram of this length needs.
pub const fn reply_place(len: usize) -> usize {
    if len < MIN_DATAGRAM {
        0
    } else if len > MAX_DATAGRAM {
        MAX_DATAGRAM
    } else {
        len
    }
}

impl<'b> Batch<'b> {
    /// A batch without datagrams. `starts` must hold where the place of each datagram's reply
    /// begins in `places`; it has [`reply_place`] bytes of the datagram's length, and more places
    /// follow.
    pub const fn new(places: &'b mut [u8], starts: &'b [u32; BATCH_MESSAGES + 1]) -> Self {
        Self {
            datagrams: [&[]; BATCH_MESSAGES],
            peers: [super::NOBODY; BATCH_MESSAGES],
            len: 0,
            places,
            starts,
        }
    }

    /// Adds a datagram and who sent it.
    ///
    /// # Panics
    ///
    /// If the batch is full.
    #[inline]
    pub const fn push(&mut self, datagram: &'b [u8], peer: &'b PeerBytes) {
        self.datagrams[self.len] = datagram;
        self.peers[self.len] = peer;
        self.len += 1;
    }

    /// How many datagrams there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A datagram.
    pub fn datagram(&self, position: usize) -> &'b [u8] {
        self.datagrams[..self.len][position]
    }

    /// The place of its reply.
    #[inline]
    fn reply(&mut self, position: usize) -> &mut [u8] {
        &mut self.places[self.starts[position] as usize..self.starts[position + 1] as usize]
    }

    /// What the tag of its reply, of `len` bytes, covers.
    #[inline]
    fn signed(&self, position: usize, len: usize) -> &[u8] {
        let start = self.starts[position] as usize;
        &self.places[start..start + len - TAG_LEN]
    }
}

impl Default for Outcomes {
    fn default() -> Self {
        Self {
            lens: [0; BATCH_MESSAGES],
            rows: [None; BATCH_MESSAGES],
            waits: 0,
            awaited: vec![AwaitedList::EMPTY; BATCH_MESSAGES].into_boxed_slice(),
        }
    }
}

impl Outcomes {
    /// Bytes of the reply to a datagram; `None` is silence, for good or for now.
    #[inline]
    pub fn reply(&self, position: usize) -> Option<usize> {
        let len = usize::from(self.lens[position]);
        (len > 0).then_some(len)
    }

    /// Where the latency of a reply is to be added once it is sent.
    #[inline]
    pub fn row(&self, position: usize) -> Option<RowIndex> {
        self.rows[position]
    }

    /// The requests that have to wait, with what they wait for.
    pub fn waiting(&self) -> impl Iterator<Item = (usize, &AwaitedList)> {
        (0..BATCH_MESSAGES)
            .filter(|position| self.waits >> position & 1 == 1)
            .map(|position| (position, &self.awaited[position]))
    }

    /// How many have to wait.
    pub const fn waits(&self) -> usize {
        self.waits.count_ones() as usize
    }

    fn clear(&mut self, len: usize) {
        self.lens[..len].fill(0);
        self.rows[..len].fill(None);
        self.waits = 0;
    }
}

impl Answerer<'_> {
    /// Answers a batch, but for the datagrams whose bit is set in `skip`.
    ///
    /// [`Reaction::Wait`] becomes an entry of [`Outcomes::waiting`], and such a request counts as
    /// waiting from then on.
    pub fn answer_batch(&mut self, batch: &mut Batch<'_>, skip: u64, outcomes: &mut Outcomes) {
        outcomes.clear(batch.len);
        if !self.is_roomy(batch.len) {
            for position in (0..batch.len).filter(|position| skip >> position & 1 == 0) {
                let peer = batch.peers[position];
                let reaction = self.answer(batch.datagrams[position], peer, batch.reply(position));
                self.note(outcomes, position, reaction);
            }
            return;
        }
        let mut keyed = Keyed {
            views: [None; BATCH_MESSAGES],
            positions: [0; BATCH_MESSAGES],
            trains: [(0, 0); BATCH_MESSAGES],
            len: 0,
        };
        for position in (0..batch.len).filter(|position| skip >> position & 1 == 0) {
            let datagram = batch.datagrams[position];
            let answer = match RequestView::parse(datagram) {
                Ok(view) if view.kind() != Kind::Ping => {
                    keyed.push(position, view);
                    continue;
                }
                Ok(view) => self.answer_ping(&view, batch.reply(position)),
                Err(refusal) => self.answer_malformed(refusal, datagram, batch.reply(position)),
            };
            self.note(outcomes, position, answer.into());
        }
        let mut groups = std::mem::take(&mut self.scratch.groups);
        groups.arrange(&keyed.trains[..keyed.len], spread, |_| BATCH_MESSAGES);
        // A pass of its own: with many keys each of them is far away.
        let mut found = [None; BATCH_MESSAGES];
        let keys = self.keys;
        for (group, key) in found[..groups.len()].iter_mut().enumerate() {
            let first = groups.get(group)[0];
            *key = keys.find(keyed.view(first).key_id());
        }
        for (group, key) in found[..groups.len()].iter().enumerate() {
            self.answer_group(*key, groups.get(group), &keyed, batch, outcomes);
        }
        self.scratch.groups = groups;
    }

    /// Whether no request of a batch can be in need of a row, or of a place to wait in, that is
    /// not there.
    fn is_roomy(&self, requests: usize) -> bool {
        let waits = self
            .misses
            .as_ref()
            .is_none_or(|misses| misses.waiting + requests <= misses.room);
        waits && self.meter.has_room(requests + self.kept_rows())
    }

    fn answer_group(
        &mut self,
        key: Option<&KeyEntry>,
        members: &[u8],
        keyed: &Keyed<'_>,
        batch: &mut Batch<'_>,
        outcomes: &mut Outcomes,
    ) {
        let usable = key.filter(|key| key.is_usable(self.now_ns));
        let (Some(key), [_, _, ..]) = (usable, members) else {
            for member in members {
                let position = keyed.position(*member);
                let (peer, view) = (batch.peers[position], keyed.view(*member));
                let reaction = self.answer_keyed(key, peer, view, batch.reply(position));
                self.note(outcomes, position, reaction);
            }
            return;
        };
        if let Some(what) = self.budgets.shed(self.pressure, key, self.now_ns) {
            for member in members {
                let position = keyed.position(*member);
                let answer = self.shed(what, key, keyed.view(*member), batch.reply(position));
                self.note(outcomes, position, answer.into());
            }
            return;
        }
        let right = keyed.verify(key, members);
        let may_ask = if key.allowed.is_restricted() {
            keyed.may_ask(key, members, batch)
        } else {
            u64::MAX
        };
        let mut at = 0;
        while at < members.len() {
            let run = self.run(&members[at..], (right & may_ask) >> at, keyed);
            if run > 1 {
                self.answer_run(key, &members[at..at + run], keyed, batch, outcomes);
                at += run;
                continue;
            }
            let (view, position) = (keyed.view(members[at]), keyed.position(members[at]));
            let reply = batch.reply(position);
            let reaction = if right >> at & 1 == 1 {
                self.answer_proven(key, may_ask >> at & 1 == 1, view, reply)
            } else {
                self.unsigned(Code::Unauthenticated, view.request_id(), reply)
                    .into()
            };
            self.note(outcomes, position, reaction);
            at += 1;
        }
    }

    /// How many of these requests, from the first on, are good (proven, and may be asked), in place,
    /// of one session, and rise.
    fn run(&self, members: &[u8], good: u64, keyed: &Keyed<'_>) -> usize {
        let mut last = None;
        members
            .iter()
            .enumerate()
            .take_while(|(i, member)| {
                let view = keyed.view(**member);
                let id = view.request_id();
                let rises =
                    last.is_none_or(|(session, counter)| session == id.session && counter < id.counter);
                last = Some((id.session, id.counter));
                rises && good >> i & 1 == 1 && self.out_of_place(true, view).is_none()
            })
            .count()
    }

    /// Answers a run of two or more requests.
    fn answer_run(
        &mut self,
        key: &KeyEntry,
        members: &[u8],
        keyed: &Keyed<'_>,
        batch: &mut Batch<'_>,
        outcomes: &mut Outcomes,
    ) {
        let first = keyed.view(members[0]);
        let id = first.request_id();
        let sighting = self.windows.look(key.key_id, &key.state, id, self.now_ns);
        let slot = match sighting {
            Sighting::New(slot) if self.windows.is_beyond(slot, id.counter) => slot,
            // A repeat, or one that comes late: each has to be looked at.
            _ => {
                let position = keyed.position(members[0]);
                let reaction = self.answer_sighted(key, sighting, first, batch.reply(position));
                self.note(outcomes, position, reaction);
                for member in &members[1..] {
                    let position = keyed.position(*member);
                    let reaction = self.answer_proven(key, true, keyed.view(*member), batch.reply(position));
                    self.note(outcomes, position, reaction);
                }
                return;
            }
        };
        let wanted = members.len() as u32;
        let grant = key
            .state
            .acquire_train(&key.limits, self.now_ns, self.month_left_ms, wanted);
        let (granted, refused) = members.split_at(grant.granted());
        for member in granted {
            self.windows.count(slot, keyed.view(*member).request_id().counter);
        }
        self.answer_granted(key, granted, &grant, keyed, batch, outcomes);
        if let Some(exceeded) = grant.refused() {
            let (code, told) = refusal(exceeded);
            for member in refused {
                let position = keyed.position(*member);
                let answer = self.refuse(key, code, told, keyed.view(*member), batch.reply(position));
                self.note(outcomes, position, Reaction::Reply(answer));
            }
        }
    }

    /// Answers the part of a run that was granted.
    fn answer_granted(
        &mut self,
        key: &KeyEntry,
        members: &[u8],
        grant: &TrainGrant,
        keyed: &Keyed<'_>,
        batch: &mut Batch<'_>,
        outcomes: &mut Outcomes,
    ) {
        let Some(first) = members.first() else { return };
        let entries = keyed.view(*first).entries().len();
        for (i, member) in members.iter().enumerate() {
            self.find_symbols(i * entries, keyed.view(*member));
        }
        let mut missed = 0_u64;
        for (i, member) in members.iter().enumerate() {
            let reply = batch.reply(keyed.position(*member));
            let misses = self.write_prices(i * entries, keyed.view(*member), reply);
            missed |= u64::from(misses) << i;
        }
        let mut waits = 0_u64;
        if missed != 0 && self.misses.is_some() {
            for (i, member) in members.iter().enumerate().filter(|(i, _)| missed >> i & 1 == 1) {
                let position = keyed.position(*member);
                if self.must_wait(i * entries, keyed.view(*member), batch.reply(position)) {
                    waits |= 1 << i;
                    self.note(outcomes, position, Reaction::Wait);
                }
            }
        }
        let answered = || members.iter().enumerate().filter(|(i, _)| waits >> i & 1 == 0);
        let second = seconds(self.now_ns);
        for (i, member) in answered() {
            let reply = batch.reply(keyed.position(*member));
            self.bill(i * entries, key, keyed.view(*member), second, reply);
        }
        let count = members.len() - waits.count_ones() as usize;
        if count == 0 {
            return;
        }
        let row = self
            .meter
            .requests(key.key_id, second, Protocol::Udp, Code::Ok, count as u64);
        let len = datagram_len(entries);
        for (i, member) in answered() {
            let position = keyed.position(*member);
            let head = self.head(Code::Ok, grant.allowance(i), keyed.view(*member).request_id());
            write_reply_head(batch.reply(position), Kind::PriceReply, entries, head);
            outcomes.lens[position] = len as u16;
            outcomes.rows[position] = row;
        }
        self.counters.replied(Code::Ok, count);
        let mut signed: [&[u8]; BATCH_MESSAGES] = [&[]; BATCH_MESSAGES];
        for (place, (_, member)) in signed.iter_mut().zip(answered()) {
            *place = batch.signed(keyed.position(*member), len);
        }
        let mut tags = [[0; TAG_LEN]; BATCH_MESSAGES];
        key.reply.tag_train(&signed[..count], &mut tags);
        for (tag, (_, member)) in tags.iter().zip(answered()) {
            batch.reply(keyed.position(*member))[len - TAG_LEN..len].copy_from_slice(tag);
        }
    }

    /// Notes what became of a datagram.
    #[inline]
    fn note(&mut self, outcomes: &mut Outcomes, position: usize, reaction: Reaction) {
        match reaction {
            Reaction::Silence => {}
            Reaction::Reply(answer) => {
                outcomes.lens[position] = answer.len as u16;
                outcomes.rows[position] = answer.row;
            }
            Reaction::Wait => {
                if let Some(misses) = &mut self.misses {
                    outcomes.awaited[position] = *misses.awaited;
                    outcomes.waits |= 1 << position;
                    misses.waiting += 1;
                }
            }
        }
    }
}

impl<'b> Keyed<'b> {
    #[inline]
    fn push(&mut self, position: usize, view: RequestView<'b>) {
        self.trains[self.len] = (view.key_id().0, view.entries().len() as u8);
        self.positions[self.len] = position as u8;
        self.views[self.len] = Some(view);
        self.len += 1;
    }

    #[inline]
    fn view(&self, member: u8) -> &RequestView<'b> {
        self.views[usize::from(member)]
            .as_ref()
            .expect("members are among those pushed")
    }

    #[inline]
    fn position(&self, member: u8) -> usize {
        usize::from(self.positions[usize::from(member)])
    }

    /// Which of the members bear their key's tags: bit `i` is the `i`-th.
    fn verify(&self, key: &KeyEntry, members: &[u8]) -> u64 {
        let mut signed: [&[u8]; BATCH_MESSAGES] = [&[]; BATCH_MESSAGES];
        let mut tags = [&[0; TAG_LEN]; BATCH_MESSAGES];
        for ((signed, tag), member) in signed.iter_mut().zip(&mut tags).zip(members) {
            let view = self.view(*member);
            (*signed, *tag) = (view.signed(), view.tag());
        }
        key.request
            .verify_train(&signed[..members.len()], &tags[..members.len()])
    }

    /// Which of the members come from where their key may be used: bit `i` is the `i`-th. They come
    /// from one sender mostly, so it is not looked at again as long as it is the same.
    #[cold]
    fn may_ask(&self, key: &KeyEntry, members: &[u8], batch: &Batch<'_>) -> u64 {
        let (mut bits, mut last) = (0, None);
        for (i, member) in members.iter().enumerate() {
            let peer = batch.peers[self.position(*member)];
            let may = match last {
                Some((known, may)) if known == peer => may,
                _ => may_ask(key, peer),
            };
            last = Some((peer, may));
            bits |= u64::from(may) << i;
        }
        bits
    }
}

fn spread((key_id, entries): &(u64, u8)) -> usize {
    ((key_id ^ u64::from(*entries) << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
}
