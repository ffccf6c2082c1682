//! `candela completions` and `candela man`: files that a package installs with the binary.

use crate::exit::Exit;
use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;
use std::io::Write as _;
use std::path::PathBuf;

/// Print a shell's completions of candela's commands and flags.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    shell: Shell,
}

/// Print the manual page, or write those of all commands into a folder.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// The folder in which candela.1, candela-run.1 and so on are written; it is created if it does not exist.
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl CompletionsArgs {
    /// Prints the completions.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn run(self, mut command: clap::Command) -> anyhow::Result<Exit> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, "candela", &mut text);
        std::io::stdout().lock().write_all(&text)?;
        Ok(Exit::Clean)
    }
}

impl ManArgs {
    /// Prints or writes the manual pages.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn run(self, command: clap::Command) -> anyhow::Result<Exit> {
        match self.folder {
            Some(folder) => {
                let written =
                    std::fs::create_dir_all(&folder).and_then(|()| clap_mangen::generate_to(command, &folder));
                written.with_context(|| format!("write manual pages into {}", folder.display()))?;
            }
            None => {
                let mut text = Vec::new();
                clap_mangen::Man::new(command).render(&mut text)?;
                std::io::stdout().lock().write_all(&text)?;
            }
        }
        Ok(Exit::Clean)
    }
}
