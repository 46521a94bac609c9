//! Two commits' figures side by side: the median of each, and the ratio as the median of pairs.
//!
//! A pair is what both commits printed in one round, one after the other. A figure that only one side prints is
//! shown without a ratio.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::{
    ratio::{Pairs, median},
    tables::{Figure, Key},
};

/// A quantity in both commits.
#[derive(Debug, PartialEq)]
struct Line {
    key: Key,
    decimals: usize,
    /// Medians of all rounds that have it.
    theirs: Option<f64>,
    ours: Option<f64>,
    /// Ours / theirs: the median of the pairs, the least, and the most.
    ratio: Option<(f64, f64, f64)>,
}

/// Compares what each round printed, in the order in which our side printed it first.
fn compare(theirs: &[Vec<Figure>], ours: &[Vec<Figure>]) -> Vec<Line> {
    let mut seen = BTreeSet::new();
    let all = ours.iter().chain(theirs).flatten().map(|figure| &figure.key);
    let keys: Vec<&Key> = all.filter(|key| seen.insert(*key)).collect();
    let of = |round: &[Figure], key: &Key| round.iter().find(|figure| figure.key == *key).map(|figure| figure.value);
    let line = |key: &Key| {
        let values = |rounds: &[Vec<Figure>]| rounds.iter().filter_map(|round| of(round, key)).collect::<Vec<_>>();
        let middle = |values: Vec<f64>| (!values.is_empty()).then(|| median(&values));
        let mut pairs = Pairs::new();
        for (theirs, ours) in theirs.iter().zip(ours) {
            if let (Some(theirs), Some(ours)) = (of(theirs, key), of(ours, key)) {
                pairs.push_figures(ours, theirs);
            }
        }
        let ratio = Some(pairs.ratio()).filter(|(middle, least, most)| [middle, least, most].into_iter().all(|one| one.is_finite()));
        let decimals = ours.iter().chain(theirs).flatten().filter(|figure| figure.key == *key).map(|figure| figure.decimals).max();
        Line { key: key.clone(), decimals: decimals.unwrap_or_default(), theirs: middle(values(theirs)), ours: middle(values(ours)), ratio }
    };
    keys.into_iter().map(line).collect()
}

/// The tables that compare what both sides printed in each round; `revision` names theirs.
pub(crate) fn tables(revision: &str, theirs: &[Vec<Figure>], ours: &[Vec<Figure>]) -> String {
    let lines = compare(theirs, ours);
    let mut seen = BTreeSet::new();
    let tables: Vec<&str> = lines.iter().map(|line| line.key.table.as_str()).filter(|table| seen.insert(*table)).collect();
    let mut text = String::new();
    let mut push = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").unwrap_or_default();
    for table in tables {
        push(format_args!("\n## {table}\n"));
        push(format_args!("| row | column | {revision} | this tree | this tree / {revision} | least to most |"));
        push(format_args!("|---|---|---|---|---|---|"));
        for line in lines.iter().filter(|line| line.key.table == table) {
            let figure = |value: Option<f64>| value.map(|value| format!("{value:.*} {}", line.decimals, line.key.unit)).unwrap_or_default();
            let (ratio, spread) = line
                .ratio
                .map(|(middle, least, most)| (format!("**{middle:.2}**"), format!("{least:.2} to {most:.2}")))
                .unwrap_or_default();
            let Key { row, column, .. } = &line.key;
            push(format_args!(
                "| {row} | {column} | {} | {} | {ratio} | {spread} |",
                figure(line.theirs).trim_end(),
                figure(line.ours).trim_end()
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(figures: &[(&str, f64)]) -> Vec<Figure> {
        let key = |column: &str| Key { table: "T".into(), row: "r".into(), column: column.into(), unit: "us".into() };
        figures.iter().map(|(column, value)| Figure { key: key(column), value: *value, decimals: 1 }).collect()
    }

    #[test]
    fn a_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians() {
        let theirs = [round(&[("a", 1.0)]), round(&[("a", 10.0)]), round(&[("a", 4.0)])];
        let ours = [round(&[("a", 2.0)]), round(&[("a", 10.0)]), round(&[("a", 2.0)])];
        let [line] = compare(&theirs, &ours).try_into().expect("one line");
        assert_eq!((line.theirs, line.ours), (Some(4.0), Some(2.0)));
        assert_eq!(line.ratio, Some((1.0, 0.5, 2.0)));
    }

    #[test]
    fn what_one_side_alone_prints_has_no_ratio() {
        let lines = compare(&[round(&[("a", 1.0), ("old", 2.0)])], &[round(&[("new", 3.0), ("a", 1.0)])]);
        let short: Vec<_> = lines.iter().map(|line| (line.key.column.as_str(), line.theirs, line.ours, line.ratio.is_some())).collect();
        assert_eq!(short, [("new", None, Some(3.0), false), ("a", Some(1.0), Some(1.0), true), ("old", Some(2.0), None, false)]);
    }

    #[test]
    fn a_round_that_lost_a_row_costs_its_pair_alone() {
        let lines = compare(&[round(&[]), round(&[("a", 2.0)])], &[round(&[("a", 9.0)]), round(&[("a", 3.0)])]);
        assert_eq!((lines[0].theirs, lines[0].ratio), (Some(2.0), Some((1.5, 1.5, 1.5))));
    }

    #[test]
    fn nothing_is_no_multiple_of_nothing() {
        assert_eq!(compare(&[round(&[("a", 0.0)])], &[round(&[("a", 0.0)])])[0].ratio, None);
    }

    #[test]
    fn figures_are_printed_as_their_benches_print_them() {
        let text = tables("abc", &[round(&[("a", 2.0), ("b", 1.0)])], &[round(&[("a", 3.0)])]);
        assert!(text.contains("\n## T\n\n| row | column | abc | this tree | this tree / abc | least to most |\n|---|"), "{text}");
        assert!(text.contains("\n| r | a | 2.0 us | 3.0 us | **1.50** | 1.50 to 1.50 |\n| r | b | 1.0 us |  |  |  |\n"), "{text}");
    }
}
