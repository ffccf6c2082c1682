//! Descriptors: how many the process may have, and how many of them clients may take.
//!
//! The link, the stores and the ledger open theirs at any time, in the middle of a session as well: clients get what is left after
//! a reserve for them, so that no crowd of clients costs the service its prices.

use crate::limits;
use crate::web::server::ServeError;

/// What clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientShare {
    /// WebSocket sessions at one time.
    pub(super) sessions: usize,
    /// Connections that a worker thread serves at one time beside them.
    pub(super) connections_a_worker: usize,
}

/// Raises the limit as far as the system lets it, and says how many the process may have.
///
/// # Errors
/// [`ServeError::Descriptors`] when they are too few to run with.
pub fn reserve_descriptors() -> Result<u64, ServeError> {
    let raised = rlimit::increase_nofile_limit(limits::DESCRIPTORS);
    let may = raised.or_else(|error| {
        tracing::warn!(%error, "failed to ask for more descriptors: fewer clients can be served");
        rlimit::Resource::NOFILE.get().map(|(soft, _)| soft)
    });
    match may {
        Ok(may) if may < limits::DESCRIPTORS_LEAST => Err(ServeError::Descriptors(may)),
        Ok(may) => Ok(may),
        Err(source) => Err(ServeError::NoDescriptors(source)),
    }
}

impl ClientShare {
    /// Of `may` descriptors. Over TLS a session takes two: its socket, and the handle by which it can be ended when it stalls.
    pub(super) fn of(may: u64, workers: usize, tls: bool) -> Self {
        let left = usize::try_from(may.saturating_sub(limits::DESCRIPTORS_RESERVED)).unwrap_or(usize::MAX);
        let each = if tls { 2 } else { 1 };
        let requests = left / 4;
        Self {
            sessions: (left - requests) / each,
            connections_a_worker: (requests / each / workers.max(1)).clamp(1, limits::CLIENTS),
        }
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
                let most = (share.sessions + share.connections_a_worker * workers) * each;
                assert!(
                    u64::try_from(most).unwrap() + limits::DESCRIPTORS_RESERVED <= may,
                    "{may}: {share:?}"
                );
                assert!(share.sessions >= 10, "{may}: {share:?}");
            }
        }
        assert!(ClientShare::of(limits::DESCRIPTORS, 2, false).sessions >= limits::CLIENTS);
    }
}
