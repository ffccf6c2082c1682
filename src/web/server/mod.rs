//! Listener, worker threads, TLS, and every route.

pub(crate) mod descriptors;
#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod server;
mod listen;
mod routes;
#[cfg(feature = "test-hooks")]
#[path = "tests/test_routes.rs"]
mod test_routes;
pub(crate) mod tls;

pub(crate) use descriptors::ClientShare;
pub use server::{Extras, RunningServer, ServeError, WebParts, serve};
pub use tls::{TlsError, TlsFiles};
