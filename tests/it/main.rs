//! Tests of the whole process and of what it needs: real servers, real sockets, real signals.
//!
//! One binary, so that it links once and its tests share one PostgreSQL cluster. `child` runs the candela binary, `servers`
//! starts PostgreSQL and Redis; both end with the test.

#[cfg(test)]
mod backfill_command;
#[cfg(test)]
mod certificate;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod child;
#[cfg(test)]
mod clients_conformance;
#[cfg(test)]
mod clients_events;
#[cfg(test)]
mod clients_guarantees;
#[cfg(test)]
mod clients_hostile;
#[cfg(test)]
mod clients_independent;
#[cfg(test)]
mod clients_python;
#[cfg(test)]
mod equal;
#[cfg(test)]
mod feed_day;
#[cfg(test)]
mod feed_handshake;
#[cfg(test)]
mod feed_tls;
#[cfg(test)]
mod keys_session;
#[cfg(test)]
mod load;
#[cfg(test)]
mod old_defects;
#[cfg(test)]
mod feed_history;
#[cfg(test)]
mod feed_polled;
#[cfg(test)]
mod feed_scenarios;
#[cfg(test)]
mod process_answers;
#[cfg(test)]
mod process_calendar;
#[cfg(test)]
mod process_certificates;
#[cfg(test)]
mod process_chaos;
#[cfg(test)]
mod process_cluster_demo;
#[cfg(test)]
mod process_degraded;
#[cfg(test)]
mod process_demo;
#[cfg(test)]
mod process_cuts;
#[cfg(test)]
mod process_evidence;
#[cfg(test)]
mod process_gate;
#[cfg(test)]
mod process_input;
#[cfg(test)]
mod process_journal;
#[cfg(test)]
mod process_kills;
#[cfg(test)]
mod process_logs;
#[cfg(test)]
mod process_memory;
#[cfg(test)]
mod process_actions;
#[cfg(test)]
mod process_metrics;
#[cfg(test)]
mod process_panics;
#[cfg(test)]
mod process_parquet;
#[cfg(test)]
mod process_reasons;
#[cfg(test)]
mod process_run;
#[cfg(test)]
mod process_session;
#[cfg(test)]
mod process_slots;
#[cfg(test)]
mod process_stamps;
#[cfg(test)]
mod process_stop;
#[cfg(test)]
mod process_systemd;
#[cfg(test)]
mod process_streams;
#[cfg(test)]
mod process_time;
#[cfg(test)]
mod process_top;
#[cfg(test)]
mod process_writers;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod servers_work;
#[cfg(test)]
mod sim_client;
#[cfg(test)]
mod sim_command;
#[cfg(test)]
mod sim_files;
#[cfg(test)]
mod sim_handshake;
#[cfg(test)]
mod sim_official_client;
#[cfg(test)]
mod sim_rest;
#[cfg(test)]
mod sim_stream;
#[cfg(test)]
mod l0_history;
#[cfg(test)]
mod recipes;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod store_contract;
#[cfg(test)]
mod cache_outages;
#[cfg(test)]
mod cache_redis;
#[cfg(test)]
mod cache_streams;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod cluster_faults;
#[cfg(test)]
mod cluster_log;
#[cfg(test)]
mod cluster_sizes;
#[cfg(test)]
mod cluster_takeover;
#[cfg(test)]
mod cluster_view;
#[cfg(test)]
mod witness;
#[cfg(test)]
mod store_lease;
#[cfg(test)]
mod store_outages;
#[cfg(test)]
mod store_pages;
#[cfg(test)]
mod store_postgres;
#[cfg(test)]
mod store_relayed;
#[cfg(test)]
mod store_foreign;
#[cfg(test)]
mod store_pooled;
#[cfg(test)]
mod store_refusals;
#[cfg(test)]
mod store_reverts;
#[cfg(test)]
mod store_schema;
#[cfg(test)]
mod surfaces;
#[cfg(test)]
mod writing;
