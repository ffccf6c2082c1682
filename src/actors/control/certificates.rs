//! Computes the certificates that are due, from the ledger alone.

use crate::domain::history::Certifier;
use crate::domain::model::{Certificate, Channel, InputKind, Interval, Position, Sequenced, Session, Symbol};
use crate::domain::pipeline::Unchecked;
use crate::ledger::{LedgerError, LedgerReader};
use crate::limits;
use std::collections::BTreeMap;

/// The ledger, the certificates of every pair, and what was issued and is not in the ledger yet. Outlives restarts of its actor.
#[derive(Debug)]
pub struct Certificates {
    ledger: LedgerReader,
    pairs: Vec<FollowedPair>,
}

#[derive(Debug)]
struct FollowedPair {
    certifier: Certifier,
    /// The next seq of each channel that is followed.
    next: BTreeMap<Channel, u64>,
    issued: Option<Certificate>,
}

impl Certificates {
    /// Knows of no session yet.
    pub fn new(ledger: LedgerReader, symbols: impl IntoIterator<Item = Symbol>) -> Self {
        let pairs = symbols.into_iter().map(|symbol| FollowedPair {
            certifier: Certifier::new(symbol),
            next: BTreeMap::new(),
            issued: None,
        });
        Self {
            ledger,
            pairs: pairs.collect(),
        }
    }

    /// Applies what the ledger has up to `position`, and issues the certificates that are due then, at most one for each pair; none while
    /// the ledger does not reach `position`. `unchecked` are the bars that were still to be compared with the vendor's there.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger cannot be read: the next call continues.
    pub fn issue(&mut self, position: Position, unchecked: &[Unchecked]) -> Result<Vec<InputKind>, LedgerError> {
        let mut issued = Vec::new();
        if self.ledger.head() < position {
            return Ok(issued);
        }
        for pair in &mut self.pairs {
            if position < pair.certifier.through() {
                continue; // an old view, as after a restart of the Aggregator
            }
            pair.follow(&mut self.ledger, position)?;
            issued.extend(pair.issue(unchecked).map(Box::new).map(InputKind::Certificate));
        }
        Ok(issued)
    }
}

impl FollowedPair {
    fn follow(&mut self, ledger: &mut LedgerReader, position: Position) -> Result<(), LedgerError> {
        let events = read_events(ledger, self.certifier.symbol(), &mut self.next, position)?;
        events.iter().for_each(|numbered| self.certifier.apply(numbered));
        self.certifier.reach(position);
        Ok(())
    }

    /// The earliest certificate that is due: a later one may continue it.
    fn issue(&mut self, unchecked: &[Unchecked]) -> Option<Certificate> {
        if let Some(issued) = &self.issued {
            let told = self.certifier.told(issued.date);
            if told.is_none_or(|told| told.revision < issued.revision) {
                return None; // it is on its way into the ledger
            }
        }
        let symbol = self.certifier.symbol();
        let due = self.certifier.due(|session: &Session| {
            let mut unchecked = unchecked.iter().filter(|bars| bars.symbol == symbol);
            unchecked.any(|bars| bars.from < session.closes && session.opens < bars.to)
        });
        self.issued = due.into_iter().next();
        self.issued.clone()
    }
}

/// The events of a pair's sessions, base bars and quality up to `to`, in the order of the ledger. `next` is where each channel continues.
///
/// # Errors
/// [`LedgerError`] when the ledger cannot be read.
pub fn read_events(
    ledger: &mut LedgerReader,
    symbol: Symbol,
    next: &mut BTreeMap<Channel, u64>,
    to: Position,
) -> Result<Vec<Sequenced>, LedgerError> {
    let mut events = Vec::new();
    let mut reached = next.clone();
    for channel in [
        Channel::session(symbol),
        Channel::bars(Interval::BASE, symbol),
        Channel::quality(symbol),
    ] {
        loop {
            let from = match reached.get(&channel) {
                Some(next) => *next,
                None => ledger.first_seq(channel)?.unwrap_or(1),
            };
            let mut page = ledger.read_channel(channel, from, u64::MAX, limits::LEDGER_READ_MAX)?;
            page.retain(|numbered| numbered.position <= to);
            let Some(last) = page.last() else { break };
            reached.insert(channel, last.seq.saturating_add(1));
            events.extend(page);
        }
    }
    events.sort_by_key(|numbered| numbered.position);
    *next = reached;
    Ok(events)
}

#[cfg(test)]
#[path = "tests/certificates.rs"]
mod tests;
