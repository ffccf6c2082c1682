//! `candela top` in a real terminal, on a real demo: what it draws, what keys do, how it goes on over a restart, and what it leaves.

use crate::child::{Candela, wait_until};
use std::path::PathBuf;
use std::process::Command;

/// Colours as tmux writes them.
const RED: &str = "\u{1b}[38;5;1m";
const GREEN: &str = "\u{1b}[38;5;2m";
const YELLOW: &str = "\u{1b}[38;5;3m";

/// A terminal with a shell in it, of a tmux of its own.
struct RealTerminal {
    folder: tempfile::TempDir,
}

impl RealTerminal {
    fn open(columns: u16, lines: u16) -> Self {
        let terminal = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let shell = "env -i PATH=/usr/bin:/bin TERM=screen-256color PS1='ready> ' /bin/sh";
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &lines,
            shell,
        ]);
        terminal.shows("ready>");
        terminal
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("tmux")
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.socket()).args(args).env("LANG", "C.UTF-8");
        let done = command.output().expect("tmux is missing: run scripts/test");
        assert!(
            done.status.success(),
            "tmux {args:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    fn press(&self, keys: &str) {
        self.tmux(&["send-keys", keys]);
    }

    fn enter(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press("Enter");
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with the codes of its colours.
    fn coloured(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    fn shows(&self, text: &str) -> String {
        wait_until(&format!("the terminal to show {text:?}"), || {
            Some(self.screen()).filter(|screen| screen.contains(text))
        })
    }
}

impl Drop for RealTerminal {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.socket()).arg("kill-server").output().ok();
    }
}

fn demo(data: &str, port: &str) -> (Candela, String) {
    let mut demo = Candela::start(&["demo", "--json", "--speed", "100", "--data", data, "--port", port]);
    let address = demo.address();
    (demo, address)
}

#[test]
fn a_terminal_shows_the_service_goes_on_over_its_restart_and_is_given_back() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let (first, address) = demo(data, "0");
    let candela = Candela::command(&[]).get_program().to_str().unwrap().to_owned();
    let terminal = RealTerminal::open(100, 30);
    terminal.enter(&format!("{candela} top --interval 200ms --url http://{address}"));
    terminal.shows("USD/COP  safe to trade");
    let screen = terminal.shows("× real time");
    assert!(screen.starts_with("candela  ACTIVE  for "), "{screen}");
    assert!(terminal.coloured().contains(GREEN), "good is green");

    terminal.press("4");
    terminal.shows("session_clock");
    terminal.enter("/feed");
    wait_until("only rows with feed", || {
        (!terminal.screen().contains("session_clock")).then_some(())
    });
    terminal.press("7");
    terminal.press("c");
    terminal.shows("The state changed");
    terminal.press("?");
    terminal.shows("keep what is shown, and continue with p");
    terminal.press("Escape");

    first.signal(libc::SIGKILL);
    first.output_of_the_killed();
    let screen = terminal.shows(" AGO ");
    assert!(
        screen.contains("DATA OF") && screen.contains("does not answer"),
        "{screen}"
    );
    let (_, port) = address.split_once(':').unwrap();
    let (_second, _) = demo(data, port);
    wait_until("the service to be heard again", || {
        (!terminal.screen().contains("DATA OF")).then_some(())
    });

    terminal.press("q");
    terminal.shows("ready>");
    terminal.enter("stty -a | grep -o ' echo ' && echo given-back");
    let screen = terminal.shows("\ngiven-back");
    assert!(
        !screen.contains("ACTIVE"),
        "the screen that was there before is there again: {screen}"
    );

    for without in [format!("NO_COLOR=1 {candela} top"), format!("{candela} top --no-color")] {
        terminal.enter(&format!("{without} --url http://{address}"));
        terminal.shows("candela  ACTIVE ");
        let screen = terminal.coloured();
        for colour in [RED, GREEN, YELLOW] {
            assert!(!screen.contains(colour), "a colour in spite of {without}: {screen:?}");
        }
        terminal.press("C-c");
        terminal.shows("ready>");
    }

    let once = Candela::run(&["top", "--url", &format!("http://{address}")]);
    assert!(
        once.stdout.contains("\npairs\n"),
        "no terminal, one page: {}",
        once.stdout
    );
    let once = Candela::run(&["top", "--json", "--url", &format!("http://{address}")]);
    let status: serde_json::Value = serde_json::from_str(&once.stdout).unwrap();
    let safe = &status["symbols"]["USD/COP"]["safe_to_trade"];
    assert!(safe.is_boolean(), "{status}"); // the demo's outage may just be shown
}

#[test]
fn an_interval_that_would_be_a_burden_is_refused_with_what_is_allowed() {
    let refused = Candela::run(&["top", "--interval", "1ms"]);
    assert_eq!(refused.code(), 64);
    assert!(
        refused.stderr.contains("1ms is not between 200 ms and 600 s"),
        "{}",
        refused.stderr
    );
}
