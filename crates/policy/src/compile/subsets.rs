//! Subsets: the label sets that routes and listeners of a document ask of a service's endpoints.

use std::collections::HashMap;

use weir_config::Document;
use weir_config::bounds::SUBSETS_MAX;
use weir_config::route::Destination;

use super::faults::Faults;
use crate::snapshot::{Labels, SubsetId};

/// By service name, every label set asked of it, each once, in file order.
pub(super) fn collect<'d>(
    document: &'d Document,
    faults: &mut Faults,
) -> HashMap<&'d str, Vec<Labels>> {
    let mut subsets: HashMap<&str, Vec<Labels>> = HashMap::new();
    for destination in destinations(document).filter(|it| !it.labels.is_empty()) {
        let name = destination.service.value.as_str();
        let of_service = subsets.entry(name).or_default();
        let labels = sorted(&destination.labels);
        if of_service.contains(&labels) {
            continue;
        }
        if of_service.len() >= SUBSETS_MAX {
            let problem = format!("routes ask for more than {SUBSETS_MAX} subsets of `{name}`");
            let hint = "make it several services".to_owned();
            faults.error(
                format!("services.{name}"),
                destination.at,
                problem,
                Some(hint),
            );
            continue;
        }
        of_service.push(labels);
    }
    subsets
}

/// Which of a service's subsets a destination asks for; `None` when it takes every endpoint.
pub(super) fn wanted(subsets: &[Labels], destination: &Destination) -> Option<SubsetId> {
    if destination.labels.is_empty() {
        return None;
    }
    let labels = sorted(&destination.labels);
    let index = subsets.iter().position(|subset| *subset == labels)?;
    u16::try_from(index).ok().map(SubsetId)
}

fn destinations(document: &Document) -> impl Iterator<Item = &Destination> {
    let routes = document.routes.iter();
    let of_routes = routes.flat_map(|route| {
        route
            .action
            .destinations()
            .map(|(_, destination)| destination)
    });
    let of_listeners = document.listeners.iter().flat_map(|(_, listener)| {
        let tcp = listener.tcp.iter().flat_map(|tcp| &tcp.to);
        tcp.chain(listener.sni.iter().flat_map(|entry| &entry.to))
    });
    of_routes.chain(of_listeners)
}

fn sorted(labels: &[(String, String)]) -> Labels {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    labels
}
