//! Draws the screen of `candela top`.

use crate::cmd::page::{age, value_words};
use crate::cmd::top::{
    entries,
    keys::KEYS,
    list,
    rows::{self, ListCell, ListColumn, ListRow, Tone, clock_of, session_words},
    state::{Pane, TopState, micros_of},
};
use crate::limits;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Row as TableRow, Table, TableState, Wrap};
use serde_json::Value;
use std::time::Duration;

/// The style of texts, with and without colours.
#[derive(Debug, Clone, Copy)]
struct Paint {
    colours: bool,
}

impl Paint {
    fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        match (tone, self.colours) {
            (Tone::Plain, _) => style,
            (Tone::Faint, _) => style.add_modifier(Modifier::DIM),
            (Tone::Good, true) => style.fg(Color::Green),
            (Tone::Warning, true) => style.fg(Color::Yellow),
            (Tone::Bad, true) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Good, false) => style,
            (Tone::Warning | Tone::Bad, false) => style.add_modifier(Modifier::BOLD),
        }
    }

    fn span(self, text: impl Into<String>, tone: Tone) -> Span<'static> {
        Span::styled(text.into(), self.style(tone))
    }

    /// A text on a background of its tone, which is seen from afar.
    fn banner(self, text: &str, tone: Tone) -> Span<'static> {
        let style = self.style(tone).add_modifier(Modifier::REVERSED | Modifier::BOLD);
        Span::styled(format!(" {text} "), style)
    }
}

/// The whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut TopState, now: Duration) {
    let area = frame.area();
    let (least_width, least_height) = limits::TOP_WINDOW;
    if area.width < least_width || area.height < least_height {
        let told = format!(
            "candela top needs a window of {least_width} by {least_height}; this one has {} by {}. Make it larger, or leave with q.",
            area.width, area.height
        );
        frame.render_widget(Paragraph::new(told).wrap(Wrap { trim: true }), area);
        return;
    }
    let look = Paint { colours: state.colours };
    let mut head = head(state, look, now, area.width);
    let most = usize::from(area.height).saturating_sub(limits::TOP_PANE_LINES);
    if head.len() > most {
        head.truncate(most.saturating_sub(1));
        head.push(Line::from(
            look.span("… more in the lists below, or in a higher window", Tone::Faint),
        ));
    }
    let lines = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let parts = Layout::vertical([
        Constraint::Length(lines),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ]);
    let [top, tabs, body, bottom] = parts.areas(area);
    frame.render_widget(Text::from(head), top);
    frame.render_widget(tab_line(state, look), tabs);
    draw_pane(frame, state, look, body);
    frame.render_widget(bottom_line(state, look, bottom.width), bottom);
    if state.shows_help {
        draw_help(frame, look, body);
    }
}

/// The state, whether each pair is safe to trade, the conditions, the link and the clients.
fn head(state: &TopState, look: Paint, now: Duration, width: u16) -> Vec<Line<'static>> {
    let mut lines = vec![title_line(state, look, now, width)];
    if let Some(line) = trouble_line(state, look, now) {
        lines.push(line);
    }
    let Some(status) = &state.status else { return lines };
    let market = state.market_now();
    let pairs: Vec<(&String, &Value)> = entries(&status["symbols"]).collect();
    // Pairs that are not safe come first: of many pairs, they are the ones that must be seen.
    let (safe, unsafe_): (Vec<_>, Vec<_>) = pairs.iter().partition(|(_, shown)| shown["safe_to_trade"] == true);
    let sessions = &status["sessions"];
    for (pair, shown) in unsafe_.iter().chain(&safe).take(limits::TOP_VERDICTS) {
        lines.push(verdict_line(pair, shown, &sessions[pair.as_str()], market, look));
    }
    if let Some(more) = pairs.len().checked_sub(limits::TOP_VERDICTS).filter(|more| *more > 0) {
        let bad = unsafe_.len().saturating_sub(limits::TOP_VERDICTS);
        let told = format!("  and {more} more pairs, {bad} of them not safe to trade");
        lines.push(Line::from(
            look.span(told, if bad > 0 { Tone::Bad } else { Tone::Faint }),
        ));
    }
    lines.extend(condition_lines(state, look));
    lines.push(Line::from(feed_words(state, status, look)));
    lines
}

