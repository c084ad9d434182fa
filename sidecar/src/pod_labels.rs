//! The labels of a pod, from the file that Kubernetes' downward API makes of them.
//!
//! Each line is `name="value"`. Names with a prefix (`app.kubernetes.io/name`) belong to tools and
//! are passed over, for routes ask for short ones and Consul's metadata takes no others. The zone
//! of the pod's node, which Kubernetes writes to the pod from 1.35 on, is the exception.

use std::collections::BTreeMap;
use std::path::Path;

use weir_config::bounds::{LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX};

/// Labels of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodLabels(BTreeMap<String, String>);

impl PodLabels {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or is none of labels; which line.
    pub fn read(path: &str) -> Result<PodLabels, String> {
        let text = std::fs::read_to_string(Path::new(path)).map_err(|error| error.to_string())?;
        PodLabels::parse(&text)
    }

    fn parse(text: &str) -> Result<PodLabels, String> {
        let mut labels = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            if line.is_empty() {
                continue;
            }
            let label = line.split_once('=').and_then(|(name, value)| {
                let value = value.strip_prefix('"')?.strip_suffix('"')?;
                Some((name.to_owned(), value.to_owned()))
            });
            let (name, value) =
                label.ok_or_else(|| format!("line {}: write name=\"value\"", at + 1))?;
            labels.insert(name, value);
        }
        Ok(PodLabels(labels))
    }

    /// Those that the instance takes over.
    #[must_use]
    pub fn of_instance(&self) -> BTreeMap<String, String> {
        let plain = |name: &str| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            (1..=LABEL_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
        };
        let labels = self.0.iter();
        let taken = labels.filter(|(name, value)| {
            plain(name) && !OF_CONTROLLERS.contains(&name.as_str()) && is_value(value)
        });
        let taken = taken.map(|(name, value)| (name.clone(), value.clone()));
        let mut taken: BTreeMap<_, _> = taken.take(TAKEN_MAX).collect();
        if let Some(zone) = self.0.get(ZONE).filter(|zone| is_value(zone)) {
            taken.entry("zone".to_owned()).or_insert(zone.clone());
        }
        taken
    }
}

fn is_value(value: &str) -> bool {
    (1..=LABEL_VALUE_BYTES_MAX).contains(&value.len()) && !value.chars().any(char::is_control)
}

/// Zone of the node.
const ZONE: &str = "topology.kubernetes.io/zone";
/// Labels by which controllers know their pods; another with every rollout.
const OF_CONTROLLERS: &[&str] = &[
    "controller-revision-hash",
    "pod-template-generation",
    "pod-template-hash",
];
/// Most labels that are taken over: fewer than the control plane takes of an instance.
const TAKEN_MAX: usize = 48;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn taken(text: &str) -> Vec<String> {
        let labels = PodLabels::parse(text).unwrap().of_instance();
        let labels = labels.iter().map(|(name, value)| format!("{name}={value}"));
        labels.collect()
    }

    #[test]
    fn short_labels_and_the_zone_are_taken_over() {
        let text = "app=\"orders\"\napp.kubernetes.io/name=\"orders\"\nempty=\"\"\n\
                    pod-template-hash=\"5d4f8\"\ntopology.kubernetes.io/zone=\"eu-a\"\n\
                    version=\"v2\"";
        assert_eq!(taken(text), ["app=orders", "version=v2", "zone=eu-a"]);
        // A label of that name goes before.
        let text = "topology.kubernetes.io/zone=\"eu-a\"\nzone=\"rack-7\"\n";
        assert_eq!(taken(text), ["zone=rack-7"]);
        assert!(taken("").is_empty());
    }

    #[test]
    fn as_many_are_taken_as_the_control_plane_has_room_for() {
        let many = |count: usize| -> String {
            let lines = (0..count).map(|at| format!("l{at}=\"v\"\n"));
            lines.collect()
        };
        assert_eq!(taken(&many(TAKEN_MAX)).len(), TAKEN_MAX);
        let zone = format!("{}{ZONE}=\"a\"\n", many(TAKEN_MAX + 1));
        assert_eq!(taken(&zone).len(), TAKEN_MAX + 1);
    }

    #[test]
    fn what_is_no_label_is_told_by_its_line() {
        let error = PodLabels::parse("a=\"b\"\nc=d\n").unwrap_err();
        assert_eq!(error, "line 2: write name=\"value\"");
        assert!(PodLabels::read("/nowhere").is_err());
    }
}
