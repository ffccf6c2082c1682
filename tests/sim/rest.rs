//! The REST interface: polling and backfill, with every way in which an answer can be none.

use crate::plan::{DAY, Fault, S};
use crate::vendor::{self, NO_DATA, TROUBLES, decimal};
use crate::world::{Happens, World};
use candela::domain::history::{BackfillPlanner, Step};
use candela::domain::model::{Decoded, Input, InputKind, LinkChange, Requested as Question, Symbol, Timestamp};
use candela::domain::vendor::{KeySlot, Purpose, SeriesRequest, Trouble, poll, rest, trouble::refusal};
use std::time::Duration;

/// A question that is on its way.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) key: KeySlot,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Prices(Vec<Symbol>),
    Series(SeriesRequest, Purpose),
}

impl Asked {
    /// What it is for the count of acts: a question for the same bars is the same question, and so is one for prices.
    fn thing(&self) -> u64 {
        match &self.what {
            What::Prices(_) => 0,
            What::Series(request, _) => u64::try_from(request.from.secs()).unwrap_or(0),
        }
    }
}

impl World {
    pub(crate) fn pair_of(&self, symbol: Symbol) -> usize {
        self.plan
            .pairs
            .iter()
            .position(|pair| pair.symbol == symbol)
            .expect("a pair of the plan")
    }

    /// A key for a call, with the vendor's own account of it.
    pub(crate) fn acquire(&mut self, purpose: Purpose, credits: u32, now: Timestamp) -> Result<KeySlot, Timestamp> {
        let service = self.service.as_mut().expect("it runs");
        let key = service
            .pool
            .acquire(purpose, credits, now)
            .map_err(|refused| refused.at);
        let Ok(key) = key else {
            self.reach.see("no key may be used");
            return key;
        };
        if let Some(used) = service.pool.used(key) {
            self.used.insert(key, used);
        }
        if let Some(wrong) = self.vendor.called(key, credits, self.now) {
            self.violated(wrong);
        }
        Ok(key)
    }

    pub(crate) fn turn_rest(&mut self, now: Timestamp) {
        self.turn_poll(now);
        self.turn_heal(now);
    }

    fn turn_poll(&mut self, now: Timestamp) {
        let service = self.service.as_mut().expect("it runs");
        if service.polling || !service.wanted {
            service.poll_due = None;
            return;
        }
        let due = service.poll_due.is_some_and(|at| at <= now);
        if !due && service.poll_looked <= now && now < service.poll_looked + Duration::from_secs(2) {
            return;
        }
        service.poll_looked = now;
        let view = service.link.view(now);
        service.poll.watch(&view, now);
        let budget = service.pool.spendable();
        match service.poll.step(budget, now) {
            poll::Step::Rest => service.poll_due = None,
            poll::Step::Wait(at) => service.poll_due = Some(at),
            poll::Step::Poll(symbols) => {
                let credits = u32::try_from(symbols.len()).unwrap_or(1);
                match self.acquire(Purpose::Poll, credits, now) {
                    Ok(key) => {
                        self.service.as_mut().expect("it runs").polling = true;
                        self.ask(Asked {
                            key,
                            what: What::Prices(symbols),
                        });
                    }
                    Err(at) => {
                        self.poll_failed(now);
                        let service = self.service.as_mut().expect("it runs");
                        service.poll_due = Some(at.max(now + Duration::from_secs(1)));
                    }
                }
            }
        }
    }

    fn poll_failed(&mut self, now: Timestamp) {
        let service = self.service.as_mut().expect("it runs");
        if service.poll.failed(now) {
            let symbols = service.poll.polled(now);
            let cause = "poll_failed".to_owned();
            service.tell_link(LinkChange::Lost { symbols, cause }, now);
        }
    }

