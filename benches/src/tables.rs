//! Reads figures back from the markdown tables that a bench printed, of this commit or of another.
//!
//! Not here: comparing figures (`comparison`), running the benches (`against`). A figure is a cell with a number
//! and perhaps a unit, anywhere but in a row's first cell. Other cells (ranges, remarks, empty cells) are skipped,
//! and so is text between tables.

use std::collections::BTreeSet;

/// Where a figure is. Two commits' figures are the same quantity if their keys are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The heading above the table; numbered from the second table under one heading on.
    pub(crate) table: String,
    /// The row's first cell, or as many as tell the table's rows apart.
    pub(crate) row: String,
    /// The column's head; numbered from the second of one name on.
    pub(crate) column: String,
    pub(crate) unit: String,
}

/// A cell that is a number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) key: Key,
    pub(crate) value: f64,
    /// Digits behind the point, to print others like it.
    pub(crate) decimals: usize,
}

/// All figures of what a bench printed, in its order.
pub(crate) fn parse(text: &str) -> Vec<Figure> {
    let lines: Vec<Option<Vec<&str>>> = text.lines().map(cells).collect();
    let is_rule = |at: usize| lines.get(at).and_then(Option::as_ref).is_some_and(|cells| cells.iter().all(|cell| is_rule(cell)));
    let mut figures = Vec::new();
    let (mut heading, mut tables, mut at) = ("", 0, 0);
    for (index, line) in text.lines().enumerate() {
        if let Some(text) = line.strip_prefix("## ") {
            (heading, tables) = (text.trim(), 0);
        }
        if index < at || !is_rule(index + 1) {
            continue;
        }
        let Some(columns) = &lines[index] else { continue };
        at = index + 2;
        let mut rows = Vec::new();
        // A head right behind this table's rows begins another one.
        while let Some(Some(row)) = lines.get(at)
            && !is_rule(at + 1)
        {
            rows.push(row.as_slice());
            at += 1;
        }
        tables += 1;
        figures.extend(table(&numbered(heading, tables), columns, &rows));
    }
    figures
}

fn table(name: &str, columns: &[&str], rows: &[&[&str]]) -> Vec<Figure> {
    let labels = labels_per_row(rows);
    let mut seen = Vec::new();
    let rows: Vec<(String, &&[&str])> = rows
        .iter()
        .map(|row| {
            let label = row[..labels.min(row.len())].join(", ");
            seen.push(label.clone());
            (numbered(&label, seen.iter().filter(|one| **one == label).count()), row)
        })
        .collect();
    let column = |index: usize| numbered(columns[index], columns[..=index].iter().filter(|one| **one == columns[index]).count());
    let mut figures = Vec::new();
    for (label, row) in rows {
        for (index, cell) in row.iter().enumerate().take(columns.len()).skip(labels) {
            if let Some((value, decimals, unit)) = number(cell) {
                let key = Key { table: name.to_owned(), row: label.clone(), column: column(index), unit: unit.to_owned() };
                figures.push(Figure { key, value, decimals });
            }
        }
    }
    figures
}

/// How many first cells tell the rows apart. Only what is no measured figure may do so, since figures differ from run to run: text, and
/// whole numbers without a unit. One where that is not enough; rows of one name are then numbered.
fn labels_per_row(rows: &[&[&str]]) -> usize {
    let width = rows.iter().map(|row| row.len()).min().unwrap_or_default();
    let is_label = |cell: &str| number(cell).is_none_or(|(_, decimals, unit)| decimals == 0 && unit.is_empty());
    let usable = (1..width).take_while(|index| rows.iter().all(|row| is_label(row[*index]))).count();
    let differ = |labels: &usize| rows.iter().map(|row| &row[..*labels]).collect::<BTreeSet<_>>().len() == rows.len();
    (1..=usable + 1).take_while(|labels| *labels <= width).find(differ).unwrap_or(1)
}

fn numbered(name: &str, number: usize) -> String {
    if number > 1 { format!("{name} ({number})") } else { name.to_owned() }
}

