//! Tests of the pipeline as a whole.

mod audit;
mod first_price;
mod follow;
mod gaps;
mod pipeline;
mod pipeline_random;
mod pipeline_time;
mod prices_in_runs;
mod reopen;
mod silence;
