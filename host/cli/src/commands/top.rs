//! `subnode top`: a running node's chains, live.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use anyhow::Context;
use ratatui::{
    Frame, Terminal,
    backend::TestBackend,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table, TableState},
};
use serde_json::{Value, json};
use subnode_types::ByteSize;

use crate::{args::TopArgs, client::Client};

/// Looks kept for the curves.
const LOOKS_MAX: usize = 120;
/// The picture that `--once` prints.
const ONCE_COLUMNS: u16 = 150;

/// What the table can be sorted by, and what it is called there.
const SORTS: [&str; 8] = ["NAME", "CPU", "MEMORY", "STORAGE", "TRAFFIC", "BLOCKS/S", "POOL", "FAULTS"];

/// A chain at one look, with what changed since the one before.
struct Seen {
    chain: Value,
    /// Of one core.
    cpu: f64,
    blocks: f64,
    transactions: f64,
    traffic: f64,
    build_ms: f64,
}

/// All that is shown.
struct Picture {
    status: Value,
    chains: Vec<Seen>,
    /// CPU in thousandths of a core, by chain.
    curves: BTreeMap<String, VecDeque<u64>>,
    sort: usize,
    reversed: bool,
    detail: bool,
    selected: TableState,
    before: Option<(Instant, BTreeMap<String, Value>)>,
}

pub fn run(args: &TopArgs) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.node)?;
    let mut picture = Picture {
        status: Value::Null,
        chains: Vec::new(),
        curves: BTreeMap::new(),
        sort: 1,
        reversed: false,
        detail: false,
        selected: TableState::default().with_selected(0),
        before: None,
    };
    picture.look(&mut client)?;
    if args.once {
        // Rates need two looks.
        std::thread::sleep(args.interval);
        picture.look(&mut client)?;
        print!("{}", picture.text()?);
        return Ok(());
    }
    let mut terminal = ratatui::try_init().context("no terminal to draw on; --once prints one picture")?;
    let ended = picture.live(&mut client, &mut terminal, args.interval);
    ratatui::restore();
    ended
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

fn bytes(value: &Value) -> String {
    ByteSize(value.as_u64().unwrap_or_default()).to_string()
}

impl Picture {
    fn look(&mut self, client: &mut Client) -> anyhow::Result<()> {
        self.status = client.call("node_status", &json!({}))?;
        let chains = client.call("chain_list", &json!({}))?;
        let now = Instant::now();
        let name = |chain: &Value| chain["name"].as_str().unwrap_or_default().to_owned();
        let by_name: BTreeMap<String, Value> = chains.as_array().into_iter().flatten().map(|chain| (name(chain), chain.clone())).collect();
        let seconds = self.before.as_ref().map_or(f64::INFINITY, |(before, _)| now.duration_since(*before).as_secs_f64().max(0.001));
        self.chains = by_name
            .values()
            .map(|chain| {
                let before = self.before.as_ref().and_then(|(_, before)| before.get(&name(chain)));
                // A chain that was started anew counts from 0.
                let since = |key: &str| {
                    let earlier = before.map_or(0.0, |before| number(&before["stats"][key]));
                    (number(&chain["stats"][key]) - earlier).max(0.0)
                };
                let blocks = since("blocks");
                Seen {
                    cpu: since("cpuNs") / 1e9 / seconds,
                    blocks: blocks / seconds,
                    transactions: since("transactions") / seconds,
                    traffic: (since("receivedBytes") + since("sentBytes")) / seconds,
                    build_ms: if blocks > 0.0 { since("buildUs") / 1e3 / blocks } else { 0.0 },
                    chain: chain.clone(),
                }
            })
            .collect();
        self.curves.retain(|chain, _| by_name.contains_key(chain));
        for seen in &self.chains {
            let curve = self.curves.entry(name(&seen.chain)).or_default();
            if curve.len() >= LOOKS_MAX {
                curve.pop_front();
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cores in thousandths are few and not negative")]
            curve.push_back((seen.cpu * 1000.0) as u64);
        }
        self.before = Some((now, by_name));
        self.order();
        Ok(())
    }

    fn order(&mut self) {
        let key = |seen: &Seen| -> f64 {
            let stats = &seen.chain["stats"];
            match SORTS[self.sort] {
                "CPU" => seen.cpu,
                "MEMORY" => number(&stats["memoryBytes"]),
                "STORAGE" => number(&stats["storageBytes"]),
                "TRAFFIC" => seen.traffic,
                "BLOCKS/S" => seen.blocks,
                "POOL" => number(&stats["poolReady"]) + number(&stats["poolWaiting"]),
                "FAULTS" => number(&stats["guestFaults"]) + number(&stats["hostFaults"]) + number(&seen.chain["failures"]),
                _ => 0.0,
            }
        };
        // They come by name, and a stable sort keeps that among equals.
        self.chains.sort_by(|one, other| key(other).total_cmp(&key(one)));
        if self.reversed {
            self.chains.reverse();
        }
    }

    fn live(&mut self, client: &mut Client, terminal: &mut ratatui::DefaultTerminal, interval: Duration) -> anyhow::Result<()> {
        let mut next = Instant::now() + interval;
        loop {
            terminal.draw(|frame| self.draw(frame))?;
            if event::poll(next.saturating_duration_since(Instant::now()))? {
                let Event::Key(key) = event::read()? else { continue };
                if key.kind == KeyEventKind::Release {
                    continue;
                }
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
                    KeyCode::Char('s') | KeyCode::Right => self.sort = (self.sort + 1) % SORTS.len(),
                    KeyCode::Left => self.sort = (self.sort + SORTS.len() - 1) % SORTS.len(),
                    KeyCode::Char('r') => self.reversed = !self.reversed,
                    KeyCode::Enter | KeyCode::Char('d') => self.detail = !self.detail,
                    KeyCode::Down | KeyCode::Char('j') => self.selected.select_next(),
                    KeyCode::Up | KeyCode::Char('k') => self.selected.select_previous(),
                    _ => {}
                }
                self.order();
            } else {
                self.look(client)?;
                next = Instant::now() + interval;
            }
        }
    }

