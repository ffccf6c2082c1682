//! What each key does.

use crate::cmd::top::state::{Pane, TopState};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The effect of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pressed {
    Stay,
    Leave,
}

/// Every key with its effect: the help, and the order of the line at the bottom.
pub(super) const KEYS: [(&str, &str, &str); 13] = [
    ("q", "quit", "leave; also Esc and Ctrl-C"),
    (
        "Tab",
        "pane",
        "the next list; Shift-Tab the one before, 1 to 7 each by its number",
    ),
    (
        "/",
        "filter",
        "show only rows that contain a text; Enter keeps it, Esc drops it",
    ),
    ("s", "sort", "sort by the next column; S turns the order round"),
    ("p", "pause", "keep what is shown, and continue with p"),
    ("?", "help", "this page"),
    ("j k", "move", "the next row and the one before; also the arrows"),
    ("PgDn PgUp", "", "a page further and back"),
    ("g G", "", "the first row, the last row"),
    ("Enter", "detail", "everything that is known of the row"),
    ("r", "", "request the status now"),
    ("c", "", "drop filter and order"),
    ("Esc", "", "close what is open, else leave"),
];

impl TopState {
    /// Performs the effect of a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> Pressed {
        if key.kind == KeyEventKind::Release {
            return Pressed::Stay;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Pressed::Leave;
        }
        if self.types_filter {
            self.type_filter(key.code);
            return Pressed::Stay;
        }
        match key.code {
            KeyCode::Esc if self.shows_help || self.shows_detail => self.close(),
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Char('q') | KeyCode::Esc => return Pressed::Leave,
            KeyCode::Char('?') => self.shows_help = !self.shows_help,
            KeyCode::Char('/') => self.types_filter = true,
            KeyCode::Char('p') => self.pause(),
            KeyCode::Char('r') => self.ask_now(),
            KeyCode::Char('c') => {
                self.filter.clear();
                self.change_view(|view| view.sorted_by = None);
            }
            KeyCode::Enter => self.shows_detail = !self.shows_detail,
            KeyCode::Tab | KeyCode::Right => self.look_at(self.pane.moved(1)),
            KeyCode::BackTab | KeyCode::Left => self.look_at(self.pane.moved(Pane::ALL.len().saturating_sub(1))),
            KeyCode::Char(digit @ '1'..='9') => {
                let place = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
                let pane = place.and_then(|place| Pane::ALL.get(place.saturating_sub(1)));
                self.look_at(pane.copied().unwrap_or(self.pane));
            }
            KeyCode::Char('s') => self.sort(),
            KeyCode::Char('S') => self.change_view(|view| view.descending = !view.descending),
            code => self.select(code),
        }
        Pressed::Stay
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Enter => self.types_filter = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.types_filter = false;
            }
            _ => {}
        }
        self.change_view(|view| view.selected = 0);
    }

    fn close(&mut self) {
        self.shows_help = false;
        self.shows_detail = false;
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        if !self.paused {
            self.ask_now();
        }
    }

    fn look_at(&mut self, pane: Pane) {
        self.pane = pane;
        self.close();
        if pane == Pane::Journal {
            self.ask_now();
        }
    }

    /// Sorts by the next column; after the last one, in the service's order.
    fn sort(&mut self) {
        let columns = self.columns;
        self.change_view(|view| {
            let next = view.sorted_by.map_or(0, |column| column.saturating_add(1));
            view.sorted_by = (next < columns).then_some(next);
            view.descending = false;
        });
    }

    fn select(&mut self, code: KeyCode) {
        let page = self.page.max(1);
        let last = self.rows.saturating_sub(1);
        self.change_view(|view| {
            let here = view.selected;
            let there = match code {
                KeyCode::Char('j') | KeyCode::Down => here.saturating_add(1),
                KeyCode::Char('k') | KeyCode::Up => here.saturating_sub(1),
                KeyCode::PageDown => here.saturating_add(page),
                KeyCode::PageUp => here.saturating_sub(page),
                KeyCode::Char('g') | KeyCode::Home => 0,
                KeyCode::Char('G') | KeyCode::End => last,
                _ => here,
            };
            view.selected = there.min(last);
        });
    }
}
