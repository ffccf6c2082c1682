//! Tests of this room as a whole.

pub(crate) mod upstream_stage;
