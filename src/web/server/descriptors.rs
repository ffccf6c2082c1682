//! File descriptors: how many the process may have, and how many of them clients may take.
//!
//! The link, the stores and the ledger open descriptors at any time, also during a session. A reserve is kept for them and clients get the
//! rest, so that many clients cannot cost the service its prices.

use crate::limits;
use crate::web::server::ServeError;

/// The connections that clients may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientShare {
    /// WebSocket sessions at one time.
    pub(crate) sessions: usize,
    /// Other connections that a worker thread serves at one time.
    pub(super) connections_a_worker: usize,
}

/// Raises the limit as far as the system allows, and returns how many the process may have.
///
/// # Errors
/// [`ServeError::Descriptors`] when they are too few to run with.
pub fn reserve_descriptors() -> Result<u64, ServeError> {
    let raised = rlimit::increase_nofile_limit(limits::DESCRIPTORS);
    let may = raised.or_else(|error| {
        tracing::warn!(%error, "failed to raise the limit of descriptors: fewer clients can be served");
        rlimit::Resource::NOFILE.get().map(|(soft, _)| soft)
    });
    match may {
        Ok(may) if may < limits::DESCRIPTORS_LEAST => Err(ServeError::Descriptors(may)),
        Ok(may) => Ok(may),
        Err(source) => Err(ServeError::NoDescriptors(source)),
    }
}

impl ClientShare {
    /// The share out of `may` descriptors. A connection that the HTTP server holds takes two: its socket, and the handle by which a stalled
    /// connection is ended. Over TLS a session is such a connection; over plain TCP a session owns its socket.
    pub(crate) fn of(may: u64, workers: usize, tls: bool) -> Self {
        let left = usize::try_from(may.saturating_sub(limits::DESCRIPTORS_RESERVED)).unwrap_or(usize::MAX);
        let each = if tls { 2 } else { 1 };
        let workers = workers.max(1);
        let requests = (left / 4).max(2 * workers);
        Self {
            sessions: left.saturating_sub(requests) / each,
            connections_a_worker: (requests / 2 / workers).clamp(1, limits::CLIENTS),
        }
    }

    /// Event streams that a worker thread may hold: they are among its connections, and must leave some for short requests.
    pub(super) const fn streams_a_worker(self) -> usize {
        self.connections_a_worker / limits::EVENTS_SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_never_get_what_is_reserved() {
        for may in [limits::DESCRIPTORS_LEAST, 1_024, limits::DESCRIPTORS] {
            for (workers, tls, each) in [(1, false, 1), (8, false, 1), (2, true, 2)] {
                let share = ClientShare::of(may, workers, tls);
                let most = share.sessions * each + share.connections_a_worker * workers * 2;
                assert!(
                    u64::try_from(most).unwrap() + limits::DESCRIPTORS_RESERVED <= may,
                    "{may}: {share:?}"
                );
                assert!(share.sessions >= 10, "{may}: {share:?}");
            }
        }
        let usual = ClientShare::of(limits::DESCRIPTORS, 2, false);
        assert!(usual.sessions >= limits::CLIENTS);
        assert_eq!(usual.streams_a_worker(), usual.connections_a_worker / 2);
    }
}
