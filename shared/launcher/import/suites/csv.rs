//! Comma- or tab-separated values, as RFC 4180 and spreadsheets write them.

use std::iter::Peekable;
use std::str::Chars;

use anyhow::{Result, bail};

/// Most columns.
const MOST_FIELDS: usize = 4096;

/// Rows of fields; the first may be a header. Blank lines are no rows.
///
/// # Errors
/// A quote that does not end, text after one, too many fields; with the line.
pub(super) fn rows(text: &str, separator: char) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    let mut reader = Reader { rest: text.chars().peekable(), line: 1, separator };
    while reader.rest.peek().is_some() {
        let row = reader.row()?;
        if row.len() > 1 || row.iter().any(|field| !field.is_empty()) {
            rows.push(row);
        }
    }
    Ok(rows)
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    separator: char,
}

impl Reader<'_> {
    fn row(&mut self) -> Result<Vec<String>> {
        let mut row = Vec::new();
        loop {
            let quoted = self.rest.peek() == Some(&'"');
            row.push(if quoted { self.quoted()? } else { self.plain() });
            if row.len() > MOST_FIELDS {
                bail!("line {}: more than {MOST_FIELDS} fields", self.line);
            }
            if !self.goes_on()? {
                return Ok(row);
            }
        }
    }

    /// Whether a field is followed by another one in its row.
    fn goes_on(&mut self) -> Result<bool> {
        match self.rest.next() {
            None => return Ok(false),
            Some(end) if end == self.separator => return Ok(true),
            Some('\n') => {}
            Some('\r') => {
                self.rest.next_if_eq(&'\n');
            }
            Some(_) => bail!("line {}: text after a closing quote", self.line),
        }
        self.line += 1;
        Ok(false)
    }

    fn plain(&mut self) -> String {
        let separator = self.separator;
        let inside = |c: &char| *c != separator && !matches!(c, '\n' | '\r');
        std::iter::from_fn(|| self.rest.next_if(inside)).collect()
    }

    fn quoted(&mut self) -> Result<String> {
        let started = self.line;
        let mut field = String::new();
        self.rest.next();
        loop {
            match self.rest.next() {
                Some('"') if self.rest.next_if_eq(&'"').is_none() => return Ok(field),
                Some(character) => {
                    self.line += usize::from(character == '\n');
                    field.push(character);
                }
                None => bail!("line {started}: a quote that does not end"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn quotes_breaks_and_blank_lines_are_read_as_spreadsheets_write_them() {
        let text = "a,\"b, \"\"c\"\"\",d\r\n\r\n\"two\nlines\",,\n1";
        let expected: [&[&str]; 3] = [&["a", "b, \"c\"", "d"], &["two\nlines", "", ""], &["1"]];
        assert_eq!(rows(text, ',').unwrap(), expected);
        assert_eq!(rows("a\tb,c", '\t').unwrap(), [["a", "b,c"]]);
        assert!(rows("", ',').unwrap().is_empty());
    }

    #[test]
    fn what_is_broken_is_named_by_its_line() {
        let refused = |text: &str| rows(text, ',').unwrap_err().to_string();
        assert!(refused("a\n\"b").contains("line 2"));
        assert!(refused("a\n\"b\"c").contains("line 2"));
        assert!(refused(&",".repeat(5000)).contains("4096"));
    }
}