    /// The picture as text.
    fn text(&mut self) -> anyhow::Result<String> {
        // The head, the table and its head, and a line for the keys.
        let rows = u16::try_from(self.chains.len()).unwrap_or(u16::MAX).saturating_add(5);
        let mut terminal = Terminal::new(TestBackend::new(ONCE_COLUMNS, rows))?;
        terminal.draw(|frame| self.draw(frame))?;
        let buffer = terminal.backend().buffer().clone();
        let lines = buffer.content().chunks(usize::from(ONCE_COLUMNS)).map(|cells| {
            let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
            line.trim_end().to_owned()
        });
        let lines: Vec<String> = lines.collect();
        // The keys are of no use on paper.
        Ok(lines[..lines.len() - 1].join("\n") + "\n")
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let detail = if self.detail { 10 } else { 0 };
        let [head, table, below, keys] =
            Layout::vertical([Constraint::Length(3), Constraint::Min(3), Constraint::Length(detail), Constraint::Length(1)])
                .areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        self.draw_table(frame, table);
        if self.detail {
            self.draw_detail(frame, below);
        }
        let order = if self.reversed { "ascending" } else { "descending" };
        let help = format!("q quit   s sort ({}, {order})   r reverse   \u{2191}\u{2193} select   enter detail", SORTS[self.sort]);
        frame.render_widget(Paragraph::new(help).style(Style::new().fg(Color::DarkGray)), keys);
    }

