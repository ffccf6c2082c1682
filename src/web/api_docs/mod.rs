//! The two documents of the interface, generated from the tables that the code itself uses.

mod shapes;
pub(crate) mod openapi;
pub(crate) mod asyncapi;
