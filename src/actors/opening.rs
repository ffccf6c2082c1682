//! How the feed gets a socket: a key first, then the handshake.

use crate::actors::feed::FeedParts;
use crate::actors::messages::{KeyAnswered, LeaseKey};
use crate::actors::vendor::{self, ConnectFailure, Socket};
use crate::domain::keys::{KeySlot, NoLease, Purpose};
use crate::limits;

/// Why there is no socket.
pub(super) enum NotOpen {
    NoKey(NoLease),
    Failed(ConnectFailure),
}

/// Leases the link's key and connects with it.
pub(super) async fn open(parts: FeedParts) -> (Option<KeySlot>, Result<Socket, NotOpen>) {
    let wanted = LeaseKey {
        purpose: Purpose::Link,
        credits: 0,
    };
    let lease = match parts.lease.send(wanted).await {
        Ok(Ok(lease)) => lease,
        Ok(Err(refused)) => return (None, Err(NotOpen::NoKey(refused))),
        Err(_) => {
            // The pool is being restarted: it has an answer in a moment.
            let at = parts.clock.now() + limits::RECONNECT_FIRST;
            let reason = "no_key_pool";
            return (None, Err(NotOpen::NoKey(NoLease { at, reason })));
        }
    };
    let socket = vendor::connect(parts.settings.tls, &parts.settings.url, &lease.key).await;
    if socket.as_ref().err().is_none_or(ConnectFailure::reached) {
        // The pool keeps the spacing between handshakes; what a refusal means for the key, the link says.
        let seen = KeyAnswered {
            slot: lease.slot,
            purpose: Purpose::Link,
            trouble: None,
            link_served: false,
            retry_after: None,
            used: None,
            left: None,
        };
        if let Err(error) = parts.answered.send(seen).await {
            tracing::error!(%error, "failed to tell the key pool of a handshake");
        }
    }
    (Some(lease.slot), socket.map_err(NotOpen::Failed))
}
