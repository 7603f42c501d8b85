//! Grid grader: the answer is the gold grid, cell by cell. For ARC.
//!
//! Grids are read as rows of numbers on lines of their own, as nested JSON lists, or as NumPy prints
//! them; a `#` that ends an answer is left out.

/// Longest side of a grid that is read; ARC has 30.
const MOST_SIDE: usize = 64;

type Grid = Vec<Vec<u8>>;

/// Whether `answer` holds exactly the grid `gold`. What is no grid equals none.
pub fn grid(answer: &str, gold: &str) -> bool {
    matches!((read(answer), read(gold)), (Some(answer), Some(gold)) if answer == gold)
}

fn read(text: &str) -> Option<Grid> {
    let text = text.trim().trim_end_matches('#').trim_end();
    let rows: Option<Grid> = if text.contains('[') { nested(text) } else { lines(text) };
    rows.filter(|rows| is_rectangle(rows))
}

fn is_rectangle(rows: &[Vec<u8>]) -> bool {
    let width = rows.first().map_or(0, Vec::len);
    let sides = [rows.len(), width];
    sides.iter().all(|side| (1..=MOST_SIDE).contains(side))
        && rows.iter().all(|row| row.len() == width)
}

/// Nothing but rows: a line with anything else makes it no grid.
fn lines(text: &str) -> Option<Grid> {
    text.lines().filter(|line| !line.trim().is_empty()).map(row).collect()
}

/// `[[0, 1], [2, 3]]`, commas or not.
fn nested(text: &str) -> Option<Grid> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?.trim();
    let inside = inside.strip_prefix('[')?.strip_suffix(']')?;
    inside
        .split(']')
        .enumerate()
        .map(|(index, part)| match index {
            0 => row(part),
            _ => row(part.trim_start().trim_start_matches(',').trim_start().strip_prefix('[')?),
        })
        .collect()
}

fn row(text: &str) -> Option<Vec<u8>> {
    let cells = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|cell| !cell.is_empty());
    cells.map(|cell| cell.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::grid;

    #[test]
    fn the_same_grid_is_read_from_every_notation() {
        let gold = "0 1\n2 3";
        for answer in [
            "0 1\n2 3\n#",
            "[[0, 1], [2, 3]]",
            "[[0 1]\n [2 3]]#",
            "[[0,1],[2,3]]",
            " 0  1 \n\n2 3 ",
        ] {
            assert!(grid(answer, gold), "{answer}");
        }
    }

    #[test]
    fn another_shape_or_cell_is_wrong() {
        for answer in ["0 1\n2 4", "0 1 2 3", "0 1\n2 3\n4 5", "[[0, 1, 2, 3]]", "0 1\n2"] {
            assert!(!grid(answer, "0 1\n2 3"), "{answer}");
        }
    }

    #[test]
    fn what_is_no_grid_equals_nothing() {
        let wide = "1 ".repeat(65);
        for text in ["", "a", "[[", "[[]]", "[[1], 2]", "0 1\nthe end", "300", "[", "]", &wide] {
            assert!(!grid(text, text), "{text}");
        }
    }
}
