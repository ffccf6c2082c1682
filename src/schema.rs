//! The tables of both stores, as Diesel prints them from the migrations, including those of the service that candela replaces.
//!
//! After a new migration, print them again with the Diesel CLI (`cargo install diesel_cli --no-default-features --features
//! postgres,sqlite-bundled`) from databases that `candela migrate` has just created:
//!
//! ```text
//! diesel print-schema --database-url FILE > src/schema/sqlite.rs
//! diesel print-schema --database-url URL > src/schema/postgres.rs
//! ```
//!
//! `tests/it/store_schema.rs` finds every difference.

#[rustfmt::skip]
pub(crate) mod postgres;
#[rustfmt::skip]
pub(crate) mod sqlite;