fn title_line(state: &TopState, look: Paint, now: Duration, width: u16) -> Line<'static> {
    let mut left = vec![Span::styled("candela ", Style::new().add_modifier(Modifier::BOLD))];
    let Some(status) = &state.status else {
        let asks = format!("asks {} …", state.url);
        left.push(look.span(asks, Tone::Faint));
        return Line::from(left);
    };
    let service = &status["state"];
    let name = value_words(&service["name"]);
    let tone = match name.as_str() {
        "active" | "ready" | "market_closed" => Tone::Good,
        "error" | "shutdown" => Tone::Bad,
        _ => Tone::Warning,
    };
    left.push(look.banner(&name.to_uppercase().replace('_', " "), tone));
    let lasts = micros_of(&service["since"]).zip(state.market_now());
    let lasts = lasts.and_then(|(since, now)| u64::try_from(now.saturating_sub(since)).ok());
    let lasts = lasts.map_or_else(String::new, |micros| {
        format!(" for {}", age(Duration::from_micros(micros)))
    });
    left.push(Span::raw(format!(
        "{lasts}, because {}",
        value_words(&service["reason"])
    )));
    let mut right = market_words(state, &status["timestamp"]);
    if state.paused {
        let since = state
            .heard_at
            .map_or_else(String::new, |at| age(now.saturating_sub(at)));
        right = vec![format!("PAUSED for {since}: p continues"), "PAUSED".to_owned()];
    }
    fill(left, &right, width, look)
}

/// Market time, with its speed if that is not real time's; then the same in fewer words.
fn market_words(state: &TopState, timestamp: &Value) -> Vec<String> {
    let text = timestamp.as_str().unwrap_or_default();
    let day = text.get(..10).unwrap_or_default();
    let zone = text.get(19..).unwrap_or_default();
    let time = clock_of(timestamp);
    match state.speed().filter(|_| state.is_simulated()) {
        Some(speed) if speed < 0.05 => vec![
            format!("{day} {time}{zone}, market time stands"),
            format!("{time}{zone}, stands"),
        ],
        Some(speed) => vec![
            format!("{day} {time}{zone}, market time runs {speed:.0} × real time"),
            format!("{time}{zone}, {speed:.0} × real time"),
            format!("{time}, {speed:.0} ×"),
        ],
        None => vec![format!("{day} {time}{zone}"), time],
    }
}

/// `left` at the left edge, and the first of `right` that fits at the right edge.
fn fill(mut left: Vec<Span<'static>>, right: &[String], width: u16, look: Paint) -> Line<'static> {
    let used: usize = left.iter().map(Span::width).sum();
    for right in right {
        let wanted = Span::raw(right).width().saturating_add(used);
        if let Some(free) = usize::from(width).checked_sub(wanted).filter(|free| *free > 0) {
            left.push(Span::raw(" ".repeat(free)));
            left.push(look.span(right, Tone::Faint));
            break;
        }
    }
    Line::from(left)
}

/// Why the screen may not show the present state.
fn trouble_line(state: &TopState, look: Paint, now: Duration) -> Option<Line<'static>> {
    let asks = format!("requested every {}", age(state.interval));
    if state.status.is_none() {
        let trouble = state.trouble.clone()?;
        return Some(Line::from(vec![
            look.banner("NO DATA", Tone::Bad),
            Span::raw(format!(" {trouble}; {asks}")),
        ]));
    }
    if state.paused {
        return None;
    }
    let since = state.stale_for(now)?;
    let why = state.trouble.clone().unwrap_or_else(|| "it does not answer".to_owned());
    Some(Line::from(vec![
        look.banner(&format!("DATA OF {} AGO", age(since)), Tone::Bad),
        Span::raw(format!(" {why}; {asks}")),
    ]))
}

