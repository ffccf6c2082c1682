//! How the feed gets a socket: a key first, then the handshake.

use crate::actors::feed::FeedParts;
use crate::actors::messages::LeaseKey;
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
    (Some(lease.slot), socket.map_err(NotOpen::Failed))
}
