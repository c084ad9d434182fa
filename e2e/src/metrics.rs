//! A scrape of `/metrics`, read as Prometheus would.

use weir_testkit::client::Client;

/// Everything one process said at one moment.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
}

/// One line of the exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name; of a histogram with `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// Label names and values.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Metrics {
    /// Scrapes this URL.
    ///
    /// # Panics
    /// When it does not answer 200 with valid Prometheus text.
    pub async fn scrape(url: &str) -> Self {
        let answer = Client::http1().get(url).await;
        let answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(answer.status, 200, "{url}: {answer}");
        Self::parse(&answer.text())
    }

    /// Reads the exposition's text.
    ///
    /// # Panics
    /// At a line that is not valid.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty());
        let samples = lines.filter(|line| !line.starts_with('#'));
        Self {
            samples: samples.map(sample).collect(),
        }
    }

    /// Every sample of that name that has all of these labels.
    #[must_use]
    pub fn samples(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has = |sample: &Sample, (label, value): &(&str, &str)| {
            sample.label(label).is_some_and(|found| found == *value)
        };
        let wanted =
            |sample: &&Sample| sample.name == name && labels.iter().all(|label| has(sample, label));
        self.samples.iter().filter(wanted).collect()
    }

    /// The sum over every sample of that name that has all of these labels; 0 without any.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name, labels)
            .iter()
            .map(|sample| sample.value)
            .sum()
    }

    /// Whether there is a sample of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    /// The one sample of that name and these labels.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[must_use]
    #[track_caller]
    pub fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        match self.samples(name, labels).as_slice() {
            [sample] => sample.value,
            other => panic!("{name} {labels:?} is there {} times", other.len()),
        }
    }
}

impl Sample {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn sample(line: &str) -> Sample {
    let invalid = || -> ! { panic!("not a sample of Prometheus: {line}") };
    let (head, value) = match line.rfind('}') {
        Some(end) => (&line[..=end], line[end + 1..].trim()),
        None => line.split_once(' ').unwrap_or_else(|| invalid()),
    };
    let value = value.split(' ').next().unwrap_or_default();
    let (name, labels) = match head.split_once('{') {
        Some((name, labels)) => (name, labels.trim_end_matches('}')),
        None => (head, ""),
    };
    Sample {
        name: name.to_owned(),
        labels: labels_of(labels).unwrap_or_else(|| invalid()),
        value: value.parse().unwrap_or_else(|_| invalid()),
    }
}

fn labels_of(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        text = rest[end + 1..].trim_start_matches(',');
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn labels_with_quotes_and_braces_are_read() {
        let metrics = Metrics::parse(
            "# TYPE a counter\na{x=\"1\",y=\"{\\\"q\\\"}\"} 2\na{x=\"2\",y=\"\"} 3\nb 4.5\n",
        );
        assert_eq!(metrics.one("a", &[("y", "{\"q\"}")]), 2.0);
        assert_eq!(metrics.sum("a", &[]), 5.0);
        assert_eq!(metrics.one("b", &[]), 4.5);
        assert!(!metrics.has("c"));
    }
}
