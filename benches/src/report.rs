//! A table that is printed row by row, and once more as one line of JSON when it is whole.

use serde_json::{Map, Value, json};

/// What a cell says.
pub(crate) enum Cell {
    Text(String),
    /// A figure, its digits behind the point, and its unit.
    Figure(f64, usize, &'static str),
    /// The same, which has a target.
    Result(f64, usize, &'static str),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Cell {
    fn printed(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Figure(value, decimals, unit) => format!("{value:.decimals$} {unit}").trim_end().to_owned(),
            Self::Result(value, decimals, unit) => format!("**{}**", format!("{value:.decimals$} {unit}").trim_end()),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            // What could not be measured is no number, and null in JSON.
            Self::Figure(value, ..) | Self::Result(value, ..) => json!(value),
        }
    }
}

/// A table in the making.
pub(crate) struct Report {
    title: String,
    columns: &'static [&'static str],
    rows: Vec<Value>,
}

impl Report {
    /// Prints the head of a table.
    pub(crate) fn new(title: &str, columns: &'static [&'static str]) -> Self {
        println!("\n## {title}\n\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
        Self { title: title.to_owned(), columns, rows: Vec::new() }
    }

    /// Prints a row, which has a cell for each column.
    pub(crate) fn row(&mut self, cells: &[Cell]) {
        println!("| {} |", cells.iter().map(Cell::printed).collect::<Vec<_>>().join(" | "));
        self.rows
            .push(self.columns.iter().zip(cells).map(|(column, cell)| ((*column).to_owned(), cell.json())).collect::<Map<_, _>>().into());
    }

    /// Prints all of it as JSON.
    pub(crate) fn finish(self) {
        println!("\n{}", json!({ "table": self.title, "rows": self.rows }));
    }
}
