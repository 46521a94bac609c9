//! What outsiders fill has a bound, and the bound is named where the thing is declared: in a comment that begins with `Bound:` and speaks of bytes.
//!
//! Looked at are the crates that outsiders reach: fields of structs (and aliases) that are queues, maps, sets or sets of tasks, and the making of
//! channels. A list that is a value, and comes and goes with a message, is bounded with the message.

use std::{fs, path::Path};

/// Crates that hold what other nodes, clients, operators or modules send.
const BORDERS: [&str; 9] =
    ["host/attestation", "host/chain", "host/chain-core", "host/network", "host/node", "host/peers", "host/rpc", "host/sandbox", "storage"];

/// What grows. A vector does where it is shared.
const GROWING: [&str; 11] = [
    "VecDeque<",
    "BinaryHeap<",
    "HashMap<",
    "HashSet<",
    "BTreeMap<",
    "BTreeSet<",
    "RoundRobin<",
    "Waiting<",
    "JoinSet<",
    "Mutex<Vec<",
    "FuturesUnordered<",
];
const CHANNELS: [&str; 5] = ["mpsc::channel(", "mpsc::channel::<", "unbounded_channel(", "broadcast::channel(", "mpsc::sync_channel("];

/// Whether the comment right above a line names a bound in bytes.
fn is_bounded(above: &[&str]) -> bool {
    let comment = above.iter().rev().map(|line| line.trim()).take_while(|line| line.starts_with("//") || line.starts_with("#["));
    let mut lines: Vec<_> = comment.collect();
    lines.reverse();
    let text = lines.join(" ");
    text.split_once("Bound: ").is_some_and(|(_, bound)| ["byte", "KiB", "MiB", "GiB"].iter().any(|unit| bound.contains(unit)))
}

/// Lines of a file that declare what grows, and name no bound.
fn unbounded(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut in_struct = false;
    for (number, line) in lines.iter().enumerate() {
        let code = line.trim();
        if line.starts_with("#[cfg(test)]") && lines.get(number + 1).is_some_and(|next| next.starts_with("mod tests {")) {
            break;
        }
        let grows = GROWING.iter().any(|growing| code.contains(growing));
        let item = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        let field = in_struct && !code.starts_with("//");
        let alone = item.starts_with("type ") || item.starts_with("struct ") && !line.ends_with('{');
        let declares = grows && (field || alone);
        let makes = !code.starts_with("//") && CHANNELS.iter().any(|channel| code.contains(channel));
        if (declares || makes) && !is_bounded(&lines[..number]) {
            found.push(format!("{}: {code}", number + 1));
        }
        if item.starts_with("struct ") && line.ends_with('{') {
            in_struct = true;
        } else if line.starts_with('}') {
            in_struct = false;
        }
    }
    found
}

#[test]
fn what_outsiders_fill_names_its_bound_in_bytes() {
    let mut found = Vec::new();
    for border in BORDERS {
        let mut files = Vec::new();
        super::sources(&Path::new(super::ROOT).join(border).join("src"), &mut files);
        assert!(!files.is_empty(), "{border}: the sources are not where they were");
        // What tests make is filled by nobody else.
        files.retain(|file| !["tests.rs", "fuzzed.rs"].iter().any(|name| file.ends_with(name)));
        for file in files {
            let lines = unbounded(&fs::read_to_string(&file).unwrap());
            found.extend(lines.into_iter().map(|line| format!("{}:{line}", file.display())));
        }
    }
    assert!(found.is_empty(), "each needs a comment \"Bound: ...\" that speaks of bytes (CONTRIBUTING.md, Style):\n{}", found.join("\n"));
}

#[test]
fn a_queue_without_a_bound_is_found_and_one_with_a_bound_is_not() {
    let text = "
pub(crate) struct Queue {
    waiting: VecDeque<Frame>,
    /// Frames.
    others: Mutex<BTreeMap<u64, Frame>>,
    /// Bound: 10 of them.
    counted: HashMap<u64, Frame>,
    /// Who waits. Bound: 10 frames of
    /// 64 bytes.
    #[serde(default)]
    bounded: HashMap<u64, Frame>,
    name: Vec<u8>,
}

fn frames(all: BTreeMap<u64, Frame>) {
    // Bound: 10 bytes.
    let (one, other) = mpsc::channel(1);
    let more: VecDeque<Frame> = VecDeque::new();
    let (one, other) = mpsc::unbounded_channel();
    let (one, other) = mpsc::channel::<Frame>(1);
}

struct Alone(VecDeque<Frame>);
type Frames = HashMap<u64, Frame>;

#[cfg(test)]
mod tests {
    struct Heard {
        all: VecDeque<Frame>,
    }
}
";
    let lines: Vec<_> = unbounded(text).into_iter().map(|line| line.split(':').next().unwrap().parse::<usize>().unwrap()).collect();
    assert_eq!(lines, [3, 5, 7, 19, 20, 23, 24]);
}
