//! `/v1/agent`: registering instances and checks with the agent, and what the agent is.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::Consul;
use super::error::Error;
use super::transport::{Answer, Call};

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not usable.
    Critical,
    /// Usable.
    Passing,
    /// Usable, with something to look at.
    Warning,
}

/// An instance to register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceRegistration {
    /// Unique on the agent.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name of the service.
    pub name: String,
    /// Where the instance answers: host or IP address.
    pub address: String,
    /// And its port.
    pub port: u16,
    /// Free words.
    pub tags: Vec<String>,
    /// Free pairs; at most 64, keys of `[A-Za-z0-9_-]`.
    pub meta: BTreeMap<String, String>,
    /// A check that comes and goes with the instance.
    pub check: Option<CheckRegistration>,
}

/// A check that must be told of its state again before its time to live has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CheckRegistration {
    /// Unique on the agent.
    #[serde(rename = "CheckID")]
    pub check_id: String,
    /// For people.
    pub name: String,
    /// The instance that it is about; `None` within a [`ServiceRegistration`] or for the node.
    #[serde(rename = "ServiceID", skip_serializing_if = "Option::is_none")]
    pub service_id: Option<String>,
    /// Critical when not told of its state for this long.
    #[serde(rename = "TTL", serialize_with = "duration")]
    pub ttl: Duration,
    /// What it says at first.
    pub status: Health,
    /// Removes the instance when it has been critical for this long; Consul takes no less than a
    /// minute.
    #[serde(
        rename = "DeregisterCriticalServiceAfter",
        skip_serializing_if = "Option::is_none",
        serialize_with = "duration_some"
    )]
    pub deregister_after: Option<Duration>,
}

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentSelf {
    /// Its data centre.
    pub datacenter: String,
    /// Its node's name.
    pub node_name: String,
    /// Whether it is a server.
    pub server: bool,
    /// Its version.
    pub version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentSelfBody {
    config: AgentSelf,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CheckUpdate<'a> {
    status: Health,
    output: &'a str,
}

/// How much of a note is sent; Consul itself cuts at 4 KiB.
const NOTE_BYTES_MAX: usize = 4096;

impl Consul {
    /// What the agent says of itself.
    pub async fn agent_self(&self) -> Result<AgentSelf, Error> {
        let answer = self.transport.succeed(Call::get("agent/self")).await?;
        Ok(answer.json::<AgentSelfBody>()?.config)
    }

    /// The address of the servers' leader; `None` while there is none.
    pub async fn leader(&self) -> Result<Option<String>, Error> {
        let answer = self.transport.succeed(Call::get("status/leader")).await?;
        Ok(Some(answer.json::<String>()?).filter(|leader| !leader.is_empty()))
    }

    /// Registers an instance, or changes it; checks of it that are not repeated are removed.
    pub async fn register_service(&self, service: &ServiceRegistration) -> Result<(), Error> {
        let body = self.encode("agent/service/register", service)?;
        let call = Call::put("agent/service/register", body);
        self.transport
            .succeed(call.query("replace-existing-checks", "true"))
            .await?;
        Ok(())
    }

    /// Removes an instance with its checks; one that is not there is no error.
    pub async fn deregister_service(&self, id: &str) -> Result<(), Error> {
        let call = Call::put("agent/service/deregister", "").segment(id);
        absent_is_fine(self.transport.call(call).await?)
    }

    /// Registers a check, or changes it.
    pub async fn register_check(&self, check: &CheckRegistration) -> Result<(), Error> {
        let body = self.encode("agent/check/register", check)?;
        self.transport
            .succeed(Call::put("agent/check/register", body))
            .await?;
        Ok(())
    }

    /// Removes a check; one that is not there is no error.
    pub async fn deregister_check(&self, check_id: &str) -> Result<(), Error> {
        let call = Call::put("agent/check/deregister", "").segment(check_id);
        absent_is_fine(self.transport.call(call).await?)
    }

    /// Tells a check its state. `false`: the agent has no such check (any more).
    pub async fn update_check(
        &self,
        check_id: &str,
        status: Health,
        note: &str,
    ) -> Result<bool, Error> {
        let mut end = note.len().min(NOTE_BYTES_MAX);
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        let update = CheckUpdate {
            status,
            output: &note[..end],
        };
        let body = self.encode("agent/check/update", &update)?;
        let call = Call::put("agent/check/update", body).segment(check_id);
        let answer = self.transport.call(call).await?;
        if is_unknown_check(&answer) {
            return Ok(false);
        }
        answer.success()?;
        Ok(true)
    }

    /// Tells a check that all is well; as [`Consul::update_check`].
    pub async fn pass_check(&self, check_id: &str) -> Result<bool, Error> {
        self.update_check(check_id, Health::Passing, "").await
    }

    /// Tells a check that something is to be looked at; as [`Consul::update_check`].
    pub async fn warn_check(&self, check_id: &str, note: &str) -> Result<bool, Error> {
        self.update_check(check_id, Health::Warning, note).await
    }

    /// Tells a check that the instance is not usable; as [`Consul::update_check`].
    pub async fn fail_check(&self, check_id: &str, note: &str) -> Result<bool, Error> {
        self.update_check(check_id, Health::Critical, note).await
    }

    pub(super) fn encode<T: Serialize>(
        &self,
        what: &'static str,
        value: &T,
    ) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(value).map_err(|error| Error::Decode {
            address: self.address().to_owned(),
            what,
            problem: format!("the request cannot be encoded: {error}"),
        })
    }
}

/// Consul 1.8 answers 500 with the first text for an unknown check, later versions 404.
fn is_unknown_check(answer: &Answer) -> bool {
    let says = |text: &[u8]| answer.body.windows(text.len()).any(|window| window == text);
    match answer.status.as_u16() {
        404 => true,
        500 => says(b"does not have associated TTL") || says(b"Unknown check"),
        _ => false,
    }
}

fn absent_is_fine(answer: Answer) -> Result<(), Error> {
    if answer.status.as_u16() != 404 {
        answer.success()?;
    }
    Ok(())
}

fn duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}ms", duration.as_millis()))
}

fn duration_some<S: Serializer>(
    value: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration(&value.unwrap_or_default(), serializer)
}