fn verdict_line(pair: &str, shown: &Value, session: &Value, now: Option<i64>, look: Paint) -> Line<'static> {
    let mut spans = vec![Span::styled(
        format!("{pair}  "),
        Style::new().add_modifier(Modifier::BOLD),
    )];
    if shown["safe_to_trade"] == true {
        spans.push(look.span("safe to trade", Tone::Good));
    } else {
        spans.push(look.banner("NOT SAFE TO TRADE", Tone::Bad));
        spans.push(look.span(format!(" {}", value_words(&shown["reasons"])), Tone::Bad));
    }
    spans.push(look.span(format!("  session {}", session_words(session, now)), Tone::Faint));
    Line::from(spans)
}

fn condition_lines(state: &TopState, look: Paint) -> Vec<Line<'static>> {
    let holding = state.holding();
    if holding.is_empty() {
        return vec![Line::from(look.span("no condition holds", Tone::Good))];
    }
    let mut lines = Vec::new();
    for condition in holding.iter().take(limits::TOP_CONDITIONS) {
        let pair = condition["symbol"]
            .as_str()
            .map_or_else(String::new, |pair| format!(" {pair}"));
        let what = format!("! {}{pair}", value_words(&condition["type"]));
        let why = format!(
            " since {}: {}",
            clock_of(&condition["since"]),
            value_words(&condition["message"])
        );
        lines.push(Line::from(vec![look.span(what, Tone::Bad), Span::raw(why)]));
        let clears = format!("  clears when {}", value_words(&condition["clears_when"]));
        lines.push(Line::from(look.span(clears, Tone::Faint)));
    }
    if let Some(more) = holding
        .len()
        .checked_sub(limits::TOP_CONDITIONS)
        .filter(|more| *more > 0)
    {
        let told = format!("! and {more} more conditions: see the list");
        lines.push(Line::from(look.span(told, Tone::Bad)));
    }
    lines
}

/// The link, the stores and the clients in one line.
fn feed_words(state: &TopState, status: &Value, look: Paint) -> Vec<Span<'static>> {
    let feed = &status["feed"];
    let tone = if feed["state"] == "live" {
        Tone::Good
    } else {
        Tone::Warning
    };
    let of_market = if state.is_simulated() { " of market time" } else { "" };
    let heard = feed["last_message_age_ms"].as_u64().map(Duration::from_millis);
    let heard = heard.map_or_else(String::new, |heard| format!(", received {}{of_market} ago", age(heard)));
    let clients = &status["clients"];
    let slow = clients["conflating"].as_u64().unwrap_or(0);
    let mut spans = vec![
        Span::raw("feed "),
        look.span(value_words(&feed["state"]), tone),
        Span::raw(format!("{heard}   clients {}", value_words(&clients["connected"]))),
    ];
    if slow > 0 {
        spans.push(look.span(format!(", {slow} slow"), Tone::Warning));
    }
    for reader in list(&status["readers"]) {
        let behind = reader["distance"].as_u64().unwrap_or(0);
        let tone = if behind == 0 && reader["trouble"].is_null() {
            Tone::Good
        } else {
            Tone::Warning
        };
        let told = if behind == 0 {
            "up to date".to_owned()
        } else {
            format!("{behind} behind")
        };
        spans.push(Span::raw(format!("   {} ", value_words(&reader["name"]))));
        spans.push(look.span(told, tone));
    }
    let credits = &status["forecast"];
    if credits["fits"] == false {
        let told = format!(
            "   today's calls {} of {}: they do not last",
            value_words(&credits["expected"]),
            value_words(&credits["available"])
        );
        spans.push(look.span(told, Tone::Warning));
    }
    spans
}

