//! The link: what the vendor streams, how it is disturbed, and what the service makes of it.

use crate::acts;
use crate::plan::{DAY, Fault, Kind, S};
use crate::service::Socket;
use crate::vendor::{self, TROUBLES, decimal};
use crate::world::{Delivery, Fate, Happens, World};
use bytes::Bytes;
use candela::domain::model::{Decoded, Event as Told, Input, InputKind, JournalEntry, Symbol, Timestamp};
use candela::domain::pipeline::Boundary;
use candela::domain::vendor::{Effect, Event, Frame, Purpose, Refusal, Trouble, trouble::classify, wire};
use std::time::Duration;

impl World {
    /// The market makes a price; the vendor streams it to whoever listens.
    #[expect(
        clippy::too_many_lines,
        reason = "one step a fault of a price, to be read from top to bottom"
    )]
    pub(crate) fn quote(&mut self, pair: usize, i: usize) {
        let quote = self.vendor.record[pair][i];
        if let Some(next) = self.vendor.record[pair].get(i + 1) {
            self.at(next.at * S, Happens::Quote(pair, i + 1));
        }
        if !self.streaming.get(pair).copied().unwrap_or(false) {
            return;
        }
        let thing = acts::price(pair, i);
        let muted = self.acting_on(Fault::LinkMute, None, thing).is_some()
            || self.acting_on(Fault::LinkNoPrices, Some(pair), thing).is_some();
        if muted {
            return;
        }
        let symbol = self.plan.pairs[pair].symbol;
        let text = |stamp: i64, price: i64| vendor::frame(symbol.as_str(), stamp, &decimal(price));
        let (mut stamp, mut delay) = (quote.at, self.rng.i64(10..400));
        if let Some(late) = self.acting_on(Fault::TickLate, Some(pair), thing) {
            delay += i64::try_from(late.roll % 400_000).unwrap_or(0);
        }
        if let Some(ahead) = self.acting_on(Fault::TickAhead, Some(pair), thing) {
            stamp += i64::try_from(ahead.roll % 45).unwrap_or(0);
        }
        if self.lasting(Fault::TickReordered, Some(pair)).is_some() && self.rng.bool() {
            let _felt = self.acting_on(Fault::TickReordered, Some(pair), thing);
            delay += self.rng.i64(1_000..9_000);
        }
        if self.lasting(Fault::PriceUnusable, Some(pair)).is_some() && self.rng.bool() {
            let _felt = self.acting_on(Fault::PriceUnusable, Some(pair), thing);
            let roll = 8 + self.rng.u64(..5);
            let odd = vendor::odd(symbol.as_str(), stamp, quote.price, roll);
            return self.send(
                delay,
                Delivery {
                    text: odd,
                    pair,
                    seen: None,
                    fate: Fate::Bad,
                },
            );
        }
        let seen = Some((symbol, stamp, quote.price));
        self.send(
            delay,
            Delivery {
                text: text(stamp, quote.price),
                pair,
                seen,
                fate: Fate::Good,
            },
        );
        if self.acting_on(Fault::TickRepeated, Some(pair), thing).is_some() {
            self.send(
                delay,
                Delivery {
                    text: text(stamp, quote.price),
                    pair,
                    seen: None,
                    fate: Fate::Open,
                },
            );
        }
        if self.lasting(Fault::PriceSpike, Some(pair)).is_some() && self.rng.u8(..3) == 0 {
            let _felt = self.acting_on(Fault::PriceSpike, Some(pair), thing);
            let price = quote.price * self.rng.i64(3..40);
            self.send(
                delay,
                Delivery {
                    text: text(stamp, price),
                    pair,
                    seen: None,
                    fate: Fate::Bad,
                },
            );
        }
        if self.acting_on(Fault::TickFuture, Some(pair), thing).is_some() {
            let stamp = stamp + self.rng.i64(130..4_000);
            self.send(
                delay,
                Delivery {
                    text: text(stamp, quote.price),
                    pair,
                    seen: Some((symbol, stamp, quote.price)),
                    fate: Fate::Ahead(stamp),
                },
            );
        }
        if self.plan.pairs[pair].kind == Kind::Colombia
            && self.acting_on(Fault::TickOffSession, Some(pair), thing).is_some()
        {
            let stamp = stamp - 12 * 3_600;
            self.send(
                delay,
                Delivery {
                    text: text(stamp, quote.price),
                    pair,
                    seen: None,
                    fate: Fate::Bad,
                },
            );
        }
    }

    /// One frame on the socket that is open.
    pub(crate) fn send(&mut self, delay_ms: i64, delivery: Delivery) {
        if let Some(number) = self.service.as_ref().map(|service| service.socket.number) {
            self.at(self.now + delay_ms * 1_000, Happens::Frame(number, delivery));
        }
    }

    /// A text frame arrives: the same steps as the feed takes.
    pub(crate) fn frame(&mut self, socket: u64, delivery: &Delivery) {
        let now = self.market();
        let Some(service) = self.service.as_mut().filter(|service| {
            service.socket
                == Socket {
                    number: socket,
                    open: true,
                }
        }) else {
            return;
        };
        let bytes = Bytes::from(delivery.text.clone());
        let Ok(frame) = wire::decode(&bytes, now) else {
            let heard = Input {
                at: now,
                what: InputKind::Frame(bytes),
            };
            service.decide(heard, Decoded::Nothing);
            return self.link_on(Event::Garbled);
        };
        if let Frame::Price(tick) = &frame {
            let steady = u64::try_from(self.now - self.plan.begins * S).unwrap_or(0);
            service.time.witness(tick.at, Duration::from_micros(steady));
        }
        self.link_on(Event::Heard(&frame));
        self.tell_served();
        let says = match frame {
            Frame::Price(tick) => Decoded::Price(tick),
            Frame::Rounded(tick) => Decoded::Rounded(tick),
            Frame::Unusable(unusable) => Decoded::Unusable(unusable),
            _ => Decoded::Nothing,
        };
        if let Some(seen) = delivery.seen {
            *self.told.delivered.entry(seen).or_default() += 1;
        }
        let Some(service) = self.service.as_mut() else { return };
        let decided = service.decide_and_see(
            Input {
                at: now,
                what: InputKind::Frame(bytes),
            },
            says,
        );
        self.judge_fate(delivery, &decided);
    }

    /// Whether became of a price what has to become of it.
    fn judge_fate(&mut self, delivery: &Delivery, decided: &[JournalEntry]) {
        let accepted = decided.iter().filter_map(|entry| match entry {
            JournalEntry::Event(numbered) => match &numbered.event {
                Told::Tick(accepted) => Some((
                    accepted.tick.symbol,
                    accepted.tick.at.secs(),
                    accepted.tick.price.micros(),
                )),
                _ => None,
            },
            _ => None,
        });
        let accepted: Vec<_> = accepted.collect();
        match (delivery.fate, delivery.seen) {
            (Fate::Good, Some(seen)) if !accepted.contains(&seen) && self.is_expected(delivery.pair, seen.1) => {
                let aside = self
                    .service
                    .as_ref()
                    .map(|service| service.pipeline.counts().ticks_set_aside.clone());
                self.violated(format!("a good price was not accepted: {seen:?}; set aside: {aside:?}"));
            }
            // A process that was paused reads it when its time has come.
            (Fate::Ahead(stamp), _) if stamp <= self.now.div_euclid(S) + 60 => {}
            (Fate::Bad | Fate::Ahead(_), _) if !accepted.is_empty() && !self.told.clock_moved => {
                self.violated(format!(
                    "a price that cannot be one was accepted: {} became {accepted:?}",
                    delivery.text
                ));
            }
            _ => {}
        }
    }

    /// Whether a price of this stamp belongs to a session, by the model's own calendar, and nothing makes that doubtful.
    fn is_expected(&self, pair: usize, stamp: i64) -> bool {
        let plan = &self.plan.pairs[pair];
        let place = if plan.boundary == Boundary::Closes && stamp % 60 == 0 {
            stamp - 1
        } else {
            stamp
        };
        let day = |day: i64| {
            self.told
                .corrected
                .get(&(pair, day))
                .copied()
                .or_else(|| plan.session(day))
        };
        let today = stamp.div_euclid(86_400);
        // Where sessions follow each other, the next one opens when the bars of the last one are closed, two seconds later.
        let bars_closed = 2 * S + S / 10;
        let around = || (-2..=2).filter_map(|i| day(today + i));
        let follows = |opens: i64| around().any(|(_, closes)| closes == opens);
        let is_followed = |closes: i64| around().any(|(opens, _)| opens == closes);
        let inside = around().any(|(opens, closes)| {
            let from = opens * S + if follows(opens) { bars_closed } else { 0 };
            let to = closes * S + if is_followed(closes) { S } else { 600 * S };
            opens <= place && place < closes && from <= self.now && self.now <= to
        });
        let doubtful = self.told.clock_moved || self.told.corrected.keys().any(|(of, _)| *of == pair);
        inside && !doubtful
    }

    /// Tells the link, and does what it says, as the feed does.
    pub(crate) fn link_on(&mut self, event: Event<'_>) {
        let now = self.market();
        let jitter = self.rng.f64();
        let Some(service) = self.service.as_mut() else { return };
        for effect in service.link.on(event, now, jitter) {
            self.link_act(effect, now);
        }
    }

    /// The same, for the socket with this number.
    pub(crate) fn link_of(&mut self, socket: u64, event: Event<'_>) {
        let current = self.service.as_ref().is_some_and(|service| {
            service.socket
                == Socket {
                    number: socket,
                    open: true,
                }
        });
        if current {
            self.link_on(event);
        }
    }

    fn link_act(&mut self, effect: Effect, now: Timestamp) {
        match effect {
            Effect::Connect => self.connect(now),
            Effect::Disconnect => self.disconnect(),
            Effect::Send(text) => self.vendor_hears(&text),
            Effect::Ping => {
                let number = self.service.as_ref().map_or(0, |service| service.socket.number);
                if self.acting(Fault::LinkMute, None).is_none() {
                    self.after((20, 300), Happens::Pong(number));
                }
            }
            Effect::Tell(change) => {
                if let Some(service) = self.service.as_mut() {
                    service.tell_link(change, now);
                }
            }
            Effect::KeyFailed(trouble) => self.key_failed(trouble, None, now),
            Effect::StayAway { trouble, wait } => self.key_failed(trouble, wait, now),
            Effect::SymbolsRefused(_) => {}
        }
    }

    fn key_failed(&mut self, trouble: Trouble, wait: Option<Duration>, now: Timestamp) {
        let Some(service) = self.service.as_mut() else { return };
        if let Some(key) = service.key {
            service.pool.note_refusal(key, Purpose::Link, trouble, wait, now);
        }
    }

    fn connect(&mut self, now: Timestamp) {
        self.sockets += 1;
        self.streaming = vec![false; self.plan.pairs.len()];
        let number = self.sockets;
        let Some(service) = self.service.as_mut() else { return };
        service.socket = Socket { number, open: false };
        service.told_served = false;
        match service.pool.acquire(Purpose::Link, 0, now) {
            Ok(key) => {
                service.key = Some(key);
                let refused = self.acting(Fault::LinkRefused, None).map(|planned| {
                    let roll = usize::try_from(planned.roll % 10).unwrap_or(0);
                    TROUBLES.get(roll).map_or((0, ""), |(_, code, said)| (*code, *said))
                });
                self.after((20, 400), Happens::Handshake(number, refused));
            }
            Err(refused) => {
                service.key = None;
                self.link_on(Event::NoKey(refused.at));
            }
        }
    }

    pub(crate) fn handshaken(&mut self, socket: u64, refused: Option<(u16, &'static str)>) {
        let now = self.market();
        let (true_now, Some(service)) = (self.now, self.service.as_mut()) else {
            return;
        };
        if (service.socket
            != Socket {
                number: socket,
                open: false,
            })
        {
            return;
        }
        if let Some(key) = service.key {
            self.vendor.handshake(key, true_now);
            service.pool.handshaken(key, now);
        }
        match refused {
            None => {
                service.socket.open = true;
                self.link_on(Event::Opened);
            }
            Some((0, _)) => self.link_on(Event::Lost("connect_failed".to_owned())),
            Some((code, said)) => {
                let spent = classify(code, said) == Trouble::DaySpent;
                if let Some(key) = service.key.filter(|_| spent) {
                    self.vendor.accounts.entry(key).or_default().spent_on = Some(true_now.div_euclid(DAY * S));
                }
                let refusal = Refusal {
                    trouble: classify(code, said),
                    code,
                    message: said.to_owned(),
                    retry_after: (code == 429).then(|| Duration::from_secs(20)),
                };
                self.link_on(Event::Refused(&refusal));
            }
        }
    }

    fn disconnect(&mut self) {
        self.streaming = vec![false; self.plan.pairs.len()];
        if let Some(service) = self.service.as_mut() {
            service.socket.open = false;
            self.sockets += 1;
            service.socket.number = self.sockets;
        }
    }

    /// The vendor answers what is said to it.
    fn vendor_hears(&mut self, text: &str) {
        if self.acting(Fault::LinkMute, None).is_some() {
            return;
        }
        let answer = if text.contains("\"subscribe\"") {
            let mut lists = [Vec::new(), Vec::new()];
            for (i, pair) in self.plan.pairs.clone().iter().enumerate() {
                let refused = self
                    .acting_on(Fault::LinkPlanRefuses, Some(i), acts::price(i, 0))
                    .is_some();
                if text.contains(pair.symbol.as_str()) {
                    self.streaming[i] = !refused;
                    lists[usize::from(refused)].push(pair.symbol);
                }
            }
            status(&lists)
        } else if text.contains("heartbeat") {
            r#"{"event":"heartbeat","status":"ok"}"#.to_owned()
        } else {
            return;
        };
        let delay = self.rng.i64(5..250);
        self.send(
            delay,
            Delivery {
                text: answer,
                pair: 0,
                seen: None,
                fate: Fate::Open,
            },
        );
    }

    pub(crate) fn cut(&mut self, socket: u64, cause: &str) {
        self.link_of(socket, Event::Lost(cause.to_owned()));
    }

    /// A key that serves may open the next link without delay.
    fn tell_served(&mut self) {
        let Some(service) = self.service.as_mut() else { return };
        if let Some(key) = service.key.filter(|_| service.link.priced() && !service.told_served) {
            service.told_served = true;
            service.pool.link_served(key);
        }
    }

    pub(crate) fn turn_link(&mut self, now: Timestamp) {
        for _ in 0..8 {
            let Some(service) = self.service.as_mut() else { return };
            if service.link.next_deadline(now).is_none_or(|due| due > now) {
                return;
            }
            self.link_on(Event::Deadline);
        }
    }
}

fn status([good, bad]: &[Vec<Symbol>; 2]) -> String {
    let list = |symbols: &[Symbol]| {
        let items: Vec<String> = symbols
            .iter()
            .map(|symbol| format!("{{\"symbol\":\"{symbol}\"}}"))
            .collect();
        items.join(",")
    };
    let word = match (good.is_empty(), bad.is_empty()) {
        (_, true) => "ok",
        (true, false) => "error",
        (false, false) => "warning",
    };
    format!(
        r#"{{"event":"subscribe-status","status":"{word}","success":[{}],"fails":[{}]}}"#,
        list(good),
        list(bad)
    )
}
