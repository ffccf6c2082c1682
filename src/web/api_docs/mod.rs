//! The two documents of the interface, made from the tables that the code runs on.

mod shapes;
pub(crate) mod openapi;
pub(crate) mod asyncapi;
