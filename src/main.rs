//! Reads the command line, and runs the command.
#![forbid(unsafe_code)]

use candela::clock::Clock;
use candela::cmd::{
    admin::AdminArgs,
    backfill::BackfillArgs,
    calendar::{self, CalendarArgs, CalendarSettings},
    check::CheckArgs,
    cluster::ClusterArgs,
    compare::CompareArgs,
    demo::DemoArgs,
    explain::ExplainArgs,
    export::ExportArgs,
    failure,
    gaps::GapsArgs,
    history::{bars::BarsArgs, replay::ReplayArgs, verify::VerifyArgs},
    keys::KeysArgs,
    load::LoadArgs,
    mcp::McpArgs,
    migrate::MigrateArgs,
    protocol_check::ProtocolCheckArgs,
    run::RunArgs,
    shell::{CompletionsArgs, ManArgs},
    simulate::SimulateArgs,
    status::StatusArgs,
    top::TopArgs,
};
use candela::exit::Exit;
use candela::log_queue;
use candela::settings::{self, SettingsArgs};
use candela::telemetry;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, Parser, Subcommand};
use std::sync::LazyLock;

/// Memory is allocated and freed once for each tick and client; this allocator takes half the time of the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The version, and the commit if the build was given it.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = option_env!("CANDELA_COMMIT").filter(|commit| !commit.is_empty());
    format!("{} (commit {})", env!("CARGO_PKG_VERSION"), commit.unwrap_or("unknown"))
});

/// A supervised real-time market-data service for USD/COP and other FX pairs.
#[derive(Debug, Parser)]
#[command(
    name = "candela",
    version = VERSION.as_str(),
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
    Cluster(ClusterArgs),
    Status(StatusArgs),
    Top(TopArgs),
    ProtocolCheck(ProtocolCheckArgs),
    Load(LoadArgs),
    Migrate(MigrateArgs),
    Keys(KeysArgs),
    Gaps(GapsArgs),
    Export(ExportArgs),
    Replay(ReplayArgs),
    Verify(VerifyArgs),
    Bars(BarsArgs),
    Mcp(McpArgs),
    Explain(ExplainArgs),
    Compare(CompareArgs),
    Backfill(BackfillArgs),
    Admin(AdminArgs),
    Calendar {
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        calendar: CalendarArgs,
    },
    Completions(CompletionsArgs),
    Man(ManArgs),
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
        Command::Cluster(cluster) => cluster.run(),
        Command::Status(status) => status.run(),
        Command::Top(top) => top.run(),
        Command::ProtocolCheck(check) => check.run(),
        Command::Load(load) => load.run(),
        Command::Migrate(migrate) => migrate.run(),
        Command::Keys(keys) => keys.run(),
        Command::Gaps(gaps) => gaps.run(),
        Command::Export(export) => export.run(),
        Command::Replay(replay) => replay.run(),
        Command::Verify(verify) => verify.run(),
        Command::Bars(bars) => bars.run(),
        Command::Mcp(mcp) => mcp.run(),
        Command::Explain(explain) => explain.run(),
        Command::Compare(compare) => compare.run(),
        Command::Backfill(backfill) => backfill.run(),
        Command::Admin(admin) => admin.run(),
        Command::Calendar { settings, calendar } => show_calendar(&settings, &calendar),
        Command::Completions(completions) => completions.run(CommandLine::command()),
        Command::Man(man) => man.run(CommandLine::command()),
    };
    let exit = done.unwrap_or_else(|error| {
        if failure::is_unread(&error) {
            return Exit::Clean; // as with `candela calendar --ics | head`
        }
        let (exit, sentence) = failure::from_error(&error);
        telemetry::tell(&format!("candela: {sentence}"));
        exit
    });
    log_queue::flush();
    exit
}

/// What is no command, and what is one at that place.
fn name_commands(said: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(given)) = said.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let mut command = CommandLine::command();
    let mut path = vec![command.get_name().to_owned()];
    for word in std::env::args().skip(1) {
        if let Some(found) = command.find_subcommand(&word).cloned() {
            command = found;
            path.push(word);
        }
    }
    let path = path.join(" ");
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let meant = match said.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(near)) if !near.is_empty() => format!("; did you mean {}?", near.join(" or ")),
        _ => String::new(),
    };
    Some(format!(
        "{given:?} is no command of {path}: there are {}{meant}",
        names.join(", ")
    ))
}

/// Help and version go to standard output and are no error; any other message of clap is about the command line.
fn say(said: &clap::Error) -> Exit {
    if let Some(sentence) = name_commands(said) {
        telemetry::tell(&format!("candela: {sentence}"));
        return Exit::Usage;
    }
    let to_read = !said.use_stderr();
    match said.print() {
        Err(error) if to_read && error.kind() != std::io::ErrorKind::BrokenPipe => {
            let (exit, sentence) = failure::from_error(&error.into());
            telemetry::tell(&format!("candela: {sentence}"));
            exit
        }
        Ok(()) | Err(_) if to_read => Exit::Clean,
        Ok(()) | Err(_) => Exit::Usage,
    }
}

fn show_calendar(settings: &SettingsArgs, args: &CalendarArgs) -> anyhow::Result<Exit> {
    let valid = settings::load(&settings.to_sources())?;
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