    fn turn_heal(&mut self, now: Timestamp) {
        let service = self.service.as_mut().expect("it runs");
        let counts = service.pipeline.counts();
        let signature = counts.gaps_opened
            + counts.gaps_filled
            + counts.gaps_unfillable
            + counts.bars_closed
            + counts.bars_compared;
        let due = service.heal_wait.is_some_and(|at| at <= now);
        if service.healing || (signature == service.heal_signature && !due) {
            return;
        }
        service.heal_signature = signature;
        let gaps: Vec<_> = service.pipeline.pending_gaps().cloned().collect();
        let unchecked: Vec<_> = service.pipeline.unchecked_bars().collect();
        let (request, purpose) = match service.planner.next(&gaps, &unchecked, now) {
            Step::Rest => return service.heal_wait = None,
            Step::Wait(at) => return service.heal_wait = Some(at),
            Step::Ask(request) => (request, Purpose::Backfill),
            Step::Compare(request) => (request, Purpose::Compare),
        };
        match self.acquire(purpose, 1, now) {
            Ok(key) => {
                let asked = Question {
                    symbol: request.symbols[0],
                    interval: request.interval,
                    from: request.from,
                    to: request.to,
                };
                let service = self.service.as_mut().expect("it runs");
                service.healing = true;
                service.decide(
                    Input {
                        at: now,
                        what: InputKind::Requested(asked),
                    },
                    Decoded::Nothing,
                );
                self.ask(Asked {
                    key,
                    what: What::Series(request, purpose),
                });
            }
            Err(at) => {
                let service = self.service.as_mut().expect("it runs");
                if purpose == Purpose::Compare {
                    service.planner.defer_comparisons(at);
                }
                service.heal_wait = Some(at);
            }
        }
    }

    pub(crate) fn heal_due(&self) -> Option<Timestamp> {
        let service = self.service.as_ref()?;
        let heal = service.heal_wait.filter(|_| !service.healing);
        let poll = service.poll_due.filter(|_| !service.polling);
        heal.into_iter().chain(poll).min()
    }

    fn ask(&mut self, asked: Asked) {
        let slow = self.acting_on(Fault::RestSlow, None, asked.thing()).is_some();
        let delay = if slow { (1_000, 20_000) } else { (30, 900) };
        self.after(delay, Happens::Answer(self.life, asked));
    }

    /// What the vendor says, or nothing where it does not answer in time.
    fn said(&mut self, asked: &Asked) -> Option<(u16, String)> {
        if self.lasting(Fault::RestSlow, None).is_some() && self.rng.u8(..3) == 0 {
            return None;
        }
        if let Some(refused) = self.acting_on(Fault::RestRefused, None, asked.thing()) {
            let (trouble, code, said) = TROUBLES[usize::try_from(refused.roll % 9).unwrap_or(0)];
            if trouble == Trouble::BadKey {
                self.vendor.accounts.entry(asked.key).or_default().refused_at = Some(self.now);
            }
            if trouble == Trouble::DaySpent {
                self.vendor.accounts.entry(asked.key).or_default().spent_on = Some(self.now.div_euclid(DAY * S));
            }
            if trouble == Trouble::NoData {
                self.told.lies.push((refused.from, refused.to));
            }
            let http = if refused.roll % 2 == 0 { 200 } else { code };
            return Some((http, vendor::refusal(code, said)));
        }
        if self.acting_on(Fault::RestGarbage, None, asked.thing()).is_some() {
            return Some((200, "<html>busy</html>".to_owned()));
        }
        let secs = self.now.div_euclid(S);
        Some(match &asked.what {
            What::Prices(symbols) => {
                let price = |symbol: &Symbol| {
                    let quote = self.vendor.last(self.pair_of(*symbol), secs);
                    format!("{{\"price\":\"{}\"}}", decimal(quote.map_or(0, |quote| quote.price)))
                };
                let body = match symbols.as_slice() {
                    [one] => price(one),
                    many => {
                        let parts: Vec<String> = many
                            .iter()
                            .map(|symbol| format!("\"{symbol}\":{}", price(symbol)))
                            .collect();
                        format!("{{{}}}", parts.join(","))
                    }
                };
                (200, body)
            }
            What::Series(request, _) => {
                if let Some(empty) = self.acting_on(Fault::RestEmpty, None, asked.thing()) {
                    self.told.lies.push((empty.from, empty.to));
                    return Some((400, NO_DATA.to_owned()));
                }
                let length = i64::try_from(request.interval.vendor_length().as_secs()).unwrap_or(300);
                let span = (request.from.secs(), request.to.secs());
                (
                    200,
                    self.vendor.series(self.pair_of(request.symbols[0]), span, length, secs),
                )
            }
        })
    }

