//! Columns for people.

/// Rows with their columns aligned, each line indented by two. Cells are plain text: colour would
/// count as width.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!(" {cell:<width$} "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A duration for people, from seconds: `4s`, `12m`, `3h`, `2d`.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::{age, aligned};

    #[test]
    fn columns_stand_under_each_other() {
        let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect();
        let rows: Vec<Vec<String>> = vec![row(&["a", "bb", "c"]), row(&["aaa", "ü", ""])];
        assert_eq!(aligned(&rows), "  a    bb  c\n  aaa  ü\n");
        assert_eq!(aligned(&[]), "");
    }

    #[test]
    fn ages() {
        let shown: Vec<String> = [5, 130, 7_300, 200_000].map(age).into();
        assert_eq!(shown, ["5s", "2m", "2h", "2d"]);
    }
}
