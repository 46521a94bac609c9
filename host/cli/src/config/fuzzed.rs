//! Configurations that nobody thought of: each is taken, or refused with a line or the name of what is wrong.

use subnode_fuzzer::{Fuzz, kind, kind_of_message, peak_of};

use super::{EXAMPLE, parse};

/// Memory that reading takes for each byte, and besides: a key or a value of some letters is a table's row.
const MEMORY_PER_BYTE: usize = 200;
const MEMORY_BESIDE: usize = 256 << 10;
/// What an error says: the line that is wrong twice over, and the keys that would be right.
const ERROR_PER_BYTE: usize = 8;
const ERROR_BESIDE: usize = 4 << 10;

/// What an error begins with that no line is wrong for, but two of them together.
const TOGETHER: [&str; 5] = ["two chains are named ", "chains ", "chain ", "rpc.listen and metrics.listen ", "capacity.parts"];

fn samples() -> Vec<String> {
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") || rest.starts_with('[') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let begin = "data-dir = \"d\"\n";
    vec![
        EXAMPLE.to_owned(),
        uncommented,
        begin.to_owned(),
        format!("{begin}[[chain]]\nname = \"a\"\ngenesis = \"g\"\n[[chain]]\nname = \"b\"\nruntime = \"kv\"\n"),
        format!("{begin}{}", "[[chain]]\nname = \"a\"\nruntime = \"kv\"\n".repeat(200)),
        format!("{begin}{} = 1\n", "k".repeat(50_000)),
        format!("{begin}[rpc]\n{} = 1\n", "k".repeat(50_000)),
        format!("{begin}[{}]\n", ["a"; 20_000].join(".")),
        format!("{begin}{} = 1\n", ["a"; 20_000].join(".")),
        format!("data-dir = {}\n", "[".repeat(50_000)),
        format!("data-dir = {}\n", "{a=".repeat(20_000)),
        format!("data-dir = \"{}\"\n", "\\u0001".repeat(10_000)),
        format!("{begin}[capacity]\nmemory = \"{}\"\n", "9".repeat(50_000)),
        format!("{begin}[capacity]\nparts = {}\n", "9".repeat(50_000)),
        format!("{begin}[log]\nlevel = \"{}\"\n", "\u{7f}".repeat(50_000)),
        format!("{begin}[[chain]]\nname = \"{}\"\n", "\u{7f}".repeat(50_000)),
        format!("{begin}[[chain]]\nname = \"a\"\nsealing = \"{}\"\n", "\u{7f}".repeat(50_000)),
        format!("{begin}[network]\nname = \"n\"\nkey = \"k\"\n[network.peers]\n{} = \"1.2.3.4:5\"\n", "ab".repeat(32)),
    ]
}

#[test]
fn fuzzed_configurations_are_taken_or_refused_with_what_is_wrong() {
    let words = ["\n", "[", "]", "[[chain]]\n", " = ", "\"", "\"\"\"", "'", "#", "{", "}", ",", ".", "\\u", "0x", "1979-05-27", "nan", "-"];
    let units = ["\"1GiB\"", "\"9999999999TiB\"", "\"archive\"", "18446744073709551615", "9223372036854775807", "-1", "1e400", "true"];
    let keys = EXAMPLE.lines().filter_map(|line| line.trim_start_matches("# ").split_once(" = ")).map(|(key, _)| key);
    let fuzz = Fuzz::new("configuration", 64 << 10).samples(samples()).words(words).words(units).words(keys);
    fuzz.run(|input| {
        // A file of other bytes is refused before it is parsed.
        let text = String::from_utf8_lossy(input);
        let (parsed, peak) = peak_of(|| parse(&text));
        assert!(peak <= MEMORY_PER_BYTE * text.len() + MEMORY_BESIDE, "{peak} bytes of memory for {}", text.len());
        match parsed {
            Ok(config) => {
                let again = parse(&text).expect("what was taken");
                assert_eq!(config, again);
                assert!(config.fixed_differences(&again).is_empty());
                kind((config.chains.len().min(3), config.network.is_some()))
            }
            Err(error) => {
                let error = format!("{error:#}");
                assert!(error.len() <= ERROR_PER_BYTE * text.len() + ERROR_BESIDE, "an error of {} bytes for {}", error.len(), text.len());
                let named =
                    error.contains(" line ") || error.contains("missing field `") || TOGETHER.iter().any(|begin| error.starts_with(begin));
                assert!(named, "an error that names nothing: {error:.1000}");
                kind_of_message(&error)
            }
        }
    });
}