    fn head(&self) -> Vec<Line<'static>> {
        let (status, store) = (&self.status, &self.status["store"]);
        let cpu: f64 = self.chains.iter().map(|seen| seen.cpu).sum();
        let (blocks, transactions) =
            self.chains.iter().fold((0.0, 0.0), |(blocks, transactions), seen| (blocks + seen.blocks, transactions + seen.transactions));
        let well = if status["healthy"] == true { "well".to_owned() } else { "NOT WELL: subnode health".to_owned() };
        vec![
            Line::from(format!(
                "subnode {}   {} chains, {} running   {}",
                status["version"].as_str().unwrap_or_default(),
                self.chains.len(),
                status["chains"]["running"],
                well
            )),
            Line::from(format!(
                "cores {cpu:.2} of {} used, {} of {} parts granted   memory {} resident, {} granted   disk {}, {} free",
                status["cores"],
                status["granted"]["parts"],
                status["capacity"]["parts"],
                bytes(&status["residentBytes"]),
                bytes(&status["granted"]["memoryBytes"]),
                bytes(&store["diskBytes"]),
                bytes(&store["diskFreeBytes"])
            )),
            Line::from(format!("{blocks:.1} blocks/s   {transactions:.0} transactions/s")),
        ]
    }

    fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let heads =
            ["NAME", "STATE", "CPU", "GRANTED", "MEMORY", "STORAGE", "TRAFFIC", "HEIGHT", "BLOCKS/S", "TX/S", "BLOCK", "POOL", "FAULTS"];
        let sorted = SORTS[self.sort];
        let head = Row::new(heads.map(|head| {
            let style =
                if head == sorted { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new().add_modifier(Modifier::BOLD) };
            Cell::from(head).style(style)
        }));
        let parts = number(&self.status["capacity"]["parts"]).max(1.0);
        let cores = number(&self.status["cores"]);
        let rows = self.chains.iter().map(|seen| {
            let (chain, stats, slice) = (&seen.chain, &seen.chain["stats"], &seen.chain["slice"]);
            let state = chain["state"].as_str().unwrap_or_default();
            let colour = match state {
                "running" => Color::Green,
                "paused" | "stopped" => Color::Yellow,
                _ => Color::Red,
            };
            let full = |used: &Value, limit: &Value| {
                let used_bytes = number(used);
                let style = if used_bytes > number(limit) * 0.9 { Style::new().fg(Color::Red) } else { Style::new() };
                Cell::from(format!("{}/{}", bytes(used), bytes(limit))).style(style)
            };
            Row::new([
                Cell::from(chain["name"].as_str().unwrap_or_default().to_owned()),
                Cell::from(state.to_owned()).style(Style::new().fg(colour)),
                Cell::from(format!("{:5.1}%", seen.cpu * 100.0)),
                Cell::from(format!("{:5.1}%", number(&slice["parts"]) / parts * cores * 100.0)),
                full(&stats["memoryBytes"], &slice["memoryBytes"]),
                full(&stats["storageBytes"], &slice["storageBytes"]),
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes per second are not negative")]
                Cell::from(format!("{}/s", ByteSize(seen.traffic as u64))),
                Cell::from(chain.get("height").map(Value::to_string).unwrap_or_default()),
                Cell::from(format!("{:.1}", seen.blocks)),
                Cell::from(format!("{:.0}", seen.transactions)),
                Cell::from(format!("{:.1} ms", seen.build_ms)),
                Cell::from(format!(
                    "{}+{}",
                    stats["poolReady"].as_u64().unwrap_or_default(),
                    stats["poolWaiting"].as_u64().unwrap_or_default()
                )),
                Cell::from(format!("{}", number(&stats["guestFaults"]) + number(&stats["hostFaults"]) + number(&chain["failures"]))),
            ])
        });
        let widths = [16, 11, 7, 7, 17, 17, 11, 8, 8, 6, 9, 9, 6].map(Constraint::Length);
        let table = Table::new(rows, widths).header(head).row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, area, &mut self.selected);
    }

    fn draw_detail(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(seen) = self.selected.selected().and_then(|index| self.chains.get(index)) else { return };
        let (chain, stats) = (&seen.chain, &seen.chain["stats"]);
        let name = chain["name"].as_str().unwrap_or_default();
        let block = Block::new().borders(Borders::TOP).title(format!(" {name} "));
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let [text, curve] = Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).areas(inner);
        let mut lines = vec![
            format!("{} on {}, sealing {}, id {}", chain["runtime"], chain["consensus"], chain["sealing"], chain["id"]),
            format!("{} blocks with {} transactions since it was started", stats["blocks"], stats["transactions"]),
            format!(
                "pool: {} admitted, {} refused, {} shed, {} of memory",
                stats["admitted"],
                stats["refused"],
                stats["shed"],
                bytes(&stats["poolBytes"])
            ),
            format!("calls: {}, {} refused, {} subscriptions", stats["queries"], stats["queriesRefused"], stats["subscriptions"]),
            format!(
                "faults: {} of its modules, {} of this host, {} failures",
                stats["guestFaults"], stats["hostFaults"], chain["failures"]
            ),
            format!("blocks were late by {:.1} ms at most", number(&stats["lateUsMax"]) / 1e3),
        ];
        if let Some(reason) = chain["reason"].as_str() {
            lines.push(format!("why: {reason}"));
        }
        frame.render_widget(Paragraph::new(lines.into_iter().map(Line::from).collect::<Vec<_>>()), text);
        let points: Vec<u64> = self.curves.get(name).into_iter().flatten().copied().collect();
        let curve_block = Block::new().title("CPU");
        frame.render_widget(Sparkline::default().block(curve_block).data(&points).style(Style::new().fg(Color::Cyan)), curve);
    }
}
