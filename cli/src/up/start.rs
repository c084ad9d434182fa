//! From nothing to everything: the order in which the processes start, and when each is ready.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_config::service::Source as EndpointSource;
use weir_config::{ConfigErrors, Document};
use weir_protocol::RevisionNumber;

use super::Arguments;
use super::children::Children;
use super::document::{HTTP, HTTPS, RebindError, SHOP, rebind};
use super::failure::UpError;
use super::layout::{Layout, reachable};
use super::ports::{self, Port};
use super::programs::{Program, Programs};
use super::report::Running;
use crate::api::{Api, ApiUrl, Write};
use crate::source::Source;
use crate::terminal;

/// What is needed to start.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) layout: &'a Layout,
    pub(super) programs: Programs,
    /// The document of `--config`.
    pub(super) given: Option<Source>,
}

impl Start<'_> {
    /// The ports that can be known before anything runs.
    pub(super) fn check_ports(&self) -> Result<(), UpError> {
        let mut ports = self.layout.ports();
        // A control plane with state may have another document than the one we would give it.
        if self.given.is_some() || !self.layout.is_used() {
            let text = self.text(None)?;
            ports.extend(self.listener_ports(&decoded(&text)?));
        } else {
            let flags = [
                (self.arguments.http, "--http"),
                (self.arguments.https, "--https"),
            ];
            for (address, flag) in flags {
                ports.extend(address.map(|it| Port::of(it, "the gateway", flag)));
            }
        }
        refuse(&ports)
    }

    /// Starts everything and waits until all of it is ready.
    pub(super) async fn run(&self, children: &mut Children) -> Result<Running, UpError> {
        let (layout, programs) = (self.layout, &self.programs);
        let began = Instant::now();

        self.start_and_wait(children, &[programs.control_plane(layout)])
            .await?;
        let api = local_api(reachable(layout.api))?;
        let (revision, document) = self.settle_document(&api).await?;

        // The shop first: the gateway asks users for its signing keys as soon as it starts.
        let shop = [programs.users(layout), programs.orders(layout)];
        self.start_and_wait(children, &shop).await?;
        let sidecars = [
            programs.users_sidecar(layout),
            programs.orders_sidecar(layout),
        ];
        self.start_and_wait(children, &sidecars).await?;
        self.wait_for_membership(children, &api, &document).await?;
        self.start_and_wait(children, &[programs.gateway(layout)])
            .await?;
        self.wait_for_convergence(children, &api, revision).await?;
        Ok(Running {
            revision,
            document,
            took: began.elapsed(),
        })
    }

    /// Sees to it that the control plane has a document, and that its ports are free.
    async fn settle_document(&self, api: &Api) -> Result<(RevisionNumber, Document), UpError> {
        let in_force = api.in_force().await?;
        let text = self.text(in_force.as_ref().map(|it| it.text.as_str()))?;
        let document = decoded(&text)?;
        refuse(&self.listener_ports(&document))?;
        if let Some(in_force) = in_force.filter(|it| it.text == text) {
            terminal::tell(&format!("  revision {} is kept\n", in_force.number));
            return Ok((in_force.number, document));
        }
        let write = Write {
            author: Some("weir up".to_owned()),
            ..Write::default()
        };
        let written = api.apply(&text, &write).await?;
        terminal::tell(&format!("  revision {} applied\n", written.revision.number));
        Ok((written.revision.number, document))
    }

    /// The document to run: the one that was given, else the one in force, else the shop; with the
    /// listeners where the flags want them.
    fn text(&self, in_force: Option<&str>) -> Result<String, UpError> {
        let given = self.given.as_ref().map(|source| source.text.as_str());
        let mut text = given.or(in_force).unwrap_or(SHOP).to_owned();
        self.checked(&text)?;
        let flags = [
            (self.arguments.http, HTTP, "--http"),
            (self.arguments.https, HTTPS, "--https"),
        ];
        for (address, listener, flag) in flags {
            if let Some(address) = address {
                text = rebind(&text, listener, address).map_err(|error| match error {
                    RebindError::Invalid(errors) => self.invalid(errors),
                    source => UpError::Rebind { flag, source },
                })?;
            }
        }
        // Another address may be one that a listener has already.
        self.checked(&text)?;
        Ok(text)
    }

    fn checked(&self, text: &str) -> Result<(), UpError> {
        match weir_policy::compile::check(text, &crate::files::LocalFiles) {
            Ok(_) => Ok(()),
            Err(errors) => Err(self.invalid(errors)),
        }
    }

    fn invalid(&self, errors: ConfigErrors) -> UpError {
        match &self.given {
            Some(source) => UpError::Document(errors.render(&source.text, &source.name)),
            None => UpError::Document(errors.to_string()),
        }
    }

    fn listener_ports(&self, document: &Document) -> Vec<Port> {
        let port = |(name, listener): &(weir_config::Located<String>, _)| {
            let listener: &weir_config::listener::Listener = listener;
            let chosen_by = match name.value.as_str() {
                HTTP => "--http".to_owned(),
                HTTPS => "--https".to_owned(),
                other => format!("listeners.{other}.bind of the document"),
            };
            Port::of(
                listener.bind,
                &format!("the gateway's listener {}", name.value),
                &chosen_by,
            )
        };
        document.listeners.iter().map(port).collect()
    }

    async fn start_and_wait(
        &self,
        children: &mut Children,
        programs: &[Program],
    ) -> Result<(), UpError> {
        for program in programs {
            let log = self.layout.log(program.name);
            children
                .start(program, log)
                .map_err(|source| UpError::Spawn {
                    program: program.path.clone(),
                    source,
                })?;
        }
        for program in programs {
            let began = Instant::now();
            let api = Api::local(url(&program.ready)?, PROBE_TIMEOUT);
            let what = || UpError::NotReady {
                name: program.name,
                url: format!("{}/readyz", program.ready),
                log: self.layout.log(program.name),
            };
            wait(children, what, async || api.answers("/readyz").await).await?;
            let took = began.elapsed().as_secs_f32();
            terminal::tell(&format!("  {:<16} ready after {took:.1} s\n", program.name));
        }
        Ok(())
    }

    /// Until the shop's services have an endpoint each, so that the first request finds one.
    async fn wait_for_membership(
        &self,
        children: &mut Children,
        api: &Api,
        document: &Document,
    ) -> Result<(), UpError> {
        let ours = [self.layout.users.service, self.layout.orders.service];
        let mut awaited = BTreeSet::new();
        for (name, service) in &document.services {
            if matches!(&service.source, EndpointSource::Mesh(it) if ours.contains(&it.as_str())) {
                awaited.insert(name.value.clone());
            }
        }
        wait(
            children,
            || UpError::NoEndpoint,
            async || {
                let Ok(services) = api.services().await else {
                    return false;
                };
                let is_served = |name: &String| {
                    services.services.iter().any(|service| {
                        service.service == *name && service.endpoints.iter().any(|it| it.healthy)
                    })
                };
                awaited.iter().all(is_served)
            },
        )
        .await
    }

    /// Until every proxy runs the revision.
    async fn wait_for_convergence(
        &self,
        children: &mut Children,
        api: &Api,
        revision: RevisionNumber,
    ) -> Result<(), UpError> {
        wait(
            children,
            || UpError::NotConverged { revision },
            async || {
                let Ok(nodes) = api.nodes().await else {
                    return false;
                };
                let runs = nodes
                    .nodes
                    .iter()
                    .filter(|it| it.connected && it.running >= revision);
                runs.count() >= PROXIES
            },
        )
        .await
    }
}