fn tab_line(state: &TopState, look: Paint) -> Line<'static> {
    let mut spans = Vec::new();
    for (place, pane) in Pane::ALL.into_iter().enumerate() {
        let count = match (pane, &state.status) {
            (Pane::Conditions, Some(_)) => state.holding().len(),
            (Pane::Gaps, Some(status)) => list(&status["gaps"]).len(),
            (Pane::Actors, Some(status)) => list(&status["actors"])
                .iter()
                .filter(|one| one["alive"] != true)
                .count(),
            _ => 0,
        };
        let count = if count > 0 { format!(" {count}!") } else { String::new() };
        let name = format!(" {} {}{count} ", place.saturating_add(1), pane.name());
        let style = match (pane == state.pane, count.is_empty()) {
            (true, _) => Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD),
            (false, true) => look.style(Tone::Faint),
            (false, false) => look.style(Tone::Warning),
        };
        spans.push(Span::styled(name, style));
    }
    Line::from(spans)
}

/// The columns that fit, in order: columns are dropped until the rest fits.
fn fitting(columns: &[ListColumn], widths: &[u16], width: u16) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    loop {
        let wanted: u16 = kept
            .iter()
            .enumerate()
            .map(|(place, column)| {
                let own = widths.get(*column).copied().unwrap_or(0);
                // The last column is cut before another one is dropped.
                let last = place.saturating_add(1) == kept.len();
                let own = if last { own.min(limits::TOP_LAST_COLUMN) } else { own };
                own.saturating_add(2)
            })
            .fold(0, u16::saturating_add);
        if wanted <= width.saturating_add(2) {
            return kept;
        }
        let yielding = kept.iter().filter_map(|place| {
            let column = columns.get(*place).filter(|column| column.gives_way > 0)?;
            Some((column.gives_way, *place))
        });
        match yielding.max_by_key(|(gives_way, _)| *gives_way) {
            Some((_, first)) => kept.retain(|column| *column != first),
            None => return kept,
        }
    }
}

fn draw_pane(frame: &mut Frame<'_>, state: &mut TopState, look: Paint, area: Rect) {
    let columns = rows::columns(state.pane);
    let rows = rows::rows(state);
    let view = state.view();
    let selected = view.selected.min(rows.len().saturating_sub(1));
    state.rows = rows.len();
    state.columns = columns.len();
    state.page = usize::from(area.height).saturating_sub(1).max(1);
    state.change_view(|view| view.selected = selected);
    if rows.is_empty() {
        frame.render_widget(Line::from(look.span(nothing_words(state), Tone::Faint)), area);
        return;
    }
    if state.shows_detail
        && let Some(row) = rows.get(selected)
    {
        draw_detail(frame, row, look, area);
        return;
    }
    let titles: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(place, column)| match view.sorted_by {
            Some(sorted) if sorted == place && view.descending => format!("{} ▼", column.title),
            Some(sorted) if sorted == place => format!("{} ▲", column.title),
            _ => column.title.to_owned(),
        })
        .collect();
    let widths: Vec<u16> = (0..columns.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.cells.get(column));
            let widest = cells
                .map(|cell| Span::raw(cell.text.as_str()).width())
                .max()
                .unwrap_or(0);
            let title = titles.get(column).map_or(0, |title| Span::raw(title.as_str()).width());
            u16::try_from(widest.max(title)).unwrap_or(u16::MAX)
        })
        .collect();
    let kept = fitting(&columns, &widths, area.width);
    let last = kept.last().copied();
    let constraints = kept.iter().map(|column| match Some(*column) == last {
        true => Constraint::Min(limits::TOP_LAST_COLUMN.min(widths.get(*column).copied().unwrap_or(0))),
        false => Constraint::Length(widths.get(*column).copied().unwrap_or(0)),
    });
    let header = kept.iter().filter_map(|column| titles.get(*column).cloned());
    let header = TableRow::new(header).style(look.style(Tone::Faint).add_modifier(Modifier::UNDERLINED));
    let lines = rows.iter().map(|row| {
        let cells = kept.iter().filter_map(|column| row.cells.get(*column));
        TableRow::new(cells.map(|ListCell { text, tone, .. }| look.span(text.clone(), *tone)))
    });
    let table = Table::new(lines, constraints)
        .header(header)
        .column_spacing(2)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut place = TableState::new().with_selected(Some(selected));
    frame.render_stateful_widget(table, area, &mut place);
}