    pub(crate) fn answered(&mut self, life: u64, asked: Asked) {
        if life != self.life || self.service.is_none() {
            return;
        }
        let said = self.said(&asked);
        let now = self.market();
        let service = self.service.as_mut().expect("it runs");
        let series = matches!(asked.what, What::Series(..));
        service.pool.answered(asked.key, now);
        if let Some(used) = service.pool.used(asked.key) {
            self.used.insert(asked.key, used);
        }
        let refused = said
            .as_ref()
            .and_then(|(status, body)| refusal(*status, body.as_bytes()));
        let refused = refused.filter(|refused| !(series && refused.trouble == Trouble::NoData));
        match (&refused, &said) {
            (Some(refused), _) => {
                let purpose = match &asked.what {
                    What::Prices(_) => Purpose::Poll,
                    What::Series(_, purpose) => *purpose,
                };
                service
                    .pool
                    .note_refusal(asked.key, purpose, refused.trouble, None, now);
                if refused.trouble == Trouble::BadKey {
                    self.reach.see("a key is refused");
                }
            }
            (None, Some(_)) => service.pool.served(asked.key),
            (None, None) => {}
        }
        let trouble = refused.map(|refused| refused.trouble);
        let body = said.filter(|_| trouble.is_none()).map(|(_, body)| body);
        match asked.what {
            What::Prices(symbols) => self.prices_came(&symbols, trouble, body.as_deref(), now),
            What::Series(request, _) => self.series_came(&request, trouble, body.as_deref(), now),
        }
    }

    fn prices_came(&mut self, symbols: &[Symbol], trouble: Option<Trouble>, body: Option<&str>, now: Timestamp) {
        let service = self.service.as_mut().expect("it runs");
        service.polling = false;
        if matches!(trouble, Some(Trouble::PlanRefused | Trouble::UnknownSymbol)) {
            symbols.iter().for_each(|symbol| service.poll.refused(*symbol, now));
        }
        let parts = body
            .and_then(|body| rest::parts(symbols, body.as_bytes()).ok())
            .unwrap_or_default();
        let mut heard = Vec::new();
        let mut arrivals = Vec::new();
        for (symbol, part) in parts {
            let raw = rest::capture(&rest::price_path(&[symbol]), now, part);
            if let Ok(says) = rest::says(&raw, now) {
                if !matches!(says, Decoded::Unusable(_)) {
                    heard.push(symbol);
                }
                arrivals.push((raw, says));
            }
        }
        if heard.is_empty() {
            return self.poll_failed(now);
        }
        service.tell_link(LinkChange::Up { symbols: heard.clone() }, now);
        for (raw, says) in arrivals {
            service.decide(
                Input {
                    at: now,
                    what: InputKind::Answer(raw),
                },
                says,
            );
        }
        service.poll.succeeded();
        service.answered.extend(heard.into_iter().map(|symbol| (symbol, now)));
    }

    fn series_came(&mut self, request: &SeriesRequest, trouble: Option<Trouble>, body: Option<&str>, now: Timestamp) {
        let jitter = self.rng.f64();
        let service = self.service.as_mut().expect("it runs");
        (service.healing, service.heal_signature) = (false, u64::MAX);
        let symbol = request.symbols[0];
        let Some(body) = body else {
            return service.planner.note_failure(symbol, trouble, now, jitter);
        };
        let raw = rest::capture(&request.path(), now, body.as_bytes());
        let Ok(says) = rest::says(&raw, now) else {
            return service.planner.note_failure(symbol, None, now, jitter);
        };
        let gaps: Vec<_> = service.pipeline.pending_gaps().cloned().collect();
        let quiet = match &says {
            Decoded::Bars(fetched) | Decoded::FlawedBars(fetched, _) => BackfillPlanner::found_quiet(&gaps, fetched),
            _ => None,
        };
        service.decide(
            Input {
                at: now,
                what: InputKind::Answer(raw),
            },
            says,
        );
        service.planner.note_answer(symbol, quiet, now);
    }
}
