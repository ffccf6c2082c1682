//! The clients that are connected, over all threads: listed for operators, and closed when one of them says so.
//!
//! *Architecture invariant*: a thread enters, describes and removes its own clients only. Whoever wants one closed says so here; the
//! thread that has it closes it at its next look.

use crate::domain::model::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A client's number as people and programs write it: `c-1f`, as its welcome says.
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
        let wrong = || format!("{text:?} is no client; write it as its welcome and /admin/clients do, such as c-1f");
        number.map(Self).ok_or_else(wrong)
    }
}

/// One client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedClient {
    /// Its number.
    pub id: u64,
    /// When it connected (market time).
    pub since: Timestamp,
    /// From where, as far as the socket shows it.
    pub address: Option<String>,
    /// Whose token it showed.
    pub token: Option<String>,
    /// It reads more slowly than data comes.
    pub slow: bool,
    /// An operator wants it closed.
    pub closing: bool,
}

/// The clients of a process. Clones share it.
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

    /// What became known of a client.
    pub fn describe(&self, id: u64, describe: impl FnOnce(&mut ListedClient)) {
        if let Some(client) = self.locked().get_mut(&id) {
            describe(client);
        }
    }

    /// A client went.
    pub fn leave(&self, id: u64) {
        let gone = self.locked().remove(&id);
        if gone.is_some_and(|client| client.closing) {
            self.wanted.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Wants a client closed. `false`: there is none of that number.
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

    /// Those that are to be closed; costs nothing while there is none.
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

    /// At most `limit` of them, slow ones first, and how many there are.
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
