//! Keeps instances registered: tells their checks that they live, and registers again what the
//! agent forgot (a new agent, a lost data directory).
//!
//! The time to live is the registrar's own pulse: when the process dies, Consul turns its instances
//! critical. Whether an instance is fit is what [`Registrar::pass`] and [`Registrar::fail`] said
//! last.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior};

use super::Consul;
use super::agent::{CheckRegistration, Health, ServiceRegistration};
use super::error::Error;

/// An instance to keep registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Unique on the agent.
    pub id: String,
    /// The name of the service.
    pub name: String,
    /// Where the instance answers: host or IP address.
    pub address: String,
    /// And its port.
    pub port: u16,
    /// Free words.
    pub tags: Vec<String>,
    /// Free pairs, for instance `weir-identity`.
    pub meta: BTreeMap<String, String>,
    /// Critical when the registrar was not heard of for this long.
    pub ttl: Duration,
    /// Removed by Consul when critical for this long, at least a minute; `None`: never.
    pub deregister_after: Option<Duration>,
}

/// Registers instances with one agent and keeps them so.
#[derive(Debug)]
pub struct Registrar {
    consul: Consul,
    // Locked for the length of a call: a renewal must not register again what is just being
    // removed.
    kept: Mutex<HashMap<String, Kept>>,
}

#[derive(Debug)]
struct Kept {
    registration: Registration,
    health: Health,
    note: String,
    /// When the agent last took its state.
    told: Option<Instant>,
}

/// How often the registrar looks for what is due.
const TICK: Duration = Duration::from_millis(250);
/// A state is told again when this part of its time to live has passed.
const RENEWALS_PER_TTL: u32 = 3;

impl Registrar {
    /// A registrar that keeps nothing yet.
    pub fn new(consul: Consul) -> Self {
        Registrar {
            consul,
            kept: Mutex::default(),
        }
    }

    /// Registers an instance as passing, or changes it, and keeps it from now on, even when this
    /// first call fails.
    pub async fn register(&self, registration: Registration) -> Result<(), Error> {
        let mut kept = self.kept.lock().await;
        let entry = Kept {
            registration,
            health: Health::Passing,
            note: String::new(),
            told: None,
        };
        let id = entry.registration.id.clone();
        let entry = kept.entry(id).insert_entry(entry).into_mut();
        entry.register(&self.consul).await
    }

    /// Says that the instance is fit. `false`: it is not kept here.
    pub async fn pass(&self, id: &str) -> Result<bool, Error> {
        self.set(id, Health::Passing, "").await
    }

    /// Says that the instance is not fit, and why. `false`: it is not kept here.
    pub async fn fail(&self, id: &str, note: &str) -> Result<bool, Error> {
        self.set(id, Health::Critical, note).await
    }

    /// Removes an instance and keeps it no longer. When the call fails it is forgotten all the
    /// same, and its time to live makes it critical.
    pub async fn deregister(&self, id: &str) -> Result<(), Error> {
        let mut kept = self.kept.lock().await;
        kept.remove(id);
        self.consul.deregister_service(id).await
    }

    /// Removes all instances; for the end of a process. The first failure, if any, after all were
    /// tried.
    pub async fn deregister_all(&self) -> Result<(), Error> {
        let mut kept = self.kept.lock().await;
        let mut result = Ok(());
        for (id, _) in kept.drain() {
            let done = self.consul.deregister_service(&id).await;
            result = result.and(done);
        }
        result
    }

    /// Tells the agent of every state that is due, registering again what it forgot. Stops at the
    /// first failure: the next instance would meet the same agent.
    pub async fn renew(&self) -> Result<(), Error> {
        let due: Vec<String> = {
            let kept = self.kept.lock().await;
            kept.iter()
                .filter(|(_, kept)| kept.is_due())
                .map(|(id, _)| id.clone())
                .collect()
        };
        for id in due {
            let mut kept = self.kept.lock().await;
            if let Some(entry) = kept.get_mut(&id) {
                entry.tell(&self.consul).await?;
            }
        }
        Ok(())
    }

    /// Renews for ever; drop the future to stop. Failures are logged when they start and end.
    pub async fn run(&self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tick.tick().await;
            match self.renew().await {
                Ok(()) if failing => tracing::info!("consul takes registrations again"),
                Err(error) if !failing => tracing::warn!(%error, "registrations not renewed"),
                _ => continue,
            }
            failing = !failing;
        }
    }

    async fn set(&self, id: &str, health: Health, note: &str) -> Result<bool, Error> {
        let mut kept = self.kept.lock().await;
        let Some(entry) = kept.get_mut(id) else {
            return Ok(false);
        };
        if entry.health == health && entry.note == note && !entry.is_due() {
            return Ok(true);
        }
        entry.health = health;
        entry.note = note.to_owned();
        entry.told = None;
        entry.tell(&self.consul).await?;
        Ok(true)
    }
}

impl Kept {
    fn is_due(&self) -> bool {
        let every = self.registration.ttl / RENEWALS_PER_TTL;
        self.told.is_none_or(|told| told.elapsed() >= every)
    }

    fn check_id(&self) -> String {
        format!("service:{}", self.registration.id)
    }

    async fn tell(&mut self, consul: &Consul) -> Result<(), Error> {
        if consul
            .update_check(&self.check_id(), self.health, &self.note)
            .await?
        {
            self.told = Some(Instant::now());
            return Ok(());
        }
        tracing::info!(id = %self.registration.id, "consul forgot an instance; registering again");
        self.register(consul).await
    }

    async fn register(&mut self, consul: &Consul) -> Result<(), Error> {
        let registration = &self.registration;
        let service = ServiceRegistration {
            id: registration.id.clone(),
            name: registration.name.clone(),
            address: registration.address.clone(),
            port: registration.port,
            tags: registration.tags.clone(),
            meta: registration.meta.clone(),
            check: Some(CheckRegistration {
                check_id: self.check_id(),
                name: "kept by weir".to_owned(),
                service_id: None,
                ttl: registration.ttl,
                status: self.health,
                deregister_after: registration.deregister_after,
            }),
        };
        consul.register_service(&service).await?;
        self.told = Some(Instant::now());
        Ok(())
    }
}
