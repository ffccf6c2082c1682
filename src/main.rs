//! Reads the command line, and runs the command.
#![forbid(unsafe_code)]

use candela::clock::Clock;
use candela::cmd::backfill::BackfillArgs;
use candela::cmd::calendar::{self, CalendarArgs, CalendarSettings};
use candela::cmd::check::CheckArgs;
use candela::cmd::demo::DemoArgs;
use candela::cmd::failure;
use candela::cmd::gaps::GapsArgs;
use candela::cmd::keys::KeysArgs;
use candela::cmd::migrate::MigrateArgs;
use candela::cmd::protocol_check::ProtocolCheckArgs;
use candela::cmd::run::RunArgs;
use candela::cmd::simulate::SimulateArgs;
use candela::cmd::status::StatusArgs;
use candela::exit::Exit;
use candela::settings::{self, SettingsArgs};
use candela::{log_queue, telemetry};
use clap::{Parser, Subcommand};

/// Memory is taken and given back once a tick and client; this allocator does that in half the time of the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A supervised real-time market-data service for USD/COP and other FX pairs.
#[derive(Debug, Parser)]
#[command(
    name = "candela",
    version,
    about,
    after_help = "Exit codes and settings: docs/operations.md, docs/settings.md."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Run(RunArgs),
    Demo(DemoArgs),
    Simulate(SimulateArgs),
    Check(CheckArgs),
    Status(StatusArgs),
    ProtocolCheck(ProtocolCheckArgs),
    Migrate(MigrateArgs),
    Keys(KeysArgs),
    Gaps(GapsArgs),
    Backfill(BackfillArgs),
    Calendar {
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        calendar: CalendarArgs,
    },
}

fn main() -> Exit {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(said) => return say(&said),
    };
    let done = match line.command {
        Command::Run(run) => run.run(),
        Command::Demo(demo) => demo.run(),
        Command::Simulate(simulate) => simulate.run(),
        Command::Check(check) => check.run(),
        Command::Status(status) => status.run(),
        Command::ProtocolCheck(check) => check.run(),
        Command::Migrate(migrate) => migrate.run(),
        Command::Keys(keys) => keys.run(),
        Command::Gaps(gaps) => gaps.run(),
        Command::Backfill(backfill) => backfill.run(),
        Command::Calendar { settings, calendar } => show_calendar(&settings, &calendar),
    };
    let exit = done.unwrap_or_else(|error| {
        if failure::is_unread(&error) {
            return Exit::Clean; // as with `candela calendar --ics | head`
        }
        let (exit, sentence) = failure::of(&error);
        telemetry::tell(&format!("candela: {sentence}"));
        exit
    });
    log_queue::flush();
    exit
}

/// Help and version go to standard output and are no error; anything else clap says is about the command line.
fn say(said: &clap::Error) -> Exit {
    let to_read = !said.use_stderr();
    match said.print() {
        Err(error) if to_read && error.kind() != std::io::ErrorKind::BrokenPipe => {
            let (exit, sentence) = failure::of(&error.into());
            telemetry::tell(&format!("candela: {sentence}"));
            exit
        }
        Ok(()) | Err(_) if to_read => Exit::Clean,
        Ok(()) | Err(_) => Exit::Usage,
    }
}

fn show_calendar(settings: &SettingsArgs, args: &CalendarArgs) -> anyhow::Result<Exit> {
    let valid = settings::load(&settings.sources())?;
    let Some(first) = valid.market.symbols.first() else {
        return Ok(Exit::Clean);
    };
    let settings = CalendarSettings {
        rules: first.calendar,
        overrides: valid.market.calendar_file,
    };
    calendar::run(args, &settings, Clock::system().now(), &mut std::io::stdout().lock())?;
    Ok(Exit::Clean)
}
