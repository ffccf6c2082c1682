//! Checks that need other machines: the vendor, the databases.

use super::Finding;
use crate::app;
use crate::cache::{Cache, CacheError, Redis};
use crate::clock::Stopwatch;
use crate::domain::followers::lease::{Held, Place};
use crate::ledger::holder_id;
use crate::settings::{Role, Upstream, Valid};
use crate::store::{Difference, Disposition, Migrate, Postgres, StoreError, Weight};
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;

/// All of these checks.
pub(super) async fn check_dependencies(settings: &Valid) -> Vec<Finding> {
    let mut findings = match app::upstream_tls(settings) {
        _ if settings.cluster.role == Role::Edge => Vec::new(), // it never asks the vendor
        Ok(tls) => check_vendor(&settings.upstream, tls).await,
        Err(error) => vec![Finding::fail(
            "vendor",
            error.to_string(),
            "correct or remove upstream.ca_file",
        )],
    };
    if let Some(url) = &settings.store.database_url {
        findings.extend(check_postgres(url, settings).await);
    }
    if let Some(url) = &settings.cache.redis_url {
        findings.extend(check_redis(url, settings).await);
    }
    findings
}

/// Whether a server answers at the vendor's addresses; its answer does not matter, and no key is used.
async fn check_vendor(upstream: &Upstream, tls: Arc<rustls::ClientConfig>) -> Vec<Finding> {
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

/// Checks the spelling of the servers' addresses, without a connection.
#[expect(
    clippy::unused_async,
    reason = "a pool is made on a runtime, though it connects to nobody"
)]
pub(super) async fn check_addresses(settings: &Valid) -> Vec<Finding> {
    let store = settings.store.database_url.as_ref();
    let store = store.and_then(|url| Postgres::new(url, settings.store.pool).err());
    let store = store.map(|error| Finding::fail("store", error.to_string(), "correct DATABASE_URL"));
    let cache = settings.cache.redis_url.as_ref();
    let cache = cache.and_then(|url| Redis::new(url).err());
    let cache = cache.map(|error| Finding::fail("cache", error.to_string(), "correct REDIS_URL"));
    store.into_iter().chain(cache).collect()
}

/// A server that is down is no failure: candela starts, and catches up when the server is back.
async fn check_postgres(url: &SecretString, settings: &Valid) -> Vec<Finding> {
    let watch = Stopwatch::start();
    let looked = match Postgres::new(url, settings.store.pool) {
        Ok(postgres) => inspect_postgres(&postgres, settings).await,
        Err(error) => Err(error),
    };
    match looked {
        Ok(Looked {
            missing,
            differences,
            rounded,
            lease,
        }) => {
            let tables = match missing.len() {
                0 => "its tables are up to date".to_owned(),
                number => format!("{number} migrations will be run at start: {}", missing.join(", ")),
            };
            let says = format!("PostgreSQL answers after {} ms; {tables}", watch.elapsed().as_millis());
            let store = Finding::ok("store", says);
            std::iter::once(store)
                .chain(differences.into_iter().map(tables_differ))
                .chain((rounded > 0).then(|| history_rounded(rounded)))
                .chain([lease_of(Place::Database, lease, settings)])
                .collect()
        }
        Err(error) if is_fatal(&error) => vec![Finding::fail("store", error.to_string(), "correct DATABASE_URL")],
        Err(error) => {
            let fix = "start PostgreSQL, or correct DATABASE_URL; candela starts without it, and catches up";
            vec![Finding::warn("store", error.to_string(), fix)]
        }
    }
}

/// What a database returned.
struct Looked {
    missing: Vec<String>,
    differences: Vec<Difference>,
    rounded: u64,
    lease: Option<Held>,
}

async fn inspect_postgres(postgres: &Postgres, settings: &Valid) -> Result<Looked, StoreError> {
    let missing = postgres.migrate_schema(Migrate::Check).await?;
    let history = app::l0_table(settings).ok();
    let differences = postgres.schema_differences(history.as_ref()).await?;
    let rounded = match &history {
        // A history that cannot be read is already among the differences.
        Some(history) => postgres.rounded_rows(history).await.unwrap_or_default(),
        None => 0,
    };
    let lease = postgres.lease_holder().await?;
    Ok(Looked {
        missing,
        differences,
        rounded,
        lease,
    })
}

/// Who holds the lease. If this ledger folder holds it, its own service does, which would continue with it.
fn lease_of(place: Place, held: Option<Held>, settings: &Valid) -> Finding {
    let words = place.words();
    let Some(held) = held else {
        return Finding::ok("lease", format!("no process has the lease of {words}"));
    };
    let own = holder_id(&settings.ledger.dir).is_some_and(|own| own == held.by.id);
    let says = format!("the lease of {words} is {held}");
    if own {
        return Finding::ok("lease", format!("{says}: the service with this ledger folder"));
    }
    if settings.cluster.role == Role::Edge {
        return Finding::ok("lease", format!("{says}: an edge needs none"));
    }
    if settings.cluster.role == Role::Ingest {
        return Finding::ok("lease", format!("{says}: this ingest stands by while that one leads"));
    }
    let fix = format!(
        "stop that candela, or let this one write elsewhere ({}): a start ends with code 75 while the lease is renewed",
        place.setting()
    );
    Finding::fail("lease", says, fix)
}

fn history_rounded(rows: u64) -> Finding {
    let says = format!(
        "{rows} rows of the history have prices with more than six decimals, which are rounded to six where they are read"
    );
    let fix = "store them with six decimals, as numeric(12,6), or leave them: bars of candela have six";
    Finding::warn("history", says, fix)
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

fn is_fatal(error: &StoreError) -> bool {
    error.disposition() == Disposition::Fatal
        || matches!(
            error,
            StoreError::LoginRefused(_) | StoreError::NotAllowed(_) | StoreError::NoTransaction(_)
        )
}

async fn check_redis(url: &SecretString, settings: &Valid) -> Vec<Finding> {
    let asked = match Redis::new(url) {
        Ok(redis) => match Cache::Redis(redis.clone()).ping().await {
            Ok(took) => redis.lease_holder().await.map(|held| (took, held)),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    vec![match asked {
        Ok((took, held)) => {
            let answers = Finding::ok("cache", format!("Redis answers after {} ms", took.as_millis()));
            return vec![answers, lease_of(Place::Redis, held, settings)];
        }
        Err(
            error @ (CacheError::BadUrl(_)
            | CacheError::LoginRefused(_)
            | CacheError::NotAllowed(_)
            | CacheError::NoSuchDatabase(_)),
        ) => Finding::fail("cache", error.to_string(), "correct REDIS_URL"),
        Err(error) => {
            let fix =
                "start Redis, or correct REDIS_URL; candela runs without it, but no program can read prices there";
            Finding::warn("cache", error.to_string(), fix)
        }
    }]
}
