//! `candela run`: the service.

use crate::app::{self, App, Ending};
use crate::clock::Clock;
use crate::exit::Exit;
use crate::limits;
use crate::notify::Notifier;
use crate::settings::{self, SettingsArgs, Valid};
use crate::telemetry;
use crate::views::ServiceView;
use anyhow::Context;
use clap::Args;
use std::future::pending;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Run the service until a stop is requested.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// The one setting that a running service reloads. Tokens, certificate and calendar are in files that are read again when they change.
const RELOADED: &str = "log.level";

impl RunArgs {
    /// Runs the service to its end.
    ///
    /// # Errors
    /// A sentence that names the unusable part, and the remedy.
    pub fn run(self) -> anyhow::Result<Exit> {
        self.run_on(Clock::system())
    }

    /// The same with this market time.
    pub(super) fn run_on(self, clock: Clock) -> anyhow::Result<Exit> {
        let sources = self.settings.to_sources();
        let settings = settings::load_for_service(&sources)?;
        let notifier = Notifier::of(&sources.environment, std::process::id())
            .context("NOTIFY_SOCKET names no socket: it is set by systemd")?;
        app::reserve_descriptors()?;
        telemetry::start(&settings.log, settings.market.zone(), clock.clone()).context("start the log's thread")?;
        actix_rt::System::new().block_on(async move {
            let mut hangups = signal(SignalKind::hangup())?;
            // A file that reaches the limit of the process is a write that fails then, and not its end.
            let _size_limits = signal(SignalKind::from_raw(limits::FILE_SIZE_SIGNAL))?;
            let mut app = App::start(settings.clone(), clock.clone(), Vec::new()).await?;
            let ending = loop {
                tracing::info!(address = %app.address(), "candela listens");
                let beside = async {
                    tokio::join!(
                        self.reload_settings(&mut hangups, &settings, &notifier),
                        report_status(&app, &notifier)
                    );
                };
                let ending = app::until_over(&app, None, pending(), beside).await?;
                match ending {
                    Ending::Leased => app = app.take_over(settings.clone(), clock.clone()).await?,
                    ending => break ending,
                }
            };
            tracing::info!(?ending, "candela stops");
            notifier.say("STOPPING=1\nSTATUS=clients are notified, and the last events are written");
            let stopped = app.stop(ending).await;
            tracing::info!(
                position = stopped.head.0,
                unwritten = stopped.unwritten,
                unstored = stopped.unstored,
                "candela has stopped"
            );
            Ok(match ending {
                Ending::Failed(exit) => exit,
                Ending::Asked | Ending::Over | Ending::Leased => Exit::Clean,
            })
        })
    }

    /// Reads the settings again at each SIGHUP: applies the setting that can be reloaded, and reports those that need a restart. Settings
    /// with a problem change nothing.
    async fn reload_settings(&self, hangups: &mut Signal, started: &Valid, notifier: &Notifier) {
        while hangups.recv().await.is_some() {
            notifier.say("RELOADING=1");
            match settings::load_for_service(&self.settings.to_sources()) {
                Err(problems) => tracing::error!(%problems, "SIGHUP: nothing is changed"),
                Ok(settings) => match telemetry::set_level(&settings.log) {
                    Ok(()) => say_reloaded(&settings, started),
                    Err(error) => tracing::error!(error, "SIGHUP: the log's level stays as it is"),
                },
            }
            notifier.say("READY=1");
        }
        pending::<()>().await;
    }
}

fn say_reloaded(settings: &Valid, started: &Valid) {
    tracing::info!(
        log.level = settings.log.directives,
        "SIGHUP: the settings were read again, and the log's level is in force"
    );
    let mut waiting = settings.changed_names(started);
    waiting.retain(|name| name != RELOADED);
    if !waiting.is_empty() {
        tracing::warn!(
            settings = waiting.join(", "),
            "SIGHUP: these settings have changed and wait for a restart"
        );
    }
}

/// Reports to systemd that the service is ready, and from then on that it is alive and in which state.
async fn report_status(app: &App, notifier: &Notifier) {
    if !notifier.is_heard() {
        pending::<()>().await;
    }
    notifier.say("READY=1");
    let view = app.view();
    let period = notifier.watchdog().map_or(limits::NOTIFY_EVERY, |watchdog| {
        limits::NOTIFY_EVERY.min(watchdog / limits::NOTIFY_SHARE)
    });
    loop {
        let status = status_line(&view.borrow());
        let alive = if notifier.watchdog().is_some() {
            "\nWATCHDOG=1"
        } else {
            ""
        };
        notifier.say(&format!("STATUS={status}{alive}"));
        tokio::time::sleep(period).await;
    }
}

/// The service's state in a line, for `systemctl status`.
fn status_line(view: &ServiceView) -> String {
    let mut kinds: Vec<&str> = view.holding().map(|condition| condition.kind.as_ref()).collect();
    kinds.dedup();
    let safe: Vec<String> = view
        .symbols
        .iter()
        .map(|(symbol, shown)| format!("{symbol} {}", if shown.safe_to_trade { "safe" } else { "not safe" }))
        .collect();
    let mut parts = vec![view.state.name.clone()];
    parts.extend(safe);
    if !kinds.is_empty() {
        parts.push(format!("conditions: {}", kinds.join(", ")));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Symbol, Timestamp};
    use crate::domain::status::{ConditionKind, ConditionView, Conditions};
    use crate::views::SymbolView;
    use chrono_tz::Tz;

    const NOON: Timestamp = Timestamp::from_secs(1_772_452_800);

    #[test]
    fn one_line_says_state_pairs_and_conditions() {
        let mut view = ServiceView::default();
        assert_eq!(status_line(&view), "initializing");
        view.state.name = "active".to_owned();
        view.symbols.insert("USD/COP".parse().unwrap(), SymbolView::default());
        let mut conditions = Conditions::default();
        for symbol in [None, Some(Symbol::usdcop())] {
            conditions.raise(ConditionKind::FeedDown, symbol, "closed", "It is down.", NOON);
        }
        conditions.raise(ConditionKind::Polling, None, "link_without", "Prices are polled.", NOON);
        conditions.clear(ConditionKind::Polling, None, NOON);
        let conditions = conditions.list();
        view.conditions = conditions.iter().map(|one| ConditionView::new(one, Tz::UTC)).collect();
        assert_eq!(status_line(&view), "active; USD/COP not safe; conditions: feed_down");
    }
}
