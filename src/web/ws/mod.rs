//! A WebSocket session: admission, handshake, the client's requests, and the answers.

pub(crate) mod admit;
pub(crate) mod handshake;
mod upgrade;
mod wire;
mod body;
mod reader;
mod client;
pub(crate) mod wanted;
pub(crate) mod answers;

pub(crate) use admit::{LineOf, Opening, Plan, Speaker};
pub(crate) use body::Body;
pub(crate) use client::Client;
pub(crate) use reader::{InboundMessage, Messages, Reader};
pub(crate) use upgrade::{Handover, Upgrades};
pub(crate) use wire::Wire;
