//! Actions that operators request: one route each, behind a token with the scope `operate`.

pub(crate) mod actions;
mod action_body;

pub(crate) use action_body::ACTIONS;
