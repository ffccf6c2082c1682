//! What can be checked only by asking others: the vendor, the databases.

use super::Finding;
use crate::clock::Stopwatch;
use crate::settings::Valid;
use std::time::Duration;

/// All of it.
pub(super) async fn findings(settings: &Valid) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(vendor(&settings.upstream.rest_url, "upstream.rest_url").await);
    findings.push(vendor(&settings.upstream.ws_url.replacen("ws", "http", 1), "upstream.ws_url").await);
    findings
}

/// Whether anything answers there; what it answers does not matter, and no key is spent.
async fn vendor(url: &str, setting: &str) -> Finding {
    const LONGEST: Duration = Duration::from_secs(10);
    let watch = Stopwatch::start();
    let client = awc::Client::builder().timeout(LONGEST).disable_redirects().finish();
    match client.get(url).send().await {
        Ok(_) => Finding::ok(
            "vendor",
            format!("{url} answers after {} ms", watch.elapsed().as_millis()),
        ),
        Err(error) => {
            let fix = format!("check the network, proxies and name service of this machine, and {setting}");
            Finding::fail("vendor", format!("{url} does not answer: {error}"), fix)
        }
    }
}
