//! `candela top`: `/status` on a terminal, requested again and again until a key ends it.

mod keys;
mod rows;
mod screen;
mod state;
#[cfg(test)]
mod tests;

use crate::clock::Stopwatch;
use crate::cmd::{
    ask::{Service, TokenArg, read_url},
    demo::real_time,
    output::ColourArg,
    page::status_page,
    status::is_well,
};
use crate::exit::Exit;
use crate::limits;
use crate::settings::{self, SettingsArgs};
use anyhow::Context as _;
use clap::Args;
use keys::Pressed;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event as TerminalEvent};
use serde_json::Value;
use state::{Heard, TopState};
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Follow the state of a running service, on a screen that is drawn again every second.
#[derive(Debug, Clone, Args)]
pub struct TopArgs {
    /// Where the service is, such as https://candela.example:8443; by default the address that the settings name.
    #[arg(long, value_name = "URL", value_parser = read_url)]
    url: Option<String>,
    /// How often the status is requested, such as 500ms or 5s.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// For programs: the page as the service gives it, one line, once.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    colour: ColourArg,
    #[command(flatten)]
    token: TokenArg,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Parses the interval of the requests, in real time.
fn interval(text: &str) -> Result<Duration, String> {
    let given = real_time(text)?;
    if (limits::TOP_INTERVAL_MIN..=limits::TOP_INTERVAL_MAX).contains(&given) {
        return Ok(given);
    }
    Err(format!(
        "{text} is not between {} ms and {} s",
        limits::TOP_INTERVAL_MIN.as_millis(),
        limits::TOP_INTERVAL_MAX.as_secs()
    ))
}

impl TopArgs {
    /// Follows the service; if the output is no terminal, prints the status once, with code 1 when it is not as it should be.
    ///
    /// # Errors
    /// When the settings have problems, or the terminal cannot be used; for a single print, also when the service does not answer.
    pub fn run(self) -> anyhow::Result<Exit> {
        let service = match &self.url {
            Some(url) => Service::new(url, &self.token),
            None => Service::connect_to(None, &settings::load(&self.settings.to_sources())?.server, &self.token)?,
        };
        let system = actix_rt::System::new();
        if self.json || !std::io::stdout().is_terminal() {
            return system.block_on(self.show_once(&service));
        }
        system.block_on(follow(&service, self.interval, self.colour.allows()))
    }

    async fn show_once(&self, service: &Service) -> anyhow::Result<Exit> {
        let status = service.get("/status").await?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{status}")?;
        } else {
            write!(out, "{}", status_page(&status, false))?;
        }
        Ok(if is_well(&status) { Exit::Clean } else { Exit::Found })
    }
}

/// Shows the service until a key or a signal ends it.
///
/// # Errors
/// When the terminal cannot be used.
pub(super) async fn follow(service: &Service, interval: Duration, colours: bool) -> anyhow::Result<Exit> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for signals")?;
    let mut screen = Screen::enter().context("use the terminal")?;
    let mut pressed = read_terminal().context("start the thread that reads the terminal")?;
    let clock = Stopwatch::start();
    let mut state = TopState::new(service.url(), interval, colours);
    let mut asking = Box::pin(ask(service, state.journal_path()));
    let mut is_asking = true;
    loop {
        screen
            .terminal
            .draw(|frame| screen::draw(frame, &mut state, clock.elapsed()))
            .context("draw")?;
        let next = state.next_wait(is_asking, clock.elapsed());
        tokio::select! {
            heard = &mut asking, if is_asking => {
                state.take(heard, clock.elapsed());
                is_asking = false;
            }
            () = actix_rt::time::sleep(next) => {
                if !is_asking && state.is_due(clock.elapsed()) {
                    state.note_asked(clock.elapsed());
                    asking = Box::pin(ask(service, state.journal_path()));
                    is_asking = true;
                }
            }
            event = pressed.recv() => match event {
                Some(TerminalEvent::Key(key)) => if state.press(key) == Pressed::Leave {
                    return Ok(Exit::Clean);
                },
                Some(_) => {} // such as another size: drawn anew
                None => return Ok(Exit::Clean), // the terminal is gone
            },
            _ = terminate.recv() => return Ok(Exit::Clean),
        }
    }
}

/// Requests the service's status, and its journal if `journal` names a page.
async fn ask(service: &Service, journal: Option<String>) -> Heard {
    let status = service.get("/status").await.map_err(|error| error.to_string());
    let mut events = Vec::new();
    if let (Ok(_), Some(mut path)) = (&status, journal) {
        for _ in 0..limits::TOP_JOURNAL_PAGES {
            let Ok(page) = service.get(&path).await else { break };
            let page = &page;
            events.extend(page["events"].as_array().into_iter().flatten().cloned());
            let Some(next) = page["next_cursor"].as_str() else {
                break;
            };
            path = state::journal_page(&path, next);
        }
    }
    Heard { status, events }
}

/// The terminal while the command uses it. Dropping it restores the terminal; a panic restores it before its message.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn enter() -> std::io::Result<Self> {
        let entered = ratatui::try_init().map(|terminal| Self { terminal });
        entered.inspect_err(|_| ratatui::restore())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Reads the terminal's events on a thread of its own, because a read blocks.
fn read_terminal() -> std::io::Result<mpsc::Receiver<TerminalEvent>> {
    let (sender, receiver) = mpsc::channel(limits::TOP_EVENTS);
    std::thread::Builder::new().name("terminal".to_owned()).spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// A member that is an object, as its entries in order.
fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// A member that is a list.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
