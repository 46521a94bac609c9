//! Prints columns that line up.

/// A table's text. Cells that start with a digit are aligned to the right.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heads.iter().map(|head| head.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let numeric = |column: usize| {
        !rows.is_empty()
            && rows.iter().all(|row| row[column].is_empty() || row[column] == "-" || row[column].starts_with(|c: char| c.is_ascii_digit()))
    };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| if numeric(column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") })
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut heads.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_line_up_on_the_right() {
        let rows = [vec!["a".to_owned(), "7".to_owned()], vec!["long".to_owned(), "1000".to_owned()]];
        assert_eq!(super::table(&["NAME", "N"], &rows), "NAME     N\na        7\nlong  1000\n");
    }
}
