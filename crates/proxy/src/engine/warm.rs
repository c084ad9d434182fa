//! Tables of consistent hashing are made here, on the caller's thread, before workers are told of a
//! membership: a table of thousands of endpoints takes longer than a request may wait.
//!
//! A compiled [`Members`] holds its tables, and whoever compiles the same endpoints meanwhile finds
//! them. So a membership is compiled once here and kept until every worker has compiled its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use weir_config::bounds::SERVICES_MAX;
use weir_config::endpoint::Endpoint;
use weir_config::service::Source;
use weir_policy::balance::Members;
use weir_policy::snapshot::{Service, Snapshot};

use crate::clock;

/// What the workers were told last, by service name.
#[derive(Debug, Default)]
pub(super) struct Warm {
    told: Mutex<HashMap<String, Arc<[Endpoint]>>>,
}

impl Warm {
    /// Remembers a membership; its tables, where the service has some.
    pub(super) fn told(
        &self,
        snapshot: Option<&Snapshot>,
        name: &str,
        endpoints: &Arc<[Endpoint]>,
    ) -> Option<Arc<Members>> {
        let services = snapshot.map_or(&[][..], |snapshot| &snapshot.services);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= SERVICES_MAX && !told.contains_key(name) {
            // More names than a document may have: those of old documents go.
            told.retain(|name, _| services.iter().any(|service| *service.name == **name));
        }
        told.insert(name.to_owned(), Arc::clone(endpoints));
        drop(told);
        let service = services.iter().find(|service| &*service.name == name)?;
        let hashes = service.balance.key().is_some();
        hashes.then(|| Arc::new(Members::compile(service, endpoints, clock::now())))
    }

    /// The tables of every service of a snapshot that is about to be installed.
    pub(super) fn all(&self, snapshot: &Snapshot) -> Vec<Members> {
        let hashing = snapshot
            .services
            .iter()
            .filter(|it| it.balance.key().is_some());
        hashing.map(|service| self.of(service)).collect()
    }

    fn of(&self, service: &Service) -> Members {
        if let Source::Endpoints(written) = &service.source {
            let endpoints: Vec<_> = written.iter().map(|it| it.value.clone()).collect();
            return Members::compile(service, &endpoints, clock::now());
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = told.get(&*service.name).cloned().unwrap_or_default();
        drop(told);
        Members::compile(service, &endpoints, clock::now())
    }
}
