//! The connected clients of all threads: listed for operators, and closed when an operator requests it.
//!
//! *Architecture invariant*: a thread enters, describes and removes its own clients only. A request to close a client is noted here; the
//! client's thread closes it at its next sweep.

use crate::domain::model::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A client's number as people and programs write it: `c-1f`, as in its `welcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientNumber(pub u64);

impl fmt::Display for ClientNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c-{:x}", self.0)
    }
}

impl FromStr for ClientNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text
            .trim()
            .strip_prefix("c-")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.map(Self).ok_or_else(|| {
            format!("{text:?} is not a client; write it as its welcome and /admin/clients do, such as c-1f")
        })
    }
}

/// One client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedClient {
    /// Its number.
    pub id: u64,
    /// When it connected (market time).
    pub since: Timestamp,
    /// The address that it connected from, as far as the socket shows it.
    pub address: Option<String>,
    /// The name of its token.
    pub token: Option<String>,
    /// It reads more slowly than data arrives.
    pub slow: bool,
    /// An operator requested that it be closed.
    pub closing: bool,
}

/// The clients of a process. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct ClientList {
    clients: Arc<Mutex<BTreeMap<u64, ListedClient>>>,
    /// How many are to be closed.
    wanted: Arc<AtomicUsize>,
}

impl ClientList {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<u64, ListedClient>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client connected.
    pub fn enter(&self, id: u64, since: Timestamp) {
        let client = ListedClient {
            id,
            since,
            address: None,
            token: None,
            slow: false,
            closing: false,
        };
        self.locked().insert(id, client);
    }

    /// Changes what is known of a client.
    pub fn describe(&self, id: u64, describe: impl FnOnce(&mut ListedClient)) {
        if let Some(client) = self.locked().get_mut(&id) {
            describe(client);
        }
    }

    /// A client disconnected.
    pub fn leave(&self, id: u64) {
        let gone = self.locked().remove(&id);
        if gone.is_some_and(|client| client.closing) {
            self.wanted.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Requests that a client be closed. `false`: no client has that number.
    pub fn request_close(&self, id: u64) -> bool {
        let mut clients = self.locked();
        let Some(client) = clients.get_mut(&id) else {
            return false;
        };
        if !std::mem::replace(&mut client.closing, true) {
            self.wanted.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// The clients that are to be closed; costs nothing while there are none.
    pub fn to_close(&self) -> Vec<u64> {
        if self.wanted.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let clients = self.locked();
        clients
            .values()
            .filter(|client| client.closing)
            .map(|client| client.id)
            .collect()
    }

    /// At most `limit` clients, slow ones first, and how many there are in all.
    pub fn list(&self, limit: usize) -> (Vec<ListedClient>, usize) {
        let clients = self.locked();
        let slow = clients.values().filter(|client| client.slow);
        let others = clients.values().filter(|client| !client.slow);
        (slow.chain(others).take(limit).cloned().collect(), clients.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_is_written() {
        let number = ClientNumber(1_099_511_627_779);
        assert_eq!(number.to_string(), "c-10000000003");
        assert_eq!("c-10000000003".parse(), Ok(number));
        for wrong in ["", "3", "c-", "c-xyz", "10000000003"] {
            assert!(wrong.parse::<ClientNumber>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_client_is_listed_while_it_is_connected_and_closed_once() {
        let clients = ClientList::default();
        for id in [1, 2, 3] {
            clients.enter(id, Timestamp::from_secs(1_772_460_000));
        }
        clients.describe(3, |client| client.slow = true);
        let numbers = |limit| clients.list(limit).0.iter().map(|client| client.id).collect::<Vec<_>>();
        assert_eq!(numbers(9), [3, 1, 2], "slow ones first");
        assert_eq!((numbers(2), clients.list(2).1), (vec![3, 1], 3));
        assert!(clients.request_close(2) && clients.request_close(2));
        assert!(!clients.request_close(9));
        assert_eq!(clients.to_close(), [2]);
        clients.leave(2);
        clients.leave(2);
        assert_eq!(clients.to_close(), [0; 0]);
        assert_eq!(clients.wanted.load(Ordering::Relaxed), 0);
        assert!(!clients.request_close(2), "it is gone");
    }
}