/// Waits for a condition, for as long as every process lives and the time is not over.
async fn wait(
    children: &mut Children,
    late: impl FnOnce() -> UpError,
    is_so: impl AsyncFn() -> bool,
) -> Result<(), UpError> {
    let end = Instant::now() + READY_TIMEOUT;
    loop {
        if is_so().await {
            return Ok(());
        }
        if let Some(ended) = children.ended() {
            return Err(UpError::Died(ended));
        }
        if Instant::now() >= end {
            return Err(late());
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

fn refuse(ports: &[Port]) -> Result<(), UpError> {
    let complaints = ports::complaints(ports);
    if complaints.is_empty() {
        Ok(())
    } else {
        Err(UpError::Ports(complaints))
    }
}

fn decoded(text: &str) -> Result<Document, UpError> {
    Document::from_yaml(text).map_err(|errors| UpError::Document(errors.to_string()))
}

fn local_api(address: SocketAddr) -> Result<Api, UpError> {
    Ok(Api::local(url(&format!("http://{address}"))?, API_TIMEOUT))
}

fn url(text: &str) -> Result<ApiUrl, UpError> {
    text.parse().map_err(|_| UpError::Url {
        url: text.to_owned(),
    })
}

/// Gateway and two sidecars.
const PROXIES: usize = 3;
/// How long each process has to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const API_TIMEOUT: Duration = Duration::from_secs(10);