/// Why the list has no row.
fn nothing_words(state: &TopState) -> String {
    if !state.filter.is_empty() {
        return format!("no row contains {:?}; Esc drops the filter", state.filter);
    }
    if state.status.is_none() {
        return "nothing was received yet".to_owned();
    }
    match state.pane {
        Pane::Gaps => "no gap: every bar that is due is there".to_owned(),
        Pane::Keys => "no key: this node sends no requests to the vendor".to_owned(),
        pane => format!("no {}", pane.name()),
    }
}

/// All members of a row, one a line.
fn draw_detail(frame: &mut Frame<'_>, row: &ListRow, look: Paint, area: Rect) {
    let mut lines = Vec::new();
    write_members(&mut lines, &row.object, "", look);
    let title = Line::from(look.span(" Enter or Esc closes ", Tone::Faint)).alignment(Alignment::Right);
    let block = Block::bordered().title_top(title).border_style(look.style(Tone::Faint));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn write_members(lines: &mut Vec<Line<'static>>, object: &Value, indent: &str, look: Paint) {
    for (name, value) in entries(object) {
        let name = look.span(format!("{indent}{}: ", name.replace('_', " ")), Tone::Faint);
        if value.as_object().is_some_and(|members| !members.is_empty()) {
            lines.push(Line::from(name));
            write_members(lines, value, &format!("{indent}  "), look);
        } else {
            lines.push(Line::from(vec![name, Span::raw(value_words(value))]));
        }
    }
}

fn bottom_line(state: &TopState, look: Paint, width: u16) -> Line<'static> {
    if state.types_filter {
        let told = format!("filter: {}▏", state.filter);
        return Line::from(vec![
            Span::styled(told, Style::new().add_modifier(Modifier::BOLD)),
            look.span("   Enter keeps it, Esc drops it", Tone::Faint),
        ]);
    }
    let mut left = Vec::new();
    for (key, does, _) in KEYS.iter().filter(|(_, does, _)| !does.is_empty()) {
        left.push(Span::styled(
            (*key).to_owned(),
            Style::new().add_modifier(Modifier::BOLD),
        ));
        left.push(look.span(format!(" {does}  "), Tone::Faint));
    }
    let used: usize = left.iter().map(Span::width).sum();
    if used > usize::from(width) {
        left.truncate(10); // the first five: the rest are in the help
    }
    let right = match state.filter.is_empty() {
        true => state.url.clone(),
        false => format!("only rows with {:?}", state.filter),
    };
    fill(left, &[right], width, look)
}

fn draw_help(frame: &mut Frame<'_>, look: Paint, area: Rect) {
    let mut lines: Vec<Line<'static>> = KEYS
        .iter()
        .map(|(key, _, explained)| {
            let key = Span::styled(format!("{key:<10}"), Style::new().add_modifier(Modifier::BOLD));
            Line::from(vec![key, Span::raw((*explained).to_owned())])
        })
        .collect();
    let told = "It is /status of the service. candela explain reports the causes in sentences.";
    lines.push(Line::default());
    lines.push(Line::from(look.span(told, Tone::Faint)));
    frame.render_widget(Clear, area);
    let block = Block::bordered()
        .title_top(" keys ")
        .border_style(look.style(Tone::Faint));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}
