//! What can be checked only by asking others: the vendor, the databases.

use super::Finding;
use crate::app;
use crate::cache::{Cache, CacheError, Redis};
use crate::clock::Stopwatch;
use crate::settings::{Upstream, Valid};
use crate::store::{Difference, Disposition, Migrate, Postgres, StoreError, Weight};
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;

/// All of it.
pub(super) async fn findings(settings: &Valid) -> Vec<Finding> {
    let mut findings = match app::upstream_tls(settings) {
        Ok(tls) => vendor(&settings.upstream, tls).await,
        Err(error) => vec![Finding::fail(
            "vendor",
            error.to_string(),
            "correct or remove upstream.ca_file",
        )],
    };
    if let Some(url) = &settings.store.database_url {
        findings.extend(postgres(url, settings).await);
    }
    if let Some(url) = &settings.cache.redis_url {
        findings.push(redis(url).await);
    }
    findings
}

/// Whether anything answers at the vendor's addresses; what it answers does not matter, and no key is spent.
async fn vendor(upstream: &Upstream, tls: Arc<rustls::ClientConfig>) -> Vec<Finding> {
    const LONGEST: Duration = Duration::from_secs(10);
    let connector = awc::Connector::new().rustls_0_23(tls);
    let client = awc::Client::builder()
        .connector(connector)
        .timeout(LONGEST)
        .disable_redirects()
        .finish();
    let addresses = [
        (upstream.rest_url.clone(), "upstream.rest_url"),
        (upstream.ws_url.replacen("ws", "http", 1), "upstream.ws_url"), // the upgrade begins as a GET
    ];
    let mut findings = Vec::new();
    for (url, setting) in addresses {
        let watch = Stopwatch::start();
        findings.push(match client.get(&url).send().await {
            Ok(_) => Finding::ok(
                "vendor",
                format!("{url} answers after {} ms", watch.elapsed().as_millis()),
            ),
            Err(error) => {
                let fix = format!("check the network, proxies and name service of this machine, and {setting}");
                Finding::fail("vendor", format!("{url} does not answer: {error}"), fix)
            }
        });
    }
    findings
}

/// What is wrong with the servers' addresses as they are written, without asking anybody.
#[expect(
    clippy::unused_async,
    reason = "a pool is made on a runtime, though it connects to nobody"
)]
pub(super) async fn addresses(settings: &Valid) -> Vec<Finding> {
    let store = settings.store.database_url.as_ref();
    let store = store.and_then(|url| Postgres::new(url, settings.store.pool).err());
    let store = store.map(|error| Finding::fail("store", error.to_string(), "correct DATABASE_URL"));
    let cache = settings.cache.redis_url.as_ref();
    let cache = cache.and_then(|url| Redis::new(url).err());
    let cache = cache.map(|error| Finding::fail("cache", error.to_string(), "correct REDIS_URL"));
    store.into_iter().chain(cache).collect()
}

/// A server that is away is no failure: candela starts, and catches up when it is there.
async fn postgres(url: &SecretString, settings: &Valid) -> Vec<Finding> {
    let watch = Stopwatch::start();
    let looked = match Postgres::new(url, settings.store.pool) {
        Ok(postgres) => look(&postgres, settings).await,
        Err(error) => Err(error),
    };
    match looked {
        Ok((missing, differences)) => {
            let tables = match missing.len() {
                0 => "its tables are up to date".to_owned(),
                number => format!("{number} migrations will be run at start: {}", missing.join(", ")),
            };
            let says = format!("PostgreSQL answers after {} ms; {tables}", watch.elapsed().as_millis());
            let store = Finding::ok("store", says);
            std::iter::once(store)
                .chain(differences.into_iter().map(tables_differ))
                .collect()
        }
        Err(error) if fatal(&error) => vec![Finding::fail("store", error.to_string(), "correct DATABASE_URL")],
        Err(error) => {
            let fix = "start PostgreSQL, or correct DATABASE_URL; candela starts without it, and catches up";
            vec![Finding::warn("store", error.to_string(), fix)]
        }
    }
}

async fn look(postgres: &Postgres, settings: &Valid) -> Result<(Vec<String>, Vec<Difference>), StoreError> {
    let missing = postgres.migrate(Migrate::Check).await?;
    let history = app::l0_table(settings).ok();
    Ok((missing, postgres.differences(history.as_ref()).await?))
}

fn tables_differ(difference: Difference) -> Finding {
    let adaptable = difference.is_adaptable();
    let mut fix = difference.remedy;
    if adaptable {
        fix.push_str(", or candela migrate --adapt, which does it");
    }
    match difference.weight {
        Weight::Grave => Finding::fail("tables", difference.says, fix),
        Weight::Note => Finding::warn("tables", difference.says, fix),
    }
}

fn fatal(error: &StoreError) -> bool {
    error.disposition() == Disposition::Fatal
        || matches!(error, StoreError::LoginRefused(_) | StoreError::NotAllowed(_))
}

async fn redis(url: &SecretString) -> Finding {
    let asked = match Redis::new(url) {
        Ok(redis) => Cache::Redis(redis).ping().await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(took) => Finding::ok("cache", format!("Redis answers after {} ms", took.as_millis())),
        Err(
            error @ (CacheError::BadUrl(_)
            | CacheError::LoginRefused(_)
            | CacheError::NotAllowed(_)
            | CacheError::NoSuchDatabase(_)),
        ) => Finding::fail("cache", error.to_string(), "correct REDIS_URL"),
        Err(error) => {
            let fix = "start Redis, or correct REDIS_URL; candela runs without it, but nobody can read prices there";
            Finding::warn("cache", error.to_string(), fix)
        }
    }
}
