//! Text for people: model output without control characters, numbers, tables.

/// A line on stdout. A reader that has gone away, as `head` does, ends the program quietly; the
/// daemons end with it.
macro_rules! out {
    ($($argument:tt)*) => {
        $crate::text::line(&format!($($argument)*))
    };
}

/// See [`out!`].
pub(crate) fn line(text: &str) {
    use std::io::Write;
    if writeln!(std::io::stdout().lock(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Model or peer text made safe for a terminal: control characters, which could move the cursor or
/// rewrite what was shown, become `�`; a tab or line break becomes a space.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\t' | '\n' | '\r' => ' ',
            bad if bad.is_control() || is_invisible_format(bad) => '\u{FFFD}',
            good => good,
        })
        .collect()
}

/// Bidirectional overrides, zero-width characters and tags, which hide text in plain sight.
fn is_invisible_format(character: char) -> bool {
    matches!(character,
        '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}'
        | '\u{E0000}'..='\u{E007F}')
}

/// The wire name of an enum's variant, for people.
pub(crate) fn wire_name(value: &impl serde::Serialize) -> String {
    let name = serde_json::to_value(value).ok();
    name.as_ref().and_then(|name| name.as_str()).unwrap_or("?").replace('_', " ")
}

/// `42.0 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// `3 m 05 s`, `12 s`.
pub(crate) fn duration(seconds: u64) -> String {
    if seconds < 60 {
        format!("{seconds} s")
    } else {
        format!("{} m {:02} s", seconds / 60, seconds % 60)
    }
}

/// Columns padded to their widest cell; the first is left-aligned, the others right-aligned.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                let pad = " ".repeat(width - cell.chars().count());
                if column == 0 { format!("{cell}{pad}") } else { format!("{pad}{cell}") }
            })
            .collect();
        text.push_str("  ");
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_a_model_never_reach_the_terminal() {
        assert_eq!(printable("\u{1b}[2Jhi\u{7}\u{202e}x\n"), "\u{FFFD}[2Jhi\u{FFFD}\u{FFFD}x ");
    }

    #[test]
    fn a_table_aligns_its_numbers_to_the_right() {
        let rows = vec![vec!["base".into(), "6.5".into()], vec!["a".into(), "12.5".into()]];
        assert_eq!(table(&rows), "  base    6.5\n  a      12.5\n");
    }
}
