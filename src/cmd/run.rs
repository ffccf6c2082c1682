//! `candela run`: the service.

use crate::app::{self, App, Ending};
use crate::clock::Clock;
use crate::exit::Exit;
use crate::settings::{self, SettingsArgs};
use crate::telemetry;
use anyhow::Context;
use clap::Args;

/// Run the service until it is told to stop.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

impl RunArgs {
    /// Runs it to its end.
    ///
    /// # Errors
    /// A sentence that names what cannot be used, and the remedy.
    pub fn run(self) -> anyhow::Result<Exit> {
        let settings = settings::load_for_service(&self.settings.sources())?;
        let clock = Clock::system();
        app::reserve_descriptors()?;
        telemetry::start(&settings.log, settings.market.zone(), clock.clone()).context("start the log's thread")?;
        actix_rt::System::new().block_on(async move {
            let app = App::start(settings, clock, Vec::new()).await?;
            tracing::info!(address = %app.address(), "candela listens");
            let ending = app::until_over(&app, None, std::future::pending(), std::future::pending()).await?;
            tracing::info!(?ending, "candela stops");
            let stopped = app.stop(ending).await;
            tracing::info!(
                position = stopped.head.0,
                unwritten = stopped.unwritten,
                unstored = stopped.unstored,
                "candela has stopped"
            );
            Ok(match ending {
                Ending::Failed(exit) => exit,
                Ending::Asked | Ending::Over => Exit::Clean,
            })
        })
    }
}