/// The cells of a line that is a row of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// Whether a cell is of the line between a table's head and its rows.
fn is_rule(cell: &str) -> bool {
    !cell.is_empty() && cell.chars().all(|one| one == '-' || one == ':')
}

/// The number of a cell, its decimals, and its unit. Of `**0.97** (0.94 to 1.02)` it is what stands before the bracket.
fn number(cell: &str) -> Option<(f64, usize, &str)> {
    let cell = cell.split(" (").next().unwrap_or_default();
    let cell = cell.trim_start_matches('*');
    let end = cell.find(|one: char| !one.is_ascii_digit() && one != '.' && one != '-').unwrap_or(cell.len());
    let (digits, unit) = cell.split_at(end);
    let unit = unit.trim_matches(|one: char| one == '*' || one == ' ');
    // A second number makes it a range or a remark.
    let value = digits.parse().ok().filter(|_| !unit.contains(|one: char| one.is_ascii_digit()))?;
    Some((value, digits.split_once('.').map_or(0, |(_, decimals)| decimals.len()), unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> Vec<String> {
        let line = |Figure { key, value, decimals }| {
            let Key { table, row, column, unit } = key;
            format!("{table} / {row} / {column}: {value:.decimals$} {unit}")
        };
        parse(text).into_iter().map(line).collect()
    }

    #[test]
    fn a_cell_is_a_figure_if_it_is_one_number() {
        for (cell, expected) in [
            ("5.61 us/tx", Some((5.61, 2, "us/tx"))),
            ("**0.57**", Some((0.57, 2, ""))),
            ("**40 KiB**", Some((40.0, 0, "KiB"))),
            ("0.00 %", Some((0.0, 2, "%"))),
            ("8443/s", Some((8443.0, 0, "/s"))),
            ("**1.31** (1.16 to 1.48)", Some((1.31, 2, ""))),
            ("-3", Some((-3.0, 0, ""))),
            ("1.16 to 1.48", None),
            ("all mined, 18444/s, 39 MiB", None),
            ("1 in 32", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(number(cell), expected, "{cell:?}");
        }
    }

    #[test]
    fn figures_are_named_by_heading_first_cell_and_column() {
        let text = "\n## Title\n\nSome text.\n\n| of | guest | quartiles |\n|---|---|---|\n| a (2 tx) | 1.50 us | 1 to 2 |\n| b | x | |\n";
        assert_eq!(short(text), ["Title / a (2 tx) / guest: 1.50 us"]);
    }

    #[test]
    fn tables_under_one_heading_and_columns_of_one_name_are_numbered() {
        let text =
            "## T\n| n | p50 | beside | p99 | beside |\n|---|---|---|---|---|\n| a | 1 | 2 | 3 | 4 |\n\n| n | p50 |\n|:--|--:|\n| a | 5 |";
        let expected = ["T / a / p50: 1 ", "T / a / beside: 2 ", "T / a / p99: 3 ", "T / a / beside (2): 4 ", "T (2) / a / p50: 5 "];
        assert_eq!(short(text), expected);
    }

    #[test]
    fn rows_of_one_name_are_told_apart_by_what_is_not_measured() {
        let text = "## T\n| chains | size | rate |\n|---|---|---|\n| 1 in 1 | 1 | 979 |\n| 1 in 1 | 20 | 449 |\n";
        assert_eq!(short(text), ["T / 1 in 1, 1 / rate: 979 ", "T / 1 in 1, 20 / rate: 449 "]);
        let text = "## T\n| parts | share |\n|---|---|\n| 1 | 3.33 % |\n| 1 | 3.34 % |\n";
        assert_eq!(short(text), ["T / 1 / share: 3.33 %", "T / 1 (2) / share: 3.34 %"]);
    }

    #[test]
    fn what_was_cut_off_costs_no_more_than_its_row() {
        let text = "## T\n| a | b |\n|---|---|\n| x | 1 |\n| y | 2";
        assert_eq!(short(text), ["T / x / b: 1 "]);
        assert!(short("| a |").is_empty());
        assert!(short("").is_empty());
    }
}
