//! An explanation for people.

use std::fmt;

use super::{Answer, Explained, Explanation};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        writeln!(f, "by revision {}", self.revision)?;
        writeln!(f)?;
        let mut previous = "";
        for step in &self.steps {
            // An area that goes on is named once.
            let area = if step.area == previous {
                ""
            } else {
                step.area.as_str()
            };
            writeln!(f, "  {:>8}  {area:<10}{}", line(step), step.said)?;
            previous = &step.area;
        }
        if let Some(upstream) = &self.upstream {
            writeln!(f)?;
            writeln!(f, "  {} {}", upstream.method, upstream.target)?;
            for (name, value) in &upstream.headers {
                let value = if is_secret(name) { "…" } else { value };
                writeln!(f, "  {name}: {value}")?;
            }
        }
        writeln!(f)?;
        write!(f, "=> {}", self.answer)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Answered {
                status,
                location: None,
            } => write!(f, "answered with {status}"),
            Answer::Answered {
                status,
                location: Some(location),
            } => {
                write!(f, "redirected with {status} to {location}")
            }
            Answer::Forwarded {
                service,
                endpoint: None,
            } => write!(f, "forwarded to `{service}`"),
            Answer::Forwarded {
                service,
                endpoint: Some(endpoint),
            } => {
                write!(f, "forwarded to `{service}` at {endpoint}")
            }
            Answer::Refused { code, status, said } => {
                write!(f, "refused with {status} {code}: {said}")
            }
        }
    }
}

fn line(step: &Explained) -> String {
    match step.at.line {
        0 => String::new(),
        line => format!("line {line}"),
    }
}

fn is_secret(name: &str) -> bool {
    matches!(name, "authorization" | "cookie" | "proxy-authorization")
}
