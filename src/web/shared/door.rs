//! Limits on connections: how many at once, from one address, and in a second.

use crate::clock::Stopwatch;
use crate::settings;
use crate::web::shared::HttpError;
use actix_web::http::StatusCode;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The limits.
#[derive(Debug, Clone, Copy)]
pub struct DoorLimits {
    /// Connections at one time.
    pub connections: usize,
    /// Connections at one time from one address.
    pub per_address: usize,
    /// New connections in a second.
    pub per_second: u32,
}

impl DoorLimits {
    /// The limits in the settings.
    pub const fn of(settings: &settings::Server) -> Self {
        Self {
            connections: settings.connections,
            per_address: settings.connections_per_address,
            per_second: settings.accepts_per_second,
        }
    }
}

/// Counts connections over all threads.
#[derive(Debug)]
pub(crate) struct Door {
    limits: DoorLimits,
    state: Mutex<State>,
    since: Stopwatch,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    by_address: HashMap<IpAddr, usize>,
    second: Duration,
    came: u32,
}

/// The permit of one connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    door: Arc<Door>,
    address: Option<IpAddr>,
}

impl Door {
    pub(crate) fn new(limits: DoorLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::default(),
            since: Stopwatch::start(),
        })
    }

    /// Admits a client, or returns why not.
    pub(crate) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Pass, HttpError> {
        let now = self.since.elapsed();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(state.second) >= Duration::from_secs(1) {
            state.second = now;
            state.came = 0;
        }
        if state.came >= self.limits.per_second {
            return Err(full("too many connections in this second; try again"));
        }
        if state.inside >= self.limits.connections {
            return Err(full("no more connections are accepted now"));
        }
        let known = address.and_then(|address| state.by_address.get(&address)).copied();
        if known.is_some_and(|known| known >= self.limits.per_address) {
            return Err(full("no more connections are accepted from this address"));
        }
        state.came = state.came.saturating_add(1);
        state.inside = state.inside.saturating_add(1);
        if let Some(address) = address {
            let count = state.by_address.entry(address).or_default();
            *count = count.saturating_add(1);
        }
        drop(state);
        Ok(Pass {
            door: Arc::clone(self),
            address,
        })
    }
}

/// The response to a client for which there is no room.
pub(super) fn full(detail: &str) -> HttpError {
    HttpError::new(StatusCode::SERVICE_UNAVAILABLE, "connection_limit", detail).with("code", 1203)
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.door.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.inside = state.inside.saturating_sub(1);
        let Some(address) = self.address else {
            return;
        };
        let left = state.by_address.get_mut(&address).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            state.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(connections: usize, per_address: usize, per_second: u32) -> Arc<Door> {
        Door::new(DoorLimits {
            connections,
            per_address,
            per_second,
        })
    }

    #[test]
    fn each_limit_holds_and_who_leaves_makes_room() {
        let (one, two) = ("10.0.0.1".parse().ok(), "10.0.0.2".parse().ok());
        let busy = door(3, 2, 1_000);
        let first = busy.enter(one).unwrap();
        let _second = busy.enter(one).unwrap();
        assert!(busy.enter(one).unwrap_err().to_string().contains("this address"));
        let _third = busy.enter(two).unwrap();
        assert!(
            busy.enter(two)
                .unwrap_err()
                .to_string()
                .contains("no more connections are accepted now")
        );
        drop(first);
        assert!(busy.enter(one).is_ok());
        let hasty = door(100, 100, 1);
        let _first = hasty.enter(one).unwrap();
        assert!(hasty.enter(one).unwrap_err().to_string().contains("in this second"));
    }
}
