//! What is written to people: colour only where a terminal shows it and nobody asked for none, and
//! no complaint when the reader has gone away (`weir history | head`).

use std::io::{IsTerminal, Write};

use serde::Serialize;

/// Colours for one output, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    /// For standard output.
    pub(crate) fn for_stdout() -> Self {
        Self {
            is_on: std::io::stdout().is_terminal() && is_wanted(),
        }
    }

    /// For standard error.
    pub(crate) fn for_stderr() -> Self {
        Self {
            is_on: std::io::stderr().is_terminal() && is_wanted(),
        }
    }

    /// Never any, for tests.
    #[cfg(test)]
    pub(crate) fn off() -> Self {
        Self { is_on: false }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// Errors as [`weir_config::ConfigErrors::render`] writes them, with the place in bold and the
    /// caret in red.
    pub(crate) fn errors(self, rendered: &str) -> String {
        if !self.is_on {
            return rendered.to_owned();
        }
        let mut out = String::with_capacity(rendered.len() * 2);
        for line in rendered.lines() {
            let is_detail = line.starts_with("  ");
            if !is_detail {
                out.push_str(&self.bold(line));
            } else if line.trim_start().starts_with("| ") {
                out.push_str(&self.bad(line));
            } else {
                out.push_str(line);
            }
            out.push('\n');
        }
        out
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.is_on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// <https://no-color.org>: present and not empty means no colour, whatever its value.
fn is_wanted() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes an answer to standard output. A reader that went away has read enough.
pub(crate) fn answer(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes an answer to standard output as JSON.
pub(crate) fn answer_json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => answer(&(text + "\n")),
        Err(error) => tell(&format!(
            "weir: the answer cannot be written as JSON: {error}\n"
        )),
    }
}

/// Writes a remark or complaint to standard error.
pub(crate) fn tell(text: &str) {
    let _gone = std::io::stderr().lock().write_all(text.as_bytes());
}

/// `1 route`, `2 routes`.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    if count == 1 {
        format!("1 {thing}")
    } else {
        format!("{count} {thing}s")
    }
}

#[cfg(test)]
mod tests {
    use super::Paint;

    #[test]
    fn colour_is_left_out_where_it_is_off() {
        let off = Paint::off();
        assert_eq!(off.bold("x"), "x");
        assert_eq!(
            off.errors("f:1:1: bad\n  1 | x\n    | ^\n"),
            "f:1:1: bad\n  1 | x\n    | ^\n"
        );
        let on = Paint { is_on: true };
        assert_eq!(on.bad("x"), "\x1b[31mx\x1b[0m");
        assert!(
            on.errors("f:1:1: bad\n  1 | x\n    | ^\n")
                .contains("\x1b[31m    | ^\x1b[0m")
        );
    }
}
