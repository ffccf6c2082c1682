//! Actions that operators request: one address each, behind a token with the scope `operate`.

pub(crate) mod actions;
mod action_body;

pub(crate) use action_body::ACTIONS;
